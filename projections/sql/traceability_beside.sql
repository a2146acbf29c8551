-- name: ddl
-- `overdue`: shipments on record as overdue. `recount`: by how many packs more is due of a count
-- (`position`) than the book said when it was told, from the ledger position `since` on.
CREATE TABLE overdue (
    fact_id text COLLATE "C" PRIMARY KEY,
    position int8 NOT NULL,
    bill_no text COLLATE "C" NOT NULL,
    expected_ms int8 NOT NULL
);
CREATE INDEX ON overdue (bill_no);
CREATE TABLE recount (
    position int8 NOT NULL,
    since int8 NOT NULL,
    units int8 NOT NULL,
    PRIMARY KEY (position, since)
);
CREATE INDEX ON scan (site_id, t_ms) WHERE step IN (55, 57, 92, 94)

-- name: put_overdue
INSERT INTO overdue VALUES (%s, %s, %s, %s)

-- name: overdue_of
SELECT bill_no, fact_id, position, expected_ms FROM overdue WHERE bill_no = ANY(%s)

-- name: adjusted
-- By how many smallest packs the books of a lot, or of all lots of a product, were corrected at a
-- site, in one unit of it where that is named.
SELECT coalesce(sum((said::json ->> 'units')::int8), 0)::int8 FROM rm_traceability.scan
WHERE step = 57 AND site_id = %(site)s AND withdrawn_position IS NULL
  AND (lot_id = %(scope)s OR starts_with(lot_id, %(scope)s || '.'))
  AND (%(unit)s = '' OR coalesce(said::json ->> 'unit_id', '') = %(unit)s)

-- name: any_stocktaking
SELECT EXISTS (SELECT FROM scan WHERE step IN (55, 57))

-- name: stocktakings
-- The sites and products that counts by number and adjustments are about, at these sites or any.
SELECT DISTINCT site_id, split_part(
    coalesce(nullif(lot_id, ''), (said::json ->> 'details')::json ->> 'product_id', ''), '.', 1)
FROM scan
WHERE (step = 57 OR (step = 55 AND strpos(said, 'quantities') > 0))
  AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))

-- name: stocktakings_at
-- The same of facts at these positions.
SELECT DISTINCT site_id, split_part(
    coalesce(nullif(lot_id, ''), (said::json ->> 'details')::json ->> 'product_id', ''), '.', 1)
FROM scan
WHERE (step = 57 OR (step = 55 AND strpos(said, 'quantities') > 0)) AND position = ANY(%(positions)s)

-- name: missed_and_found
-- Sites where facts at these positions tell of codes missed and found, or others of these codes.
SELECT site_id FROM scan WHERE step IN (92, 94) AND position = ANY(%(positions)s)
UNION
SELECT site_id FROM fact WHERE step IN (92, 94) AND k = ANY(%(codes)s)

-- name: stocktaking
-- What sites tell of numbers of products, and of codes missed and found, as it happened: the
-- product, these codes, then the fact.
SELECT product_id, ARRAY(SELECT f.k FROM fact f WHERE f.position = s.position), s.*
FROM scan s CROSS JOIN LATERAL (SELECT split_part(
    coalesce(nullif(lot_id, ''), (said::json ->> 'details')::json ->> 'product_id', ''), '.', 1
) AS product_id) p
WHERE site_id = ANY(%(sites)s)
  AND (step IN (92, 94) OR (product_id = ANY(%(products)s)
      AND (step = 57 OR (step = 55 AND strpos(said, 'quantities') > 0))))
ORDER BY t_ms, step, fact_id COLLATE "C"

-- name: recounted
-- Counts whose numbers due were read off the book, told from a position on, or of whose time more is
-- told at their place since then, or taken back; each with the position that tells it.
SELECT position, position FROM scan
WHERE position >= %(first)s AND step = 55 AND strpos(said, 'book_position') > 0
UNION
SELECT c.position, t.position FROM scan t CROSS JOIN LATERAL (
    SELECT position FROM scan
    WHERE site_id = t.site_id AND step = 55 AND t_ms >= t.t_ms AND position < t.position
      AND strpos(said, 'book_position') > 0
    OFFSET 0
) c
WHERE t.position >= %(first)s AND t.step < 105
UNION
-- (Of a later time the book knew only what was told meanwhile: a day is long for that. What was
-- declared wrong before it was told never counts.)
SELECT c.position, t.withdrawn_position FROM scan t CROSS JOIN LATERAL (
    SELECT position FROM scan
    WHERE site_id = t.site_id AND step = 55 AND t_ms >= t.t_ms - 86400000
      AND position < t.withdrawn_position AND strpos(said, 'book_position') > 0
    OFFSET 0
) c
WHERE t.position = ANY(%(gone)s) AND t.step < 105 AND t.withdrawn_position > t.position

-- name: put_recount
INSERT INTO recount VALUES (%s, %s, %s)

-- name: scans_at
SELECT * FROM scan WHERE position = ANY(%s)

-- name: recounted_by
SELECT DISTINCT ON (position) position, units FROM recount WHERE position = ANY(%s)
ORDER BY position, since DESC

-- name: recounts
SELECT r.position, r.since, r.units, coalesce(s.recorded_ms, d.recorded_ms)
FROM scan c JOIN recount r USING (position)
LEFT JOIN scan s ON s.position = r.since LEFT JOIN declared d ON d.position = r.since
WHERE c.site_id = ANY(%(sites)s) AND c.step = 55 ORDER BY r.position, r.since

-- name: adjustments
SELECT * FROM scan WHERE step = 57 AND site_id = ANY(%s)

-- name: taken_back
-- What was declared wrong at sites: (site, code, position, position of the declaration).
SELECT s.site_id, f.k, s.position, s.withdrawn_position FROM declared d
JOIN scan s ON s.fact_id = d.fact_id AND s.withdrawn_position IS NOT NULL
JOIN fact f ON f.position = s.position
WHERE s.site_id = ANY(%s)

-- name: late_of_count
-- Codes of a lot or product, and those of no lot known, with facts at the place of a count of its
-- time that the book did not know, or of a later time that it knew; with the position of each.
WITH lots AS (
    SELECT %(scope)s AS lot_id
    UNION SELECT ''
    UNION SELECT lot_id FROM hop WHERE site_id = %(site)s AND starts_with(lot_id, %(scope)s || '.')
)
SELECT f.k, f.position FROM lots CROSS JOIN unnest(%(steps)s::int2[]) AS w (step)
JOIN fact f ON f.lot_id = lots.lot_id AND f.step = w.step AND f.site_id = %(site)s
    AND f.t_ms <= %(t_ms)s AND f.position > %(book)s
UNION
SELECT f.k, 0 FROM lots CROSS JOIN unnest(%(steps)s::int2[]) AS w (step)
JOIN fact f ON f.lot_id = lots.lot_id AND f.step = w.step AND f.site_id = %(site)s
    AND f.t_ms >= %(t_ms)s AND f.position <= %(book)s

-- name: doses_known
SELECT doses_per_vial, position FROM product WHERE product_id = %s
