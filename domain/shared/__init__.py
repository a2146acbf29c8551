"""Types and errors that every module uses and that have no streams of their own."""
