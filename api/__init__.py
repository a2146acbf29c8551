"""HTTP: parse, authorise, call, map errors."""
