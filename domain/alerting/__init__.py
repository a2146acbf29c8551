"""When a temperature becomes an alert, and what people do about it."""
