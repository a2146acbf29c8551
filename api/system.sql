-- name: stored
-- Rows of readings, and facts about codes by the topics of their events.
SELECT
    (SELECT count(*) FROM reading),
    (SELECT count(*) FROM ledger_events WHERE topic = ANY(%s::text[]))
