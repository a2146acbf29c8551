-- name: stored_rows
-- Every row of every reading, with the device's name.
SELECT d.device_id, r.boot, r.seq, round(extract(epoch FROM r.ts) * 1000)::bigint, r.backfill,
       r.t1, r.t2, r.t3, r.t4, r.rh, r.door, r.mains, r.bat, r.extra
FROM reading r JOIN device_no d USING (device_no)

-- name: latest_values
-- What is shown as the newest of each device.
SELECT d.device_id, s.t1, s.t2, s.t3, s.t4, s.rh, s.door, s.mains, s.bat
FROM device_state s JOIN device_no d USING (device_no) WHERE s.ts IS NOT NULL

-- name: start
-- One moment for rows and events alike, however long the comparison takes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: readings_events
SELECT notification_id, originator_id, originator_version, topic, state FROM telemetry_events
WHERE topic = %s ORDER BY notification_id
