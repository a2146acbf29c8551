-- name: names
-- What the public may know of a lot. A lot that nobody released is not vouched for.
SELECT p.name, p.name_en, p.holder, l.lot_number, l.expires_on
FROM rm_traceability.lot l JOIN rm_traceability.product p USING (product_id)
WHERE l.lot_id = %(lot)s
