-- name: births
-- The newest births of a gateway or device.
SELECT originator_id, originator_version, topic, state FROM telemetry_events
WHERE originator_id = %s ORDER BY originator_version DESC LIMIT %s
