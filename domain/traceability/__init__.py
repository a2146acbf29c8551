"""Every vaccine code from commissioning to injection."""
