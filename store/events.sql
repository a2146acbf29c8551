-- name: lock_telemetry_events
-- The application role may not LOCK the table: a function of the owner does (and NOTIFYs).
SELECT lock_telemetry_events()

-- name: lock_ledger_events
SELECT lock_ledger_events()

-- name: copy_telemetry_events
COPY telemetry_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)

-- name: copy_ledger_events
COPY ledger_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)

-- name: last_telemetry_events
SELECT currval('telemetry_events_notification_id_seq')

-- name: last_ledger_events
SELECT currval('ledger_events_notification_id_seq')

-- name: before_telemetry_events
-- The newest row at or below a position: the step of the search by time.
SELECT notification_id, originator_id, originator_version, topic, state
FROM telemetry_events WHERE notification_id <= %s ORDER BY notification_id DESC LIMIT 1

-- name: before_ledger_events
SELECT notification_id, originator_id, originator_version, topic, state
FROM ledger_events WHERE notification_id <= %s ORDER BY notification_id DESC LIMIT 1

-- name: find_idempotency
SELECT request_hash, status, headers, body, position, version
FROM idempotency WHERE principal = %s AND key = %s

-- name: insert_idempotency
INSERT INTO idempotency
  (principal, key, request_hash, status, headers, body, position, version, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
