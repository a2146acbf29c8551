-- name: head
-- How far movements of goods are told. Asked before `out`: what comes meanwhile is found again.
SELECT coalesce(max(position), -1) FROM rm_traceability.movement

-- name: out
-- Shipments on bills, told after a position, or these alone, of which nothing is known to have
-- arrived and that are not on record as overdue: (region of their site, scan.*).
SELECT coalesce((SELECT region_code FROM rm_traceability.place p WHERE p.site_id = s.site_id
                 ORDER BY p.position DESC LIMIT 1), ''), s.*
FROM rm_traceability.movement m JOIN rm_traceability.scan s USING (position)
WHERE m.step IN (30, 35) AND m.bill_no <> '' AND m.position > %(after)s
  AND (%(fact_ids)s::text[] IS NULL OR s.fact_id = ANY(%(fact_ids)s))
  AND s.withdrawn_position IS NULL
  AND NOT EXISTS (SELECT FROM rm_traceability.overdue o WHERE o.fact_id = s.fact_id)
  AND NOT EXISTS (
      SELECT FROM rm_traceability.movement r JOIN rm_traceability.scan a USING (position)
      WHERE r.bill_no = m.bill_no AND r.step = 40 AND a.withdrawn_position IS NULL
        AND a.site_id = s.to_site_id
        AND coalesce(a.said::json ->> 'from_site_id', s.site_id) = s.site_id)
ORDER BY m.position

-- name: declared
-- Up to where facts were declared wrong, and whether a receipt was among them after a position.
SELECT coalesce(max(d.position), %(after)s), coalesce(bool_or(s.step = 40), false)
FROM rm_traceability.declared d JOIN rm_traceability.scan s USING (fact_id)
WHERE d.position > %(after)s
