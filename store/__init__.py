"""The event store behind one door: eventsourcing on PostgreSQL."""
