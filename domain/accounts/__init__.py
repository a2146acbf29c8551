"""Who may call the system."""
