-- name: readings
SELECT count(*) FROM reading

-- name: readings_planned
-- The planner knows the size of each partition as it is now, whenever it was analyzed.
EXPLAIN (FORMAT JSON) SELECT FROM reading

-- name: scans
-- Facts about codes, by the topics of their events; not the holds that follow from alerts.
SELECT count(*) FROM ledger_events WHERE topic = ANY(%s::text[])
  AND NOT (topic = 'traceability.HoldPlaced' AND position('"source":"alerts"'::bytea IN state) > 0)

-- name: scans_planned
EXPLAIN (FORMAT JSON) SELECT FROM ledger_events WHERE topic = ANY(%s::text[])
