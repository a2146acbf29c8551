-- name: recalled_lots
-- Lots of which a recall was told and not withdrawn, with the newest position of what binds them.
SELECT lot_id, max(position) FROM rm_traceability.scan
WHERE step >= 110 AND lot_id <> '' AND withdrawn_position IS NULL
GROUP BY lot_id HAVING bool_or(step = 110 AND said LIKE '%"recall":true%')
