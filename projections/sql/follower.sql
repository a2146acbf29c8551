-- name: lock
-- Whoever changes a read model's tables holds this until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))

-- name: lock_shadow
-- One rebuild or check of a read model at a time, for the whole session.
SELECT pg_advisory_lock(hashtextextended(%s || '.shadow', 0))

-- name: unlock_shadow
SELECT pg_advisory_unlock(hashtextextended(%s || '.shadow', 0))

-- name: try_lead
-- The one process that follows; the others wait for it to go.
SELECT pg_try_advisory_lock(hashtextextended('vaxtrail.followers', 0))

-- name: look_at
SELECT set_config('search_path', %s, true)

-- name: known_version
SELECT version FROM follower WHERE name = %s

-- name: keep_version
INSERT INTO follower (name, version, rebuilt_at) VALUES (%s, %s, now())
ON CONFLICT (name) DO UPDATE SET version = excluded.version, rebuilt_at = excluded.rebuilt_at

-- name: forget_progress
DELETE FROM follower_tracking WHERE application_name = %s

-- name: forget_dead_letters
DELETE FROM dead_letter WHERE follower = %s

-- name: take_over_dead_letters
UPDATE dead_letter SET follower = %s WHERE follower = %s

-- name: keep_dead_letter
INSERT INTO dead_letter (follower, position, topic, error, failed_at)
VALUES (%s, %s, %s, %s, now()) ON CONFLICT (follower, position) DO UPDATE SET error = excluded.error

-- name: tables_of
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')
ORDER BY relname

-- name: drop_table
DROP TABLE {schema}.{table} CASCADE

-- name: move_table
ALTER TABLE {shadow}.{table} SET SCHEMA {schema}

-- name: digest
-- Rows as a set: their count and the sum of their hashes, whatever order they lie in.
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {schema}.{table} t

-- name: listing
SELECT f.name, f.version, f.rebuilt_at, coalesce(t.notification_id, 0),
       (SELECT count(*) FROM dead_letter d WHERE d.follower = 'ledger.' || f.name)
FROM follower f LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || f.name
ORDER BY f.name

-- name: page
SELECT notification_id, topic, state FROM public.ledger_events
WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s)
ORDER BY notification_id LIMIT %s
