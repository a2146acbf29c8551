-- Questions about custody. Their tables: traceability.sql.

-- name: chain_of_code
WITH RECURSIVE up (k) AS (
    SELECT %(k)s::int8
    UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
JOIN rm_traceability.fact f ON f.k = up.k
JOIN rm_traceability.scan s ON s.position = f.position

-- name: chain_now
-- The same with all else an answer of now needs, but for rows that cannot change it: commissionings
-- and fillings of packs before these were moved on (what a pack was filled with is no fact of its
-- contents, and where it was then no longer counts). Only a commissioning names a lot for its code.
-- Folded: holds of its lot; a product or lot told after the position (another follower lags).
WITH RECURSIVE up (k) AS (
    SELECT %(k)s::int8
    UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
), stand AS MATERIALIZED (
    SELECT
        (SELECT coalesce(min(coalesce(t.notification_id, 0)), 0) FROM follower w
         LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || w.name) AS ledger,
        (SELECT coalesce(max(e.notification_id), 0) FROM telemetry_events e) AS telemetry,
        (SELECT coalesce(max(c.position), 0) FROM rm_shared_org_tree.changed c) AS names_version
)
SELECT f.k, f.parent, f.as_parent,
    CASE WHEN f.k >= 776627963145224192 THEN (
        SELECT c.code FROM rm_traceability.code_text c WHERE c.k = f.k
    ) END,
    s.position, s.fact_id, s.step, s.t_ms, s.recorded_ms, s.withdrawn_position, s.site_id,
    s.to_site_id, s.lot_id, s.said, p.doses_per_vial, p.opened_limit_min,
    CASE WHEN f.step = 10 AND f.k = %(k)s THEN (
        SELECT l.expires_on FROM rm_traceability.lot l WHERE l.lot_id = s.lot_id
    ) END,
    coalesce(p.position > n.ledger, false) OR f.step = 10 AND f.k = %(k)s AND (
        EXISTS (
            SELECT FROM rm_traceability.scan h
            WHERE h.lot_id = s.lot_id AND h.step >= 110 AND h.lot_id <> ''
        ) OR EXISTS (SELECT FROM rm_traceability.lot l WHERE l.lot_id = s.lot_id AND l.position > n.ledger)
    ),
    n.ledger, n.telemetry, n.names_version
FROM stand n
LEFT JOIN rm_traceability.product p ON p.product_id = %(product)s
CROSS JOIN up
JOIN rm_traceability.fact f ON f.k = up.k AND (f.k = %(k)s OR NOT (
    (f.step = 10 OR f.step = 20 AND f.as_parent) AND EXISTS (
        SELECT FROM rm_traceability.fact g
        WHERE g.k = f.k AND g.t_ms > f.t_ms AND g.step IN (30, 35, 40)
    )
))
JOIN rm_traceability.scan s ON s.position = f.position

-- name: steps_now
-- The hops of a lot behind one row that tells the positions, whether hops tell it all, and whether
-- they may tell more than stands at the position (another follower lags).
WITH stand AS (
    SELECT coalesce(min(coalesce(t.notification_id, 0)), 0) AS ledger,
        coalesce(max(t.notification_id) FILTER (WHERE w.name = 'traceability'), 0) AS own
    FROM follower w LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || w.name
)
SELECT * FROM (
    SELECT -1 AS step, CASE
            WHEN EXISTS (SELECT FROM rm_traceability.mixed m WHERE m.lot_id = %(lot)s) THEN 'mixed'
            WHEN stand.own > stand.ledger THEN 'ahead'
            ELSE ''
        END AS site_id,
        (SELECT coalesce(max(c.position), 0) FROM rm_shared_org_tree.changed c) AS packs,
        stand.ledger AS first_ms,
        (SELECT coalesce(max(e.notification_id), 0) FROM telemetry_events e) AS last_ms
    FROM stand
    UNION ALL
    SELECT h.step, h.site_id, h.packs, h.first_ms, h.last_ms
    FROM rm_traceability.hop h WHERE h.lot_id = %(lot)s
) h ORDER BY step <> -1, first_ms, step, site_id

-- name: told_since
-- Whether a fact or withdrawal after a position changed the hops of a lot, or made them tell it all:
-- of its codes, of codes that were once commissioned as its, of packs that hold its codes.
SELECT EXISTS (
    SELECT FROM (
        SELECT f.* FROM rm_traceability.fact f WHERE f.position > %(at)s
        UNION ALL
        SELECT f.* FROM rm_traceability.withdrawal w
        JOIN rm_traceability.scan s ON s.withdrawn_position = w.position AND s.fact_id = w.fact_id
        JOIN rm_traceability.fact f ON f.position = s.position
        WHERE w.position > %(at)s
    ) f
    WHERE f.lot_id = %(lot)s OR f.step = 10 AND (
        EXISTS (
            SELECT FROM rm_traceability.fact o
            WHERE o.k = f.k AND o.step = 10 AND o.lot_id = %(lot)s
        ) OR EXISTS (
            SELECT FROM rm_traceability.contain c JOIN rm_traceability.node n ON n.k = c.child
            WHERE c.parent = f.k AND n.lot_id = %(lot)s
        )
    )
)

-- name: facts_of_lot
-- The facts of a lot's codes and of codes once taken for the lot's, of what others were ever in
-- these, and of packs of others that ever held any: codes may become the lot's, or cease to be.
WITH RECURSIVE own AS (
    SELECT k, position, parent, as_parent, step FROM rm_traceability.fact WHERE lot_id = %(lot)s
), down (k) AS (
    (
        SELECT i.k FROM (SELECT DISTINCT k FROM own) p
        JOIN rm_traceability.fact i ON i.parent = p.k AND i.lot_id <> %(lot)s
        UNION SELECT k FROM own JOIN rm_traceability.node n USING (k)
        WHERE own.step = 10 AND n.lot_id <> %(lot)s
    ) UNION
    SELECT f.k FROM down JOIN rm_traceability.fact f ON f.parent = down.k AND f.lot_id <> %(lot)s
), up (k) AS (
    (SELECT parent FROM own WHERE parent IS NOT NULL UNION SELECT k FROM down) UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
), told AS (
    SELECT k, parent, as_parent, position FROM own UNION ALL
    SELECT f.k, f.parent, f.as_parent, f.position
    FROM up JOIN rm_traceability.fact f ON f.k = up.k AND f.lot_id <> %(lot)s
)
SELECT t.k, t.parent, t.as_parent, s.* FROM told t JOIN rm_traceability.scan s ON s.position = t.position

-- name: facts_at_sites
-- Every code that was ever at or on its way to the places, what was ever inside, and all above.
WITH RECURSIVE here (k) AS (
    SELECT f.k FROM rm_traceability.fact f JOIN rm_traceability.scan s ON s.position = f.position
    WHERE %(sites)s::text[] IS NULL OR s.site_id = ANY(%(sites)s) OR s.to_site_id = ANY(%(sites)s)
    UNION
    SELECT f.k FROM here JOIN rm_traceability.fact f ON f.parent = here.k
), up (k) AS (
    SELECT k FROM here UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
JOIN rm_traceability.fact f ON f.k = up.k
JOIN rm_traceability.scan s ON s.position = f.position

-- name: lot_facts
-- Holds and releases that name whole lots.
SELECT * FROM rm_traceability.scan
WHERE step >= 110 AND lot_id <> '' AND (%(lots)s::text[] IS NULL OR lot_id = ANY(%(lots)s))

-- name: withdrawals
SELECT w.fact_id, w.declared_at, w.reason, w.corrective_fact_ids
FROM rm_traceability.withdrawal w
JOIN rm_traceability.scan s ON s.fact_id = w.fact_id AND s.site_id = w.site_id
WHERE w.fact_id = ANY(%s)

-- name: lot_named
SELECT EXISTS (SELECT 1 FROM rm_traceability.lot WHERE lot_id = %(lot)s)
    OR EXISTS (SELECT 1 FROM rm_traceability.fact WHERE lot_id = %(lot)s)

-- name: earlier_lot
-- A lot of the same product that expires before that of the codes, and of which a site has some.
SELECT e.lot_id
FROM (SELECT DISTINCT lot_id FROM rm_traceability.node WHERE k = ANY(%(codes)s)) n
JOIN rm_traceability.lot l ON l.lot_id = n.lot_id
JOIN rm_traceability.lot e ON e.product_id = l.product_id AND e.expires_on < l.expires_on
WHERE e.expires_on >= %(today)s AND EXISTS (
    SELECT FROM rm_traceability.node s
    WHERE s.site_id = %(site)s AND s.lot_id = e.lot_id AND s.parent IS NULL
        AND s.status IN ('commissioned', 'in_stock') AND NOT s.held
)
ORDER BY e.expires_on, e.lot_id LIMIT 1

-- name: expiries
SELECT lot_id, expires_on FROM rm_traceability.lot
WHERE (%(lots)s::text[] IS NULL OR lot_id = ANY(%(lots)s))
  AND (%(as_of)s::int8 IS NULL OR position <= %(as_of)s)

-- name: read_code_texts
SELECT k, code FROM rm_traceability.code_text WHERE k = ANY(%s)

-- name: read_vials
SELECT product_id, doses_per_vial, opened_limit_min FROM rm_traceability.product
WHERE %(as_of)s::int8 IS NULL OR position <= %(as_of)s

-- name: stock_now
-- From the packs that have a place down to what is inside them; then, from what never held
-- anything, up again: packs whose contents have all left are not reached.
WITH RECURSIVE inside (k, parent, lot_id, level, site_id, status, held) AS (
    SELECT k, parent, lot_id, level, site_id, status, held FROM rm_traceability.node
    WHERE parent IS NULL AND site_id <> ''
      AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))
      AND (%(unit)s::text IS NULL OR unit_id = %(unit)s)
    UNION ALL
    SELECT n.k, n.parent, n.lot_id, n.level, i.site_id,
        CASE
            WHEN n.status = 'opened' AND i.status IN ('wasted', 'sampled', 'destroyed', 'missing') THEN i.status
            WHEN n.status IS NULL AND i.status = 'used' THEN 'in_stock'
            ELSE coalesce(n.status, i.status)
        END,
        n.held OR i.held
    FROM inside i JOIN rm_traceability.node n ON n.parent = i.k
), filled (k, parent) AS (
    SELECT i.k, i.parent FROM inside i
    WHERE NOT EXISTS (SELECT 1 FROM rm_traceability.contain c WHERE c.parent = i.k)
    UNION
    SELECT i.k, i.parent FROM filled f JOIN inside i ON i.k = f.parent
)
SELECT site_id, lot_id, status, held, level, count(*)
FROM inside JOIN filled USING (k) GROUP BY site_id, lot_id, status, held, level

-- name: lots
SELECT lot_id, product_id, lot_number, produced_on, expires_on, lot_release_no, quantity
FROM rm_traceability.lot
WHERE (%(product)s::text IS NULL OR product_id = %(product)s) AND lot_id > %(after)s
ORDER BY lot_id LIMIT %(limit)s

-- name: lot
SELECT lot_id, product_id, lot_number, produced_on, expires_on, lot_release_no, quantity
FROM rm_traceability.lot
WHERE lot_id = %(lot)s AND (%(as_of)s::int8 IS NULL OR position <= %(as_of)s)

-- name: products
SELECT product_id, name, name_en, specification, holder, doses_per_vial, temperature_c_min,
    temperature_c_max, freeze_sensitive, opened_limit_min, middle_pack_size, case_size,
    trade_name, form, approval_no, producer, programme
FROM rm_traceability.product WHERE product_id > %(after)s ORDER BY product_id LIMIT %(limit)s

-- name: lot_codes
SELECT n.k, c.code, n.level FROM rm_traceability.node n
LEFT JOIN rm_traceability.code_text c ON c.k = n.k
WHERE n.lot_id = %(lot)s AND n.k > %(after)s ORDER BY n.k LIMIT %(limit)s
