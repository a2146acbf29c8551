-- name: followed
-- The ledger position that the slowest read model has reached.
SELECT 0

-- name: telemetry_before
-- The last telemetry position recorded before a time.
SELECT coalesce(max(telemetry_id), 0) FROM batches WHERE recorded_at < %s
