-- name: next_probe
-- What was told late of one probe, with where it stood then and the site of each such unit.
WITH next AS (
    SELECT probe FROM exposure_change ORDER BY id LIMIT 1
), changed AS (
    SELECT probe, min(block) * 900000::int8 AS t0, (max(block) + 1) * 900000::int8 AS t1
    FROM exposure_change JOIN next USING (probe) GROUP BY probe
), told AS (
    SELECT d.device_id, s.channel, s.unit_id, c.t0, c.t1,
        round(extract(epoch FROM s.since) * 1000)::int8 AS since,
        round(extract(epoch FROM lead(s.since) OVER (ORDER BY s.since)) * 1000)::int8 AS until
    FROM changed c
    JOIN device_no d ON d.device_no = c.probe / 4
    JOIN rm_shared_placements.stand s ON s.device_id = d.device_id
        AND s.channel = (%(channels)s::text[])[c.probe %% 4 + 1]
)
SELECT t.device_id, t.channel, t.unit_id, u.site_id, greatest(t.since, t.t0),
    least(coalesce(t.until, t.t1), t.t1)
FROM told t JOIN rm_shared_placements.unit u USING (unit_id)
WHERE t.since < t.t1 AND (t.until IS NULL OR t.until > t.t0)
ORDER BY t.since

-- name: changes
-- What was told late of the probe whose turn it is, quarter by quarter.
SELECT id, block, before, after FROM exposure_change
WHERE probe = (SELECT probe FROM exposure_change ORDER BY id LIMIT 1) ORDER BY block, id

-- name: forget
DELETE FROM exposure_change WHERE id = ANY(%s)
