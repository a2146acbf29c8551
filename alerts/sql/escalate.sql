-- name: try_lead
-- One alert process of all that share a database ticks (the number is arbitrary, fixed); the lock
-- goes with its session.
SELECT pg_try_advisory_lock(7203402)

-- name: unseen
-- Whether alert events stand in the ledger that the inbox does not show yet.
SELECT EXISTS (
    SELECT FROM ledger_events WHERE topic = ANY (%s) AND notification_id > coalesce(
        (SELECT notification_id FROM follower_tracking WHERE application_name = %s), 0))
