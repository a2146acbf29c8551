-- name: followed
-- How far a read model has come; asked before its tables are read.
SELECT coalesce(max(notification_id), 0) FROM follower_tracking WHERE application_name = %s

-- name: tail
-- Events of the ledger after that which name one of these texts (codes, lots, units), and
-- everything that was declared wrong where that is asked for.
SELECT notification_id, originator_id, originator_version, topic, state FROM ledger_events
WHERE notification_id > %(after)s AND topic = ANY(%(topics)s)
    AND (topic = %(withdrawn)s OR EXISTS (
        SELECT FROM unnest(%(named)s::bytea[]) AS n (name) WHERE position(n.name IN state) > 0))
ORDER BY notification_id
