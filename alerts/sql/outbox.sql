-- name: take_turn
-- Notices become deliveries in order: one sender at a time does it (the number is arbitrary, fixed).
SELECT pg_advisory_xact_lock(7203401)

-- name: expand_next
-- The oldest notice that nobody has been put down for, as one row for each recipient.
-- Systems (webhook) get every event of their region. People get what is fired or escalated to their
-- level; what comes after, they get when they were told of the alert before. What fired long
-- before it was found rouses no people.
WITH taken AS (
    SELECT o.*, (
        SELECT f.payload ->> 'site_id' FROM outbox f
        WHERE f.alert_id = o.alert_id AND f.payload ? 'site_id' ORDER BY f.id LIMIT 1
    ) AS site_id
    FROM outbox o WHERE NOT o.expanded ORDER BY o.id LIMIT 1
), made AS (
    INSERT INTO delivery
        (outbox_id, alert_id, recipient_id, channel, level, key, next_at, created_at)
    SELECT t.id, t.alert_id, r.recipient_id, r.channel, t.level,
        concat_ws(':', t.key, t.level, r.recipient_id, r.channel), %(now)s, %(now)s
    FROM taken t JOIN recipient r ON r.active
        AND starts_with(t.region_code, CASE
            WHEN r.region_code = '000000' THEN ''
            WHEN r.region_code LIKE '%%0000' THEN left(r.region_code, 2)
            WHEN r.region_code LIKE '%%00' THEN left(r.region_code, 4)
            ELSE r.region_code END)
        AND r.site_id IN ('', t.site_id)
        AND array_position(%(severities)s::text[], r.severity_min)
            <= array_position(%(severities)s::text[], t.severity)
        AND (r.channel = 'webhook' OR CASE
            WHEN t.kind = 'fired'
                AND t.created_at - (t.payload ->> 'fired_at')::timestamptz > %(history_after)s
                THEN false
            WHEN t.kind IN ('fired', 'escalated') THEN r.level <= t.level
            ELSE EXISTS (SELECT FROM delivery d
                         WHERE d.alert_id = t.alert_id AND d.recipient_id = r.recipient_id) END)
    ORDER BY r.recipient_id
    ON CONFLICT (key) DO NOTHING
)
UPDATE outbox SET expanded = true FROM taken WHERE outbox.id = taken.id
RETURNING outbox.id

-- name: claim
-- The next due delivery, or one whose sender died ('sending', yet nobody holds its row). What one
-- recipient gets about one alert goes in order.
UPDATE delivery SET state = 'sending', attempts = attempts + 1
WHERE id = (
    SELECT d.id FROM delivery d
    WHERE (d.state = 'sending' OR (d.state = 'queued' AND d.next_at <= %(now)s))
        AND NOT EXISTS (
            SELECT FROM delivery e
            WHERE e.alert_id = d.alert_id AND e.recipient_id = d.recipient_id AND e.id < d.id
                AND e.state IN ('queued', 'sending'))
    ORDER BY d.next_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
RETURNING id, attempts

-- name: hold
-- The claimed row, held while it is sent: a sender that dies lets go of it.
SELECT d.key, d.attempts, d.channel, r.address, r.secret,
    o.id AS outbox_id, o.key AS notice, o.alert_id::text AS alert_id, o.kind, o.level, o.severity,
    o.created_at
FROM delivery d
JOIN outbox o ON o.id = d.outbox_id
LEFT JOIN recipient r ON r.recipient_id = d.recipient_id AND r.active
WHERE d.id = %s AND d.attempts = %s AND d.state = 'sending'
FOR UPDATE OF d SKIP LOCKED

-- name: payloads
-- All that was told of an alert up to a notice; later fields replace earlier ones.
SELECT payload FROM outbox WHERE alert_id = %s AND id <= %s ORDER BY id

-- name: record_sent
UPDATE delivery SET state = 'sent', sent_at = %s, last_error = '', evidence = %s WHERE id = %s

-- name: record_retry
UPDATE delivery SET state = 'queued', next_at = %s, last_error = %s WHERE id = %s

-- name: record_failed
UPDATE delivery SET state = 'failed', last_error = %s WHERE id = %s
