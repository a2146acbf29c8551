-- name: readings
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
