-- Whether a worker's backfill has a session at the broker of its own; the one it had before still
-- holds that subscription, and messages, until a handover.
ALTER TABLE ingest_worker ADD COLUMN backfill_apart boolean NOT NULL DEFAULT false;
