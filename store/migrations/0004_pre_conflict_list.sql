-- Readings that came again with another value are few and looked for among very many events.
CREATE INDEX telemetry_events_conflict_idx ON telemetry_events (notification_id)
WHERE topic = 'cold_chain.ReadingConflict';
