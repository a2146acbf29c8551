-- name: recalled_lots
-- Lots of which a recall was told and not withdrawn, and lots of which single codes are recalled, or
-- packs with some inside, with the newest position of what binds them.
WITH RECURSIVE bound (k, position) AS (
    SELECT n.k, f.position FROM rm_traceability.node n
    JOIN rm_traceability.fact f ON f.k = n.k AND f.step = 110
    WHERE n.recalled
    UNION
    SELECT n.k, b.position FROM bound b JOIN rm_traceability.node n ON n.parent = b.k
)
SELECT lot_id, max(position) FROM (
    SELECT lot_id, position, step = 110 AND said LIKE '%"recall":true%' AS recall
    FROM rm_traceability.scan
    WHERE step >= 110 AND lot_id <> '' AND withdrawn_position IS NULL
    UNION ALL
    SELECT n.lot_id, b.position, true FROM bound b JOIN rm_traceability.node n USING (k)
    WHERE n.lot_id <> ''
) told
GROUP BY lot_id HAVING bool_or(recall)
