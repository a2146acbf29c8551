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
            WHEN t.kind IN ('fired', 'escalated', 'aefi_cluster', 'recalled', 'observation_overdue')
                THEN r.level <= t.level
            ELSE EXISTS (SELECT FROM delivery d
                         WHERE d.alert_id = t.alert_id AND d.recipient_id = r.recipient_id) END)
    ORDER BY r.recipient_id
    ON CONFLICT (key) DO NOTHING
)
UPDATE outbox SET expanded = true FROM taken WHERE outbox.id = taken.id
RETURNING outbox.id

-- name: any_due
-- Whether `claim` may find something; what is being sent counts as well, its sender may have died.
SELECT EXISTS (SELECT FROM delivery
               WHERE state = 'sending' OR (state = 'queued' AND next_at <= %s))

-- name: take_turn_to_claim
-- One claim at a time, over in a moment: nobody else's claims come between `taken` and `claim`.
SELECT pg_advisory_xact_lock(7203403)

-- name: taken
-- Whom somebody is sending to, and the places that enough are sending to (by hash). To be read
-- before `claim` in a statement of its own: what is let go of here is recorded there.
SELECT
    array(SELECT l.objid FROM pg_locks l JOIN pg_database b ON b.oid = l.database
          WHERE b.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 2
              AND l.classid = 7203404) AS recipients,
    array(SELECT l.objid FROM pg_locks l JOIN pg_database b ON b.oid = l.database
          WHERE b.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 2
              AND l.classid = 7203405
          GROUP BY l.objid HAVING count(*) >= %(place_max)s) AS places

-- name: claim
-- The next due delivery, or one whose sender died ('sending', yet nobody has its recipient), of a
-- recipient and a place that are free; the session that claims keeps both until `let_go`. What one
-- recipient gets about one alert goes in order. By `next_at` alone, and with OFFSET 0 (which keeps
-- the check from becoming a join), so that the index is walked to the first row, however many wait.
WITH next AS (
    SELECT d.id, r.address, r.secret, p.place
    FROM delivery d
    LEFT JOIN recipient r ON r.recipient_id = d.recipient_id AND r.active
    CROSS JOIN LATERAL (SELECT CASE d.channel
        WHEN 'webhook' THEN lower(split_part(coalesce(r.address, ''), '/', 3))
        ELSE d.channel END AS place) p
    WHERE (d.state = 'sending' OR (d.state = 'queued' AND d.next_at <= %(now)s))
        AND hashtext(d.recipient_id)::oid <> ALL (%(recipients)s::oid[])
        AND hashtext(p.place)::oid <> ALL (%(places)s::oid[])
        AND NOT EXISTS (
            SELECT FROM delivery e
            WHERE e.alert_id = d.alert_id AND e.recipient_id = d.recipient_id AND e.id < d.id
                AND e.state IN ('queued', 'sending') OFFSET 0)
    ORDER BY d.next_at LIMIT 1
), claimed AS (
    UPDATE delivery d SET state = 'sending', attempts = attempts + 1 FROM next
    WHERE d.id = next.id
    RETURNING d.*, next.address, next.secret, next.place
), kept AS MATERIALIZED (
    SELECT pg_advisory_lock(7203404, hashtext(recipient_id)),
        pg_advisory_lock_shared(7203405, hashtext(place))
    FROM claimed
)
SELECT c.id AS delivery_id, c.key, c.attempts, c.channel, c.address, c.secret,
    o.id AS outbox_id, o.key AS notice, o.alert_id::text AS alert_id, o.kind, o.level, o.severity,
    o.created_at
FROM claimed c JOIN outbox o ON o.id = c.outbox_id, kept

-- name: let_go
SELECT pg_advisory_unlock_all()

-- name: payloads
-- All that was told of an alert up to a notice; later fields replace earlier ones.
SELECT payload FROM outbox WHERE alert_id = %s AND id <= %s ORDER BY id

-- name: record_sent
UPDATE delivery SET state = 'sent', sent_at = %s, last_error = '', evidence = %s WHERE id = %s

-- name: record_retry
UPDATE delivery SET state = 'queued', next_at = %s, last_error = %s WHERE id = %s

-- name: record_failed
UPDATE delivery SET state = 'failed', last_error = %s WHERE id = %s
