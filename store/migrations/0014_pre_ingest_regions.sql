-- Which regions each ingest worker takes since the last handover; NULL = the worker is not at work.
-- Its session at the broker holds these subscriptions.
ALTER TABLE ingest_worker ADD COLUMN regions text[];
