"""Composition root: the only reader of the environment and of time."""
