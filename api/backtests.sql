-- name: stays
-- What of the stays of temperature probes in units of a profile lies in [t0, t1).
SELECT n.device_no, s.device_id, s.channel, d.interval_s, u.unit_id, u.site_id,
    greatest(s.since, %(t0)s) AS t0, least(s.until, %(t1)s) AS t1
FROM (SELECT device_id, channel, unit_id, since,
          lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
      FROM rm_shared_placements.stand WHERE channel = ANY(%(channels)s)) s
JOIN rm_shared_placements.unit u USING (unit_id)
JOIN rm_shared_placements.device d USING (device_id)
JOIN public.device_no n USING (device_id)
WHERE u.profile_id = %(profile_id)s AND u.region_code LIKE %(region)s || '%%'
    AND (%(site_id)s::text IS NULL OR u.site_id = %(site_id)s)
    AND s.since < %(t1)s AND (s.until IS NULL OR s.until > %(t0)s)
ORDER BY n.device_no, s.channel, s.since

-- name: extremes
-- The least and the greatest value of each day (UTC, days since 1970) of each channel of devices.
SELECT h.device_no, h.channel, floor(extract(epoch FROM h.ts) / 86400)::int AS day,
    min(h.lo), max(h.hi)
FROM public.reading_hour h
WHERE h.device_no = ANY(%(devices)s) AND h.channel = ANY(%(channels)s)
    AND h.ts >= %(t0)s::timestamptz - INTERVAL '1 hour' AND h.ts < %(t1)s AND h.lo IS NOT NULL
GROUP BY 1, 2, 3

-- name: told
-- What was told of temperatures in units, and how long it lasted: minutes up to now or t1.
SELECT site_id, rule_id, severity, count(*),
    sum(extract(epoch FROM least(coalesce(recovered_at, resolved_at, %(t1)s), %(t1)s)
        - started_at)::float8) / 60
FROM rm_alerting.alert
WHERE unit_id = ANY(%(units)s) AND kind = 'temperature' AND state <> 'withdrawn'
    AND started_at >= %(t0)s AND started_at < %(t1)s
GROUP BY 1, 2, 3
