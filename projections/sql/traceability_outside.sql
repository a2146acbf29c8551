-- name: reached
-- What temperature probes reached in units in some spans of time (by their number from 0), by the
-- hour: in whole hours of them, and in those that only begin or end in them as well.
WITH told AS (
    SELECT device_id, channel, unit_id, since,
           lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
    FROM rm_shared_placements.stand
    WHERE device_id IN (SELECT device_id FROM rm_shared_placements.stand
                        WHERE unit_id = ANY(%(units)s))
      AND channel = ANY(%(channels)s)
), stay AS (
    SELECT a.n, d.device_no, s.channel, greatest(s.since, a.t0) AS t0, least(s.until, a.t1) AS t1
    FROM unnest(%(units)s::text[], %(t0)s::timestamptz[], %(t1)s::timestamptz[])
        WITH ORDINALITY AS a (unit_id, t0, t1, n)
    JOIN told s ON s.unit_id = a.unit_id AND s.since < a.t1 AND (s.until IS NULL OR s.until > a.t0)
    JOIN public.device_no d USING (device_id)
)
SELECT s.n - 1, min(h.lo) FILTER (WHERE whole), max(h.hi) FILTER (WHERE whole),
    min(h.lo), max(h.hi)
FROM stay s
JOIN public.reading_hour h ON h.device_no = s.device_no AND h.channel = s.channel
    AND h.ts > s.t0 - INTERVAL '1 hour' AND h.ts < s.t1
CROSS JOIN LATERAL (
    SELECT h.ts >= s.t0 AND h.ts + INTERVAL '1 hour' <= s.t1 AS whole
) w
GROUP BY s.n
