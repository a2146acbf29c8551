"""Measurements of the product on this machine, one command each."""
