-- name: one_moment
-- The follower's position and its roll-ups as they stood at one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: rows
-- One channel of a device in [t0, t1) as two columns of big-endian 64-bit values: microseconds
-- since 2000-01-01 UTC, and values, NaN where the probe was unplugged. Times without this channel
-- in the message are NaN too.
SELECT coalesce(string_agg(timestamptz_send(ts), ''::bytea ORDER BY ts, boot, seq), ''),
       coalesce(string_agg(float8send(coalesce(
           CASE %(channel)s
               WHEN 't1' THEN t1 WHEN 't2' THEN t2 WHEN 't3' THEN t3 WHEN 't4' THEN t4
               WHEN 'rh' THEN rh WHEN 'bat' THEN bat
               WHEN 'door' THEN door::integer WHEN 'mains' THEN mains::integer
               ELSE (extra ->> %(channel)s)::float8
           END, 'NaN')), ''::bytea ORDER BY ts, boot, seq), '')
FROM public.reading r JOIN public.device_no n USING (device_no)
WHERE n.device_id = %(device_id)s AND ts >= %(t0)s AND ts < %(t1)s
  AND (%(telemetry)s::bigint IS NULL OR EXISTS (
      SELECT FROM public.batches b WHERE b.batch = r.batch AND b.telemetry_id <= %(telemetry)s))

-- name: hours
-- The hours of a channel of a device that begin in [t0, t1), or only those whose rows were dropped:
-- how many rows, and the least and the greatest with the time of each as in `rows`. An hour without
-- any value has NaN at the time of its first row.
SELECT coalesce(sum(readings), 0),
       coalesce(string_agg(timestamptz_send(coalesce(lo_ts, first_ts)), ''::bytea ORDER BY ts), ''),
       coalesce(string_agg(float8send(coalesce(lo, 'NaN')), ''::bytea ORDER BY ts), ''),
       coalesce(string_agg(timestamptz_send(coalesce(hi_ts, first_ts)), ''::bytea ORDER BY ts), ''),
       coalesce(string_agg(float8send(coalesce(hi, 'NaN')), ''::bytea ORDER BY ts), '')
FROM public.reading_hour h JOIN public.device_no n USING (device_no)
WHERE n.device_id = %(device_id)s AND h.channel = %(channel)s AND h.ts >= %(t0)s AND h.ts < %(t1)s
  AND (NOT %(dropped)s OR EXISTS (
      SELECT FROM public.reading_dropped d WHERE d.day = (h.ts AT TIME ZONE 'UTC')::date))

-- name: any_dropped
SELECT EXISTS (SELECT FROM public.reading_dropped
               WHERE day >= (%(t0)s AT TIME ZONE 'UTC')::date
                 AND day <= (%(t1)s AT TIME ZONE 'UTC')::date)

-- name: rolled_up_to
-- The position that the roll-ups stand for; NULL while they catch up or are more than a minute
-- behind. With TimescaleDB they answer for what is stored now.
SELECT CASE
    WHEN (SELECT relkind FROM pg_class WHERE oid = 'public.rollup_hour'::regclass) <> 'r'
    THEN (SELECT coalesce(max(telemetry_id), 0) FROM public.batches)
    WHEN NOT u.complete THEN NULL
    WHEN (SELECT b.recorded_at FROM public.batches b WHERE b.telemetry_id > u.telemetry_id
          ORDER BY b.telemetry_id LIMIT 1)
       < (SELECT b.recorded_at FROM public.batches b WHERE b.telemetry_id IS NOT NULL
          ORDER BY b.telemetry_id DESC LIMIT 1) - INTERVAL '1 minute'
    THEN NULL
    ELSE u.telemetry_id
END FROM public.rolled_up u
