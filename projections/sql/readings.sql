-- name: stored_rows
-- Every row of every reading, with the device's name; without what came in late for dropped days.
SELECT d.device_id, r.boot, r.seq, round(extract(epoch FROM r.ts) * 1000)::bigint, r.backfill,
       r.t1, r.t2, r.t3, r.t4, r.rh, r.door, r.mains, r.bat, r.extra
FROM reading r JOIN device_no d USING (device_no)
WHERE NOT EXISTS (SELECT FROM reading_dropped g WHERE g.day = (r.ts AT TIME ZONE 'UTC')::date)

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

-- name: dropped_days
SELECT day FROM reading_dropped

-- name: dropped_between
SELECT day FROM reading_dropped WHERE day BETWEEN %s AND %s ORDER BY day

-- name: position_before
SELECT telemetry_id FROM batches WHERE recorded_at < %s AND telemetry_id IS NOT NULL
ORDER BY recorded_at DESC, telemetry_id DESC LIMIT 1

-- name: device_numbers
SELECT device_id, device_no FROM device_no

-- name: events_with_batch
-- Messages with the batch they were stored in, which is the first to reach their position.
SELECT e.notification_id, b.batch, e.originator_id, e.originator_version, e.topic, e.state
FROM telemetry_events e
CROSS JOIN LATERAL (SELECT batch FROM batches WHERE telemetry_id >= e.notification_id
                    ORDER BY telemetry_id LIMIT 1) AS b
WHERE e.topic = %s AND e.notification_id > %s ORDER BY e.notification_id LIMIT %s

-- name: is_hypertable
SELECT relkind <> 'p' FROM pg_class WHERE oid = 'public.reading'::regclass

-- name: make_table
CREATE TABLE public.{made} (LIKE public.reading)

-- name: copy_rows
COPY public.{made} FROM STDIN

-- name: index_table
-- The check saves attaching it a look at every row.
CREATE INDEX ON public.{made} (device_no, ts);
ALTER TABLE public.{made} ADD CONSTRAINT day CHECK (ts >= {begin} AND ts < {end})

-- name: lock_readings
SET LOCAL lock_timeout = '5s';
LOCK TABLE ONLY public.reading IN ACCESS EXCLUSIVE MODE

-- name: attach_table
-- What came in late meanwhile is among the events, and so in the new table.
DROP TABLE IF EXISTS public.{table};
ALTER TABLE public.{made} RENAME TO {table};
ALTER TABLE public.reading ATTACH PARTITION public.{table} FOR VALUES FROM ({begin}) TO ({end});
ALTER TABLE public.{table} DROP CONSTRAINT day

-- name: put_into_hypertable
DELETE FROM public.reading WHERE ts >= {begin} AND ts < {end};
INSERT INTO public.reading SELECT * FROM public.{made};
DROP TABLE public.{made}

-- name: no_longer_dropped
DELETE FROM reading_dropped WHERE day = ANY(%s)

-- name: roll_up_hours
-- Nothing in them is later than 1970: all are aggregated anew.
SELECT roll_up_hours(%(day)s, array_agg(h.device_no), array_agg(h.hour), array_agg(0::bigint))
FROM (
    SELECT DISTINCT device_no, floor(extract(epoch FROM ts) / 3600)::integer AS hour FROM reading
    WHERE ts >= %(begin)s AND ts < %(begin)s + INTERVAL '1 day') AS h

-- name: roll_up_days
-- A UTC day lies in two of ours: our day n begins 8 hours before day n of UTC.
SELECT roll_up_days(array_agg(h.device_no), array_agg(h.day)) FROM (
    SELECT DISTINCT device_no, floor((extract(epoch FROM ts) + 28800) / 86400)::integer AS day
    FROM rollup_hour WHERE device_no IN (SELECT device_no FROM device_no)
    AND ts >= %(begin)s AND ts < %(begin)s + INTERVAL '1 day') AS h

-- name: refresh
CALL refresh_continuous_aggregate('rollup_hour', %(begin)s, %(begin)s + INTERVAL '1 day')
