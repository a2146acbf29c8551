-- name: add
INSERT INTO epcis_subscription
    (subscription_id, query_name, query, extensions, key_id, region_code, dest, secret, epc_format,
     schedule, report_if_empty, initial_record_time, created_at, position, ordinal, due_at,
     executed_at)
VALUES (%(subscription_id)s, %(query_name)s, %(query)s, %(extensions)s, %(key_id)s,
    %(region_code)s, %(dest)s, %(secret)s, %(epc_format)s, %(schedule)s, %(report_if_empty)s,
    %(initial_record_time)s, %(created_at)s, %(position)s, %(ordinal)s, %(due_at)s, %(executed_at)s)

-- name: of_query
-- A page of the subscriptions to a query in a region, oldest first.
SELECT * FROM epcis_subscription
WHERE query_name = %(query_name)s AND region_code LIKE %(region)s || '%%'
    AND (created_at, subscription_id) > (%(created_at)s, %(subscription_id)s)
ORDER BY created_at, subscription_id LIMIT %(limit)s

-- name: one
SELECT * FROM epcis_subscription WHERE query_name = %s AND subscription_id = %s

-- name: remove
DELETE FROM epcis_subscription WHERE query_name = %s AND subscription_id = %s

-- name: remove_of_query
DELETE FROM epcis_subscription WHERE query_name = %s

-- name: count_beyond
SELECT count(*) FROM epcis_subscription
WHERE query_name = %s AND region_code NOT LIKE %s || '%%'

-- name: followed
-- Up to which position of the ledger the read model of events has come.
SELECT coalesce(max(notification_id), 0) FROM follower_tracking
WHERE application_name = 'ledger.epcis'

-- name: due
-- Subscriptions to look after, longest due first: of keys in force, and streams only when there is
-- something new.
SELECT s.subscription_id FROM epcis_subscription s
JOIN rm_accounts.api_key k ON k.key_id = s.key_id AND NOT k.revoked
WHERE s.due_at <= %(now)s AND (s.schedule IS NOT NULL OR s.position < %(followed)s)
ORDER BY s.due_at LIMIT %(limit)s

-- name: try_lock
-- One sender at a time looks after a subscription (the number is arbitrary, fixed); the lock goes
-- with its session.
SELECT pg_try_advisory_lock(7203406, hashtext(%s))

-- name: unlock
SELECT pg_advisory_unlock(7203406, hashtext(%s))

-- name: locked
SELECT * FROM epcis_subscription WHERE subscription_id = %s AND due_at <= %s

-- name: begin
-- Every attempt from now on sends exactly this.
UPDATE epcis_subscription SET sending_position = %(position)s, sending_ordinal = %(ordinal)s
WHERE subscription_id = %(subscription_id)s

-- name: passed
-- Nothing up to here is left to be told.
UPDATE epcis_subscription SET position = %(position)s, ordinal = %(ordinal)s,
    sending_position = NULL, sending_ordinal = NULL, attempts = 0, last_error = '',
    due_at = %(due_at)s, executed_at = %(now)s, notified_at = coalesce(%(notified_at)s, notified_at)
WHERE subscription_id = %(subscription_id)s

-- name: failed
UPDATE epcis_subscription SET attempts = attempts + 1, due_at = %(due_at)s,
    last_error = %(error)s
WHERE subscription_id = %(subscription_id)s

-- name: smaller
-- Fewer events in one report: the receiver said that this was too much.
UPDATE epcis_subscription SET batch_max = greatest(1, %(count)s / 2), sending_position = NULL,
    sending_ordinal = NULL
WHERE subscription_id = %(subscription_id)s
