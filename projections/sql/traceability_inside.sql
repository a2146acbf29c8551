-- name: seeds
-- Codes that may have been in a unit, at its site, or on the way with a vehicle or device, at some
-- time from `start_ms` to `end_ms`: what stands there now; what a fact since then names there, or
-- elsewhere after it was there (nobody told that it left: the steps that leave a code where it is do
-- not count); what was on the way; what was put into the unit at another site, with what was in it.
-- Some too many: the fold of their facts decides. (No fact is told an hour before it happens, and
-- nothing is on the way, or in a unit elsewhere, for longer than sixty days.)
WITH RECURSIVE recent AS MATERIALIZED (
    SELECT f.k, f.t_ms, f.site_id FROM rm_traceability.fact f
    WHERE f.t_ms >= %(start_ms)s AND f.position > coalesce((
        SELECT s.position FROM rm_traceability.scan s
        WHERE s.recorded_ms < %(start_ms)s - 3600000 ORDER BY s.position DESC LIMIT 1), 0)
), elsewhere (k, t_ms) AS (
    SELECT f.k, f.t_ms FROM rm_traceability.scan s
    JOIN rm_traceability.fact f ON f.position = s.position
    WHERE strpos(s.said, '"unit_id"') > 0 AND s.said::json ->> 'unit_id' = %(unit_id)s
        AND s.site_id <> %(site_id)s
        AND s.t_ms BETWEEN %(start_ms)s - 60 * 86400000::int8 AND %(end_ms)s
    UNION
    SELECT c.child, e.t_ms FROM elsewhere e JOIN rm_traceability.contain c
        ON c.parent = e.k AND c.t1 >= e.t_ms AND c.t0 <= %(end_ms)s
)
SELECT n.k FROM rm_traceability.node n
WHERE n.parent IS NULL AND n.site_id = %(site_id)s AND n.unit_id IN ('', %(unit_id)s)
    AND (n.status IS NULL OR n.status NOT IN ('used', 'wasted', 'sampled', 'destroyed'))
UNION
SELECT k FROM recent WHERE site_id = %(site_id)s
UNION
SELECT r.k FROM recent r CROSS JOIN LATERAL (
    SELECT f.site_id, s.to_site_id FROM rm_traceability.fact f
    JOIN rm_traceability.scan s ON s.position = f.position AND s.withdrawn_position IS NULL
    WHERE f.k = r.k AND f.t_ms < r.t_ms AND f.step NOT IN (57, 92, 105, 110, 115, 120)
    ORDER BY f.t_ms DESC, f.position DESC LIMIT 1
) before WHERE %(site_id)s IN (before.site_id, before.to_site_id)
UNION
SELECT f.k FROM rm_traceability.movement m
JOIN rm_traceability.scan s ON s.position = m.position
    AND s.t_ms BETWEEN %(start_ms)s - 60 * 86400000::int8 AND %(end_ms)s + 60 * 86400000::int8
JOIN rm_traceability.fact f ON f.position = m.position
WHERE (m.vehicle_id = %(unit_id)s AND m.vehicle_id <> '')
    OR (m.device_id = %(device_id)s AND m.device_id <> '')
UNION
SELECT k FROM elsewhere

-- name: named
SELECT k FROM rm_traceability.fact WHERE position = %s

-- name: contents
-- The codes themselves and what was in them meanwhile, with the level of each.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%(codes)s::int8[])
    UNION
    SELECT c.child FROM down d JOIN rm_traceability.contain c
        ON c.parent = d.k AND c.t1 >= %(start_ms)s AND c.t0 <= %(end_ms)s
)
SELECT d.k, coalesce(n.level, 1) FROM down d LEFT JOIN rm_traceability.node n ON n.k = d.k
ORDER BY d.k

-- name: inside_now
SELECT parent, k FROM rm_traceability.node WHERE parent = ANY(%s)

-- name: products
SELECT product_id, doses_per_vial FROM rm_traceability.product WHERE product_id = ANY(%s)

-- name: parents
SELECT k, parent FROM rm_traceability.node WHERE k = ANY(%s)
