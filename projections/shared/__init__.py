"""The few read models where modules meet."""
