-- name: sessions
-- Which of our processes have the database open, and whether from the machine that asks.
SELECT application_name, bool_or(client_addr IS NOT DISTINCT FROM inet_client_addr())
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'vaxtrail %'
GROUP BY application_name

-- name: positions
SELECT (SELECT coalesce(max(notification_id), 0) FROM ledger_events),
       (SELECT coalesce(max(notification_id), 0) FROM telemetry_events)

-- name: followers
-- How many ledger events each read model has still to take.
SELECT application_name, notification_id,
       greatest((SELECT coalesce(max(notification_id), 0) FROM ledger_events) - notification_id, 0)
FROM follower_tracking ORDER BY application_name

-- name: ingest_began
-- Whether a session of ingest at the broker may hold messages.
SELECT EXISTS (SELECT FROM telemetry_events)
    OR EXISTS (SELECT FROM ingest_worker WHERE regions IS NOT NULL)

-- name: rollups_behind
-- Messages that the roll-ups have still to take; no row where the server keeps them itself.
SELECT (SELECT coalesce(max(notification_id), 0) FROM telemetry_events) - telemetry_id
FROM rolled_up
WHERE (SELECT relkind FROM pg_class WHERE oid = 'public.rollup_hour'::regclass) = 'r'

-- name: oldest_to_follow
-- When the oldest event was recorded that some read model has not taken yet; none = all up to date.
SELECT recorded_at FROM batches WHERE ledger_id > (
    SELECT coalesce(min(coalesce(t.notification_id, 0)), 0)
    FROM follower f LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || f.name)
ORDER BY ledger_id LIMIT 1

-- name: quarantine_by_state
SELECT state, count(*) FROM quarantine GROUP BY state ORDER BY state

-- name: gaps_by_state
-- Those of which something is missing.
SELECT state, count(*) FROM gap WHERE state <> 'filled' GROUP BY state ORDER BY state

-- name: dead_letters
SELECT count(*) FROM dead_letter

-- name: readings_stored
-- Rows put in since the statistics began: partitions and hypertable chunks alike.
SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_all_tables
WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'reading'::regclass)

-- name: alert_delay
-- Seconds from the notice to its delivery, over the newest deliveries that wait for no others.
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY seconds), count(*)
FROM (
    SELECT extract(epoch FROM delivery.sent_at - delivery.created_at) AS seconds FROM delivery
    WHERE delivery.sent_at IS NOT NULL AND delivery.group_site IS NULL ORDER BY delivery.id DESC LIMIT 1000
) AS newest

-- name: deliveries_by_state
SELECT state, count(*) FROM delivery GROUP BY state

-- name: quarantine_listed
SELECT id, code, topic, detail, received_at, seen, state FROM quarantine
WHERE state = ANY(%(states)s) ORDER BY received_at, id LIMIT %(limit)s

-- name: quarantine_state
SELECT state FROM quarantine WHERE id = %s
