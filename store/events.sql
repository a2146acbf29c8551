-- name: begin
BEGIN

-- name: commit
COMMIT

-- name: lock_telemetry_events
-- Writers take turns, so that ids become visible in their order (and NOTIFY).
SELECT lock_telemetry_events()

-- name: lock_ledger_events
SELECT lock_ledger_events()

-- name: copy_telemetry_events
COPY telemetry_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)

-- name: copy_ledger_events
COPY ledger_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)

-- name: insert_telemetry_events
-- For few rows: COPY costs a round trip of its own.
INSERT INTO telemetry_events (originator_id, originator_version, topic, state)
SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[])

-- name: insert_ledger_events
INSERT INTO ledger_events (originator_id, originator_version, topic, state)
SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[])

-- name: last_telemetry_events
SELECT currval('telemetry_events_notification_id_seq')

-- name: last_ledger_events
SELECT currval('ledger_events_notification_id_seq')

-- name: record_batch
-- What a transaction reached, under the locks of the logs it appended to: times along a log are in
-- order, whatever the clocks of the writers said.
INSERT INTO batches (batch, telemetry_id, ledger_id, recorded_at)
VALUES (coalesce(%(batch)s, nextval('batch_seq')), %(telemetry_id)s, %(ledger_id)s, greatest(
    %(at)s,
    (SELECT recorded_at FROM batches WHERE telemetry_id IS NOT NULL
     ORDER BY telemetry_id DESC LIMIT 1),
    (SELECT recorded_at FROM batches WHERE ledger_id IS NOT NULL ORDER BY ledger_id DESC LIMIT 1)))

-- name: record_reached
-- The same for what this transaction itself has appended, without asking how far that was.
INSERT INTO batches (batch, telemetry_id, ledger_id, recorded_at)
VALUES (
    %(batch)s,
    CASE WHEN %(telemetry)s THEN currval('telemetry_events_notification_id_seq') END,
    CASE WHEN %(ledger)s THEN currval('ledger_events_notification_id_seq') END,
    greatest(
        %(at)s,
        (SELECT recorded_at FROM batches WHERE telemetry_id IS NOT NULL
         ORDER BY telemetry_id DESC LIMIT 1),
        (SELECT recorded_at FROM batches WHERE ledger_id IS NOT NULL
         ORDER BY ledger_id DESC LIMIT 1)))

-- name: ledger_streams
SELECT originator_id, originator_version, topic, state FROM ledger_events
WHERE originator_id = ANY(%s) ORDER BY originator_id, originator_version

-- name: ledger_together
SELECT originator_id, originator_version, topic, state FROM ledger_events
WHERE originator_id = ANY(%s) ORDER BY notification_id

-- name: position_at_telemetry_events
SELECT telemetry_id AS position FROM batches WHERE telemetry_id IS NOT NULL AND recorded_at < %s
ORDER BY recorded_at DESC, telemetry_id DESC LIMIT 1

-- name: position_at_ledger_events
SELECT ledger_id AS position FROM batches WHERE ledger_id IS NOT NULL AND recorded_at < %s
ORDER BY recorded_at DESC, ledger_id DESC LIMIT 1

-- name: find_idempotency
SELECT request_hash, status, headers, body, position, version
FROM idempotency WHERE principal = %s AND key = %s

-- name: insert_idempotency
INSERT INTO idempotency
  (principal, key, request_hash, status, headers, body, position, version, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
