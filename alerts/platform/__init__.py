"""The connector to the national platform: a port, its HTTP form, and the worker around it."""
