-- name: try_lead
-- One alert process of all that share a database tells of corrections (the number is arbitrary,
-- fixed); the lock goes with its session.
SELECT pg_try_advisory_lock(7203409)

-- name: progress
-- Up to which position of the ledger facts were held against the goods; how far the read models
-- are; up to where to look now; and from which position on rows that wait can be weighed, if any do.
SELECT t.ledger_id, r.followed, least(r.followed, t.ledger_id + %(window)s),
    (SELECT max(c.ledger_id) FROM exposure_change c)
FROM exposure_told t, (
    SELECT coalesce(min(coalesce(k.notification_id, 0)), 0) AS followed
    FROM follower w LEFT JOIN follower_tracking k ON k.application_name = 'ledger.' || w.name
) r

-- name: pending
-- What stood in rows that changed, in order, and whether it is the turn of each: of the first probe
-- and of all that ever stood in a unit with it.
WITH stood AS (
    SELECT DISTINCT n.device_no * 4 + array_position(%(channels)s::text[], s.channel) - 1 AS probe,
        s.unit_id
    FROM rm_shared_placements.stand s JOIN device_no n USING (device_id)
    WHERE s.channel = ANY(%(channels)s::text[]) AND s.unit_id <> ''
), next AS (
    SELECT probe FROM exposure_change ORDER BY id LIMIT 1
), beside AS (
    SELECT probe FROM next
    UNION
    SELECT o.probe FROM next JOIN stood s USING (probe) JOIN stood o USING (unit_id)
)
SELECT c.id, c.probe, c.block, c.before, c.cause, b.probe IS NOT NULL
FROM exposure_change c LEFT JOIN beside b ON b.probe = c.probe ORDER BY c.id

-- name: stood
-- In which units probes stood in some quarters, with their sites, and in which time of these.
WITH told AS (
    SELECT n.device_no * 4 + array_position(%(channels)s::text[], s.channel) - 1 AS probe,
        s.device_id, s.channel, s.unit_id, s.since,
        lead(s.since) OVER (PARTITION BY s.device_id, s.channel ORDER BY s.since) AS until
    FROM rm_shared_placements.stand s JOIN device_no n USING (device_id)
    WHERE s.channel = ANY(%(channels)s::text[])
), placed AS (
    SELECT t.*, round(extract(epoch FROM t.since) * 1000)::int8 AS since_ms,
        coalesce(round(extract(epoch FROM t.until) * 1000)::int8, 4611686018427387904) AS until_ms
    FROM told t
)
SELECT p.unit_id, u.site_id, p.device_id, p.channel,
    min(greatest(p.since_ms, c.block * 900000::int8)),
    max(least(p.until_ms, (c.block + 1) * 900000::int8))
FROM unnest(%(probes)s::int4[], %(blocks)s::int4[]) AS c (probe, block)
JOIN placed p ON p.probe = c.probe
    AND p.since_ms < (c.block + 1) * 900000::int8 AND p.until_ms > c.block * 900000::int8
JOIN rm_shared_placements.unit u USING (unit_id)
GROUP BY 1, 2, 3, 4 ORDER BY min(c.block), 1, 3, 4

-- name: stood_otherwise
-- In which units a probe stood from a moment until the next fact about it, as known with the fact
-- of that moment and without it: of the time that somebody may have been told of before.
WITH told AS (
    SELECT a.at, s.unit_id, round(extract(epoch FROM s.since) * 1000)::int8 AS since,
        coalesce(round(extract(epoch FROM lead(s.since) OVER (
            PARTITION BY a.at ORDER BY s.since)) * 1000)::int8, %(recorded_ms)s) AS until
    FROM unnest(ARRAY[%(position)s - 1, %(position)s]::int8[]) AS a (at)
    JOIN rm_shared_placements.stand s ON s.position <= a.at
        AND s.device_id = %(device_id)s AND s.channel = %(channel)s
), changed AS (
    SELECT until FROM told WHERE at = %(position)s AND since = %(at_ms)s
)
SELECT DISTINCT t.unit_id, u.site_id, %(device_id)s::text, %(channel)s::text,
    greatest(t.since, %(at_ms)s), least(t.until, c.until, %(recorded_ms)s)
FROM told t CROSS JOIN changed c JOIN rm_shared_placements.unit u USING (unit_id)
WHERE t.since < c.until AND t.until > %(at_ms)s

-- name: late_fact
-- The first fact after a position, up to another, that was told late: probes placed or taken out;
-- scans that say where goods were, and such scans declared wrong.
(
    SELECT s.position, 'placement' AS cause, m.at_ms,
        round(extract(epoch FROM m.recorded_at) * 1000)::int8 AS recorded_ms,
        s.device_id, s.channel, '' AS site_id, 0::int8 AS scan
    FROM rm_shared_placements.stand s CROSS JOIN LATERAL (
        SELECT round(extract(epoch FROM s.since) * 1000)::int8 AS at_ms,
            (SELECT b.recorded_at FROM batches b WHERE b.ledger_id >= s.position
             ORDER BY b.ledger_id LIMIT 1) AS recorded_at
    ) m
    WHERE s.position > %(after)s AND s.position <= %(upto)s
        AND m.recorded_at >= s.since + %(late)s * INTERVAL '1 millisecond'
    ORDER BY s.position LIMIT 1
) UNION ALL (
    SELECT s.position, 'custody', s.t_ms, s.recorded_ms, '', '', s.site_id, s.position
    FROM rm_traceability.scan s
    WHERE s.position > %(after)s AND s.position <= %(upto)s
        AND s.recorded_ms - s.t_ms >= %(late)s AND s.step < 105 AND s.step <> 57
    ORDER BY s.position LIMIT 1
) UNION ALL (
    SELECT w.position, 'custody', s.t_ms,
        round(extract(epoch FROM w.declared_at) * 1000)::int8, '', '', s.site_id, s.position
    FROM rm_traceability.withdrawal w JOIN rm_traceability.scan s
        ON s.fact_id = w.fact_id AND s.withdrawn_position = w.position
    WHERE w.position > %(after)s AND w.position <= %(upto)s
        AND extract(epoch FROM w.declared_at) * 1000 - s.t_ms >= %(late)s
        AND s.step < 105 AND s.step <> 57
    ORDER BY w.position LIMIT 1
) ORDER BY position LIMIT 1

-- name: told
UPDATE exposure_told SET ledger_id = %s

-- name: forget
DELETE FROM exposure_change WHERE id = ANY(%s)
