-- name: insert_outbox
INSERT INTO outbox (key, alert_id, kind, level, severity, region_code, payload, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO NOTHING

-- name: told
SELECT key FROM outbox WHERE key = ANY(%s)

-- name: notify_outbox
NOTIFY outbox
