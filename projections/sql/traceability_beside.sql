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

-- name: stocktaking_beside
-- Counts and adjustments at the sites, and of the products, where facts at these positions tell of
-- numbers, or of codes missed and found.
SELECT DISTINCT c.fact_id FROM scan t
JOIN scan c ON c.site_id = t.site_id AND c.step IN (55, 57) AND (t.lot_id = '' OR c.lot_id = ''
    OR split_part(c.lot_id, '.', 1) = split_part(t.lot_id, '.', 1))
WHERE t.position = ANY(%s) AND t.step IN (55, 57, 92, 94)

-- name: any_stocktaking
SELECT EXISTS (SELECT FROM scan WHERE step IN (55, 57))

-- name: stocktaking_of
-- The same where these codes were missed or found, and more is known of them now.
SELECT DISTINCT c.fact_id FROM fact f JOIN scan t ON t.position = f.position
JOIN scan c ON c.site_id = t.site_id AND c.step IN (55, 57)
WHERE f.k = ANY(%s) AND f.step IN (92, 94)

-- name: stocktaking
-- What sites tell of numbers, and of codes missed and found: these codes, then the fact.
SELECT ARRAY(SELECT f.k FROM fact f WHERE f.position = s.position), s.* FROM scan s
WHERE s.site_id = ANY(%s) AND s.step IN (55, 57, 92, 94)
