"""What a user would build instead: programs of their own, each a few dozen lines."""
