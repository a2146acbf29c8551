-- name: ddl
-- `overdue`: shipments on record as overdue.
CREATE TABLE overdue (
    fact_id text COLLATE "C" PRIMARY KEY,
    position int8 NOT NULL,
    bill_no text COLLATE "C" NOT NULL,
    expected_ms int8 NOT NULL
);
CREATE INDEX ON overdue (bill_no);
CREATE INDEX ON scan (site_id) WHERE step IN (55, 57, 92, 94)

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
