-- name: wrong_clocks
SELECT device_id, severity FROM device_clock WHERE severity <> ''

-- name: tell_clock
-- Returns the version of what is told; nothing when that is told already.
INSERT INTO device_clock AS known (device_id, severity, offset_ms, since)
VALUES (%(device_id)s, %(severity)s, %(offset_ms)s, %(now)s)
ON CONFLICT (device_id) DO UPDATE SET
    severity = excluded.severity, offset_ms = excluded.offset_ms, since = excluded.since,
    version = known.version + 1
WHERE known.severity <> excluded.severity
RETURNING version
