-- name: told_of_codes
-- Facts of a lot's codes, or of some codes, and of all packs above them, as columns of big-endian
-- numbers: who is named (`k`, `position`, `parent`, 0 = none, `filled`), the facts in their order,
-- stays in packs, and the smallest packs that are the lot's. Facts that place nothing are left out,
-- and what was said of a dose where one is all there is (`single`); `to_sites`: of sendings alone.
-- A lot in packs that are not its own (`mixed`) is told by its codes.
WITH RECURSIVE mixed AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM rm_traceability.mixed WHERE lot_id = %(lot)s) AS found
), up (k) AS (
    (
        SELECT n.k FROM rm_traceability.node n
        WHERE n.lot_id = %(lot)s AND n.lot_id <> '' AND (SELECT found FROM mixed)
        UNION SELECT unnest(%(keys)s::int8[])
    ) UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
), own AS MATERIALIZED (
    SELECT k, position, parent, as_parent FROM rm_traceability.fact
    WHERE lot_id = %(lot)s AND lot_id <> '' AND step < 105 AND NOT (SELECT found FROM mixed)
    UNION ALL
    SELECT f.k, f.position, f.parent, f.as_parent
    FROM up JOIN rm_traceability.fact f ON f.k = up.k AND f.step < 105
), facts AS (
    SELECT s.* FROM (SELECT DISTINCT position FROM own) p
    JOIN rm_traceability.scan s ON s.position = p.position AND s.withdrawn_position IS NULL
), named AS (
    SELECT coalesce(string_agg(int8send(k), ''::bytea), '') AS k,
        coalesce(string_agg(int8send(position), ''::bytea), '') AS position,
        coalesce(string_agg(int8send(coalesce(parent, 0)), ''::bytea), '') AS parent,
        coalesce(string_agg(int2send(as_parent::integer::int2), ''::bytea), '') AS filled
    FROM own
), told AS (
    SELECT coalesce(string_agg(int8send(position), ''::bytea), '') AS position,
        coalesce(string_agg(int2send(step), ''::bytea), '') AS step,
        coalesce(string_agg(int8send(t_ms), ''::bytea), '') AS t_ms,
        coalesce(array_agg(site_id) FILTER (WHERE NOT (%(single)s AND step = 80)), '{}') AS sites,
        coalesce(array_agg(to_site_id) FILTER (WHERE step IN (30, 35)), '{}') AS to_sites,
        coalesce(array_agg(said) FILTER (WHERE NOT (%(single)s AND step = 80)), '{}') AS said
    FROM (SELECT * FROM facts ORDER BY t_ms, step, fact_id COLLATE "C") AS facts
), packed AS (
    SELECT coalesce(string_agg(int8send(c.child), ''::bytea), '') AS child,
        coalesce(string_agg(int8send(c.parent), ''::bytea), '') AS pack,
        coalesce(string_agg(int8send(c.t0), ''::bytea), '') AS t0,
        coalesce(string_agg(int8send(c.t1), ''::bytea), '') AS t1
    FROM (SELECT DISTINCT k FROM own) AS o JOIN rm_traceability.contain c ON c.child = o.k
), members AS (
    SELECT coalesce(string_agg(int8send(k), ''::bytea), '') AS members
    FROM rm_traceability.node WHERE lot_id = %(lot)s AND lot_id <> '' AND level = 1
)
SELECT * FROM named, told, packed, members

-- name: inside_now
-- The smallest packs that are in a pack now, at any depth; the code itself where it is one.
WITH RECURSIVE inside (k) AS (
    SELECT %(k)s::int8
    UNION
    SELECT n.k FROM inside i JOIN rm_traceability.node n ON n.parent = i.k
)
SELECT k FROM inside JOIN rm_traceability.node USING (k) WHERE level = 1

-- name: doses_per_vial
SELECT doses_per_vial FROM rm_traceability.product WHERE product_id = %s

-- name: texts
SELECT k, code FROM rm_traceability.code_text WHERE k = ANY(%s)

-- name: lots_of
SELECT k, lot_id FROM rm_traceability.node WHERE k = ANY(%s)

-- name: known
-- Whether codes of a lot, or a lot of this id, are known.
SELECT EXISTS (SELECT FROM rm_traceability.lot WHERE lot_id = %(lot)s)
    OR EXISTS (SELECT FROM rm_traceability.node WHERE lot_id = %(lot)s AND lot_id <> '')
