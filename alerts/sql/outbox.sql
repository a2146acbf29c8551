-- name: take_turn
-- Notices become deliveries in order, and nobody else's claims come between `taken` and `claim`: one
-- sender at a time does either, over in a moment (the number is arbitrary, fixed). Its commit need
-- not wait for the disk, the notice is there: what a crash of the server takes back is done again
-- under the same keys.
SELECT pg_advisory_xact_lock(7203401), set_config('synchronous_commit', 'off', true)

-- name: expand_next
-- The oldest notice that nobody has been put down for, as one row for each recipient; how many
-- those are, and whether another notice waits.
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
    FROM taken t
    JOIN recipient r ON covers(r, t.region_code, t.site_id, t.severity, %(severities)s::text[])
        AND (r.channel = 'webhook' OR CASE
            WHEN t.kind = 'fired'
                AND t.created_at - (t.payload ->> 'fired_at')::timestamptz > %(history_after)s
                THEN false
            WHEN t.kind IN ('fired', 'escalated', 'aefi_cluster', 'recalled', 'observation_overdue',
                'stock_here', 'exposure_revised')
                THEN r.level <= t.level
            ELSE EXISTS (SELECT FROM delivery d
                         WHERE d.alert_id = t.alert_id AND d.recipient_id = r.recipient_id) END)
    ORDER BY r.recipient_id
    ON CONFLICT (key) DO NOTHING
    RETURNING id
)
UPDATE outbox SET expanded = true FROM taken WHERE outbox.id = taken.id
RETURNING (SELECT count(*) FROM made) AS made,
    EXISTS (SELECT FROM outbox o WHERE NOT o.expanded AND o.id > outbox.id) AS waits

-- name: ahead
-- What alerts that fire will be to systems, as `claim` gives it once somebody is put down for them.
-- `names`: as `names` gives them.
SELECT concat_ws(':', o.key, o.level, r.recipient_id, r.channel) AS key,
    r.channel, r.address, r.secret, 0 AS delivery_id, 0 AS attempts,
    o.key AS notice, o.alert_id::text AS alert_id, o.kind, o.level, o.severity,
    o.created_at, jsonb_build_array(o.payload) AS payloads,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(n.kind, n.name, n.name_en)), '[]')
     FROM rm_shared_org_tree.node n
     WHERE (n.kind, n.id) IN (('site', o.payload ->> 'site_id'), ('unit', o.payload ->> 'unit_id'))
    ) AS names
FROM outbox o
JOIN recipient r ON r.channel = 'webhook'
    AND covers(r, o.region_code, o.payload ->> 'site_id', o.severity, %(severities)s::text[])
WHERE o.id = ANY(%(notices)s::bigint[]) AND o.kind = 'fired' AND NOT o.expanded
ORDER BY o.id, r.recipient_id

-- name: any_due
-- Whether `claim` may find something; what is being sent counts as well, its sender may have died.
SELECT EXISTS (SELECT FROM delivery
               WHERE state = 'sending' OR (state = 'queued' AND next_at <= %s))

-- name: taken
-- Whom somebody is sending to, and the places that enough are sending to (by hash), for `claim` to
-- look up. To be read before it in a statement of its own: what is let go of here is recorded there.
WITH held AS MATERIALIZED (
    SELECT classid, objid, count(*) AS times FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid IN (7203404, 7203405)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY classid, objid
)
SELECT
    set_config('vaxtrail.recipients',
        array(SELECT objid FROM held WHERE classid = 7203404)::text, true),
    set_config('vaxtrail.places', array(
        SELECT objid FROM held WHERE classid = 7203405 AND times >= %(place_max)s)::text, true)

-- name: claim
-- The next due delivery, or one whose sender died ('sending', yet nobody has its recipient), of a
-- recipient and a place that are free; the session that claims keeps both until `let_go`. What one
-- recipient gets about one alert goes in order. By `next_at` alone, and with OFFSET 0 (which keeps
-- the check from becoming a join), so that the index is walked to the first row, however many wait.
-- `payloads`: all that was told of the alert up to this notice; later fields replace earlier ones.
WITH next AS (
    SELECT d.id, r.address, r.secret, p.place
    FROM delivery d
    LEFT JOIN recipient r ON r.recipient_id = d.recipient_id AND r.active
    CROSS JOIN LATERAL (SELECT CASE d.channel
        WHEN 'webhook' THEN lower(split_part(coalesce(r.address, ''), '/', 3))
        ELSE d.channel END AS place) p
    WHERE (d.state = 'sending' OR (d.state = 'queued' AND d.next_at <= %(now)s))
        AND hashtext(d.recipient_id)::oid
            <> ALL ((SELECT current_setting('vaxtrail.recipients'))::oid[])
        AND hashtext(p.place)::oid <> ALL ((SELECT current_setting('vaxtrail.places'))::oid[])
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
    o.key AS notice, o.alert_id::text AS alert_id, o.kind, o.level, o.severity,
    o.created_at,
    (SELECT jsonb_agg(p.payload ORDER BY p.id) FROM outbox p
     WHERE p.alert_id = o.alert_id AND p.id <= o.id) AS payloads
FROM claimed c JOIN outbox o ON o.id = c.outbox_id, kept

-- name: let_go
SELECT pg_advisory_unlock_all()

-- name: names
SELECT kind, name, name_en FROM rm_shared_org_tree.node
WHERE (kind, id) IN (('site', %s), ('unit', %s))

-- name: record_sent
UPDATE delivery SET state = 'sent', sent_at = %s, last_error = '', evidence = %s WHERE id = %s

-- name: record_retry
UPDATE delivery SET state = 'queued', next_at = %s, last_error = %s WHERE id = %s

-- name: record_later
UPDATE delivery SET state = 'queued', attempts = attempts - 1, next_at = %s, last_error = %s
WHERE id = %s

-- name: record_failed
UPDATE delivery SET state = 'failed', last_error = %s WHERE id = %s
