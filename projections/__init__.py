"""Read models: events in, tables and answers out; any of them can be dropped and rebuilt."""
