-- name: settings
-- For one transaction that sorts and hashes whole tables.
SELECT set_config('work_mem', '128MB', true), set_config('maintenance_work_mem', '512MB', true)

-- name: all_sites
SELECT DISTINCT site_id FROM place

-- name: all_devices
SELECT device_id FROM excursion UNION SELECT unit_id FROM excursion
UNION SELECT unit_id FROM probe_place

-- name: all_lots
SELECT lot_id FROM lot

-- name: forget_repeated
-- Facts told again under the same id: the first holds. What they named is returned.
WITH again AS (
    SELECT position FROM (
        SELECT position, row_number() OVER (PARTITION BY fact_id ORDER BY position) AS n FROM scan
    ) s WHERE n > 1
), scans AS (
    DELETE FROM scan s USING again a WHERE s.position = a.position
), movements AS (
    DELETE FROM movement m USING again a WHERE m.position = a.position
), doses AS (
    DELETE FROM dose d USING again a WHERE d.position = a.position
)
DELETE FROM fact f USING again a WHERE f.position = a.position RETURNING f.k

-- name: contents_below
-- Codes with all that was ever in them.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%b::int8[])
    UNION
    SELECT c.child FROM down CROSS JOIN LATERAL (
        SELECT child FROM contain WHERE contain.parent = down.k OFFSET 0
    ) c
)
SELECT k FROM down

-- name: count_all_hops
INSERT INTO hop
SELECT lot_id, step, site_id, count(DISTINCT k), min(t_ms), max(t_ms) FROM fact
WHERE lot_id <> '' AND position NOT IN (
    SELECT position FROM scan WHERE withdrawn_position IS NOT NULL
) GROUP BY lot_id, step, site_id

-- name: corrective
-- Facts told in place of others that were declared wrong.
SELECT fact_id FROM scan WHERE fact_id IN (SELECT unnest(corrective_fact_ids) FROM withdrawal)

-- name: doubts
-- What has to be judged in the end, as it is found: some of it again and again.
CREATE UNLOGGED TABLE doubt (subject text COLLATE "C" NOT NULL)

-- name: copy_doubt
COPY doubt (subject) FROM STDIN

-- name: index_doubts
CREATE INDEX ON doubt (subject)

-- name: doubts_after
SELECT DISTINCT subject FROM doubt WHERE subject > %s ORDER BY subject LIMIT %s

-- name: forget_doubts
DROP TABLE doubt

-- name: analyze
-- Before the careful look at some: without this each part of it walks whole tables.
ANALYZE scan, fact, contain, node, dose, movement

-- name: analyze_hops
ANALYZE hop
