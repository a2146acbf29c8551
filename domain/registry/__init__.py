"""Organisations and sites of the health system."""
