-- name: kept_by_follower
-- Whether roll-ups are tables of ours; with TimescaleDB the server keeps them itself.
SELECT relkind = 'r' FROM pg_class WHERE oid = 'public.rollup_hour'::regclass

-- name: position
SELECT telemetry_id FROM rolled_up

-- name: lock
SELECT pg_advisory_lock(hashtextextended('vaxtrail.rollups', 0))

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended('vaxtrail.rollups', 0))

-- name: positions
SELECT telemetry_id, (SELECT coalesce(max(notification_id), 0) FROM telemetry_events)
FROM rolled_up

-- name: keep_position
UPDATE rolled_up SET telemetry_id = %s, complete = %s

-- name: events
SELECT notification_id, state FROM telemetry_events
WHERE notification_id > %s AND notification_id <= %s AND topic = %s
ORDER BY notification_id LIMIT %s

-- name: device_numbers
SELECT device_id, device_no FROM device_no WHERE device_id = ANY(%s)

-- name: roll_up_hours
SELECT roll_up_hours(%s, %s::int4[], %s::int4[], %s::int8[])

-- name: roll_up_days
SELECT roll_up_days(%s::int4[], %s::int4[])

-- name: forget
-- All but those whose rows are no longer there.
SELECT forget_rollups()
