-- name: followed
-- The ledger position that the slowest read model in use has reached.
SELECT coalesce(min(coalesce(t.notification_id, 0)), 0)
FROM follower f LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || f.name

-- name: telemetry_before
-- The last telemetry position recorded before a time.
SELECT coalesce(max(telemetry_id), 0) FROM batches WHERE recorded_at < %s
