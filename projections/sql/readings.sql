-- name: stored_rows
-- Every row of every reading, with the device's name.
SELECT d.device_id, r.boot, r.seq, round(extract(epoch FROM r.ts) * 1000)::bigint, r.backfill,
       r.t1, r.t2, r.t3, r.t4, r.rh, r.door, r.mains, r.bat, r.extra
FROM reading r JOIN device_no d USING (device_no)

-- name: latest_apart
-- Devices whose newest values are not those of their newest reading.
SELECT count(*) FROM device_state s
JOIN LATERAL (
    SELECT r.ts, r.t1, r.t2, r.t3, r.t4, r.rh FROM reading r
    WHERE r.device_no = s.device_no ORDER BY r.ts DESC, r.boot DESC, r.seq DESC LIMIT 1
) r ON true
WHERE (s.ts, s.t1, s.t2, s.t3, s.t4, s.rh) IS DISTINCT FROM (r.ts, r.t1, r.t2, r.t3, r.t4, r.rh)

-- name: start
-- One moment for rows and events alike, however long the comparison takes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: readings_events
SELECT notification_id, originator_id, originator_version, topic, state FROM telemetry_events
WHERE topic = %s ORDER BY notification_id
