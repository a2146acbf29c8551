-- name: facts_of_codes
-- The facts of codes and of every pack that ever held them.
WITH RECURSIVE up (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT f.parent FROM up CROSS JOIN LATERAL (
        SELECT parent FROM rm_traceability.fact WHERE fact.k = up.k AND parent IS NOT NULL OFFSET 0
    ) f
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
CROSS JOIN LATERAL (SELECT * FROM rm_traceability.fact WHERE fact.k = up.k OFFSET 0) f
CROSS JOIN LATERAL (
    SELECT * FROM rm_traceability.scan WHERE scan.position = f.position OFFSET 0
) s

-- name: lot_facts
SELECT * FROM rm_traceability.scan WHERE step >= 110 AND lot_id = ANY(%s) AND lot_id <> ''

-- name: code_texts
SELECT code FROM rm_traceability.code_text WHERE k = ANY(%s)

-- name: excursions
-- Those on record that concern these places, devices and units, each as last told.
SELECT DISTINCT ON (key) device_id, start_ms, end_ms, limit_c, peak_c, unit_id, site_id, position
FROM rm_traceability.excursion
WHERE site_id = ANY(%(sites)s) OR device_id = ANY(%(units)s) OR unit_id = ANY(%(units)s)
ORDER BY key, position DESC

-- name: at_site
-- Smallest packs whose own facts or whose packs' facts place them at a site now.
WITH RECURSIVE inside (k) AS (
    SELECT k FROM rm_traceability.node WHERE parent IS NULL AND site_id = %s
    UNION
    SELECT n.k FROM inside i JOIN rm_traceability.node n ON n.parent = i.k
)
SELECT k FROM inside JOIN rm_traceability.node USING (k)
WHERE NOT EXISTS (SELECT FROM rm_traceability.contain c WHERE c.parent = k) AND level = 1
ORDER BY k
