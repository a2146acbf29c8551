-- name: now
-- What the read models show and where the telemetry log stands, in one round trip.
SELECT (SELECT coalesce(min(coalesce(t.notification_id, 0)), 0) FROM follower f
        LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || f.name),
       (SELECT coalesce(max(notification_id), 0) FROM telemetry_events)

-- name: known_until
-- When the last reading that counts at a telemetry position was recorded.
SELECT recorded_at FROM batches WHERE telemetry_id <= %s ORDER BY telemetry_id DESC LIMIT 1
