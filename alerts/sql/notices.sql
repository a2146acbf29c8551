-- name: insert_outbox
-- The senders are woken, and told its number, when the transaction commits. A known key changes
-- nothing.
WITH told AS (
    INSERT INTO outbox (key, alert_id, kind, level, severity, region_code, payload, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (key) DO NOTHING
    RETURNING id
)
SELECT pg_notify('outbox', id::text) FROM told

-- name: told
SELECT key FROM outbox WHERE key = ANY(%s)
