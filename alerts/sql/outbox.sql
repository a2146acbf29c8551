-- name: take_turn
-- Notices become deliveries in order, and nobody else's claims come between `taken` and `claim`: one
-- sender at a time does either, over in a moment (the number is arbitrary, fixed). Its commit need
-- not wait for the disk, the notice is there: what a crash of the server takes back is done again
-- under the same keys.
SELECT pg_advisory_xact_lock(7203401), set_config('synchronous_commit', 'off', true)

-- name: expand_next
-- The oldest notice that nobody has been put down for, as one row for each who is told and by what;
-- how many those are, and whether another notice waits.
-- Systems (webhook) get every event of their region. People get what is fired or escalated to their
-- level; what comes after, they get when they were told of the alert before. What fired long
-- before it was found rouses no people, nor does what is held back (`notice_held`). Persons are told
-- as they are on duty now, or those whom the notice names; by the first of their contacts, of a
-- critical alert by two (`fall_back` for more). People's messages of a site are gathered (`tell_at`).
WITH next AS (
    SELECT o.*, o AS notice, (
        SELECT f.payload ->> 'site_id' FROM outbox f
        WHERE f.alert_id = o.alert_id AND f.payload ? 'site_id' ORDER BY f.id LIMIT 1
    ) AS site_id,
    o.kind IN ('fired', 'escalated', 'aefi_cluster', 'recalled', 'observation_overdue',
        'stock_here', 'exposure_revised', 'understaffed', 'resumed') AS rouses,
    o.kind IN ('fired', 'escalated', 'resumed', 'amended', 'resolved', 'withdrawn', 'closed',
        'acknowledged') AS gathers,
    o.severity = 'critical' AND o.kind IN ('fired', 'escalated', 'resumed', 'amended') AS urgent,
    o.kind = 'fired' AND o.created_at - (o.payload ->> 'fired_at')::timestamptz > %(history_after)s
        AS history
    FROM outbox o WHERE NOT o.expanded ORDER BY o.id LIMIT 1
), taken AS (
    SELECT n.*, n.kind <> 'suppressed' AND n.held_by = '' AS to_people FROM (
        SELECT n.*, CASE WHEN n.rouses AND NOT n.history THEN held_back(n.notice, %(now)s) ELSE '' END
            AS held_by
        FROM next n) n
), people AS (
    SELECT d.person_id FROM taken t JOIN on_duty(%(now)s) d
        ON t.rouses AND NOT t.history AND NOT t.payload ? 'person_ids'
        AND d.region_code = ANY (regions_over(t.region_code)) AND d.site_id IN ('', t.site_id)
        AND d.level <= t.level
        AND array_position(%(severities)s::text[], d.severity_min)
            <= array_position(%(severities)s::text[], t.severity)
    UNION
    SELECT n.person_id FROM taken t
        CROSS JOIN LATERAL jsonb_array_elements_text(t.payload -> 'person_ids') n(person_id)
    UNION
    SELECT d.person_id FROM taken t JOIN delivery d
        ON NOT t.rouses AND d.alert_id = t.alert_id AND d.person_id IS NOT NULL
), audience AS (
    SELECT r.recipient_id, r.channel, r.person_id FROM taken t
    JOIN recipient r ON covers(r, t.region_code, t.site_id, t.severity, %(severities)s::text[])
        AND r.person_id IS NULL AND t.kind <> 'trial_call'
        AND (r.channel = 'webhook' OR t.to_people AND CASE
            WHEN t.history THEN false
            WHEN t.rouses THEN r.level <= t.level
            ELSE EXISTS (SELECT FROM delivery d
                         WHERE d.alert_id = t.alert_id AND d.recipient_id = r.recipient_id) END)
    UNION ALL
    SELECT c.recipient_id, c.channel, c.person_id FROM taken t JOIN (
        SELECT r.recipient_id, r.channel, r.person_id,
            row_number() OVER (PARTITION BY r.person_id ORDER BY r.rank, r.recipient_id) AS turn
        FROM people p JOIN recipient r ON r.person_id = p.person_id AND r.active) c ON t.to_people
    WHERE c.turn <= CASE t.severity WHEN 'critical' THEN 2 ELSE 1 END
), made AS (
    INSERT INTO delivery
        (outbox_id, alert_id, recipient_id, channel, level, key, next_at, created_at, person_id,
        group_site, group_unit)
    SELECT t.id, t.alert_id, a.recipient_id, a.channel, t.level,
        concat_ws(':', t.key, t.level, a.recipient_id, a.channel), coalesce(g.next_at, %(now)s),
        %(now)s, a.person_id, g.site, coalesce(g.unit, '')
    FROM taken t CROSS JOIN audience a LEFT JOIN LATERAL (
        SELECT s.site, s.unit, greatest(quiet_at(t.region_code, s.site, t.severity, %(now)s),
            tell_at(a.recipient_id, s.site, s.unit, t.urgent, %(now)s, %(wait)s, %(pause)s,
                in_storm(a.recipient_id, %(now)s, %(storm_max)s, %(storm_for)s),
                %(storm_pause)s)) AS next_at
        FROM (SELECT t.site_id AS site,
            CASE WHEN t.urgent THEN coalesce(t.payload ->> 'unit_id', '') ELSE '' END AS unit) s
    ) g ON t.gathers AND t.site_id <> '' AND a.channel NOT IN ('webhook', 'siren')
    ORDER BY a.recipient_id
    ON CONFLICT (key) DO NOTHING
    RETURNING id
), kept AS (
    INSERT INTO notice_held SELECT t.id, t.alert_id, %(now)s FROM taken t WHERE t.held_by <> ''
    ON CONFLICT DO NOTHING
)
UPDATE outbox SET expanded = true FROM taken WHERE outbox.id = taken.id
RETURNING (SELECT count(*) FROM made) AS made,
    EXISTS (SELECT FROM outbox o WHERE NOT o.expanded AND o.id > outbox.id) AS waits

-- name: fall_back
-- The next contact of each person of whom none has accepted a notice: when those tried have failed,
-- or so long after the last of them was to be sent. How many.
WITH told AS (
    SELECT d.outbox_id, d.person_id, max(d.level) AS level, max(d.alert_id::text)::uuid AS alert_id,
        array_agg(d.recipient_id) AS tried, max(d.group_site) AS group_site,
        bool_or(d.state = 'sent' AND NOT d.evidence ? 'undelivered') AS accepted,
        bool_and(d.state = 'failed' OR d.evidence ? 'undelivered') AS failed,
        max(CASE WHEN d.last_error = '' THEN greatest(d.created_at, d.next_at)
            ELSE d.created_at END) AS last_at
    FROM delivery d
    WHERE d.person_id IS NOT NULL AND d.created_at > %(now)s - %(within)s::interval
    GROUP BY d.outbox_id, d.person_id
), next AS (
    SELECT DISTINCT ON (t.outbox_id, t.person_id) t.*, r.recipient_id, r.channel
    FROM told t JOIN recipient r ON r.person_id = t.person_id AND r.active
        AND r.recipient_id <> ALL (t.tried)
    WHERE NOT t.accepted AND (t.failed OR t.last_at <= %(now)s - %(silence)s::interval)
    ORDER BY t.outbox_id, t.person_id, r.rank, r.recipient_id
), made AS (
    INSERT INTO delivery
        (outbox_id, alert_id, recipient_id, channel, level, key, next_at, created_at, person_id,
        group_site)
    SELECT n.outbox_id, n.alert_id, n.recipient_id, n.channel, n.level,
        concat_ws(':', o.key, n.level, n.recipient_id, n.channel), %(now)s, %(now)s, n.person_id,
        n.group_site
    FROM next n JOIN outbox o ON o.id = n.outbox_id
    ON CONFLICT (key) DO NOTHING
    RETURNING id
)
SELECT count(*) FROM made

-- name: supersede
-- What was tried in vain for a person whom another contact has reached meanwhile: hours later it
-- would be told as news.
UPDATE delivery d SET state = 'failed', last_error = 'reached by another contact'
WHERE d.state = 'queued' AND d.attempts > 0 AND d.person_id IS NOT NULL
    AND d.created_at > %(now)s - %(within)s::interval
    AND EXISTS (
        SELECT FROM delivery s WHERE s.outbox_id = d.outbox_id AND s.person_id = d.person_id
            AND s.alert_id = d.alert_id AND s.state = 'sent' AND NOT s.evidence ? 'undelivered')

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
JOIN recipient r ON r.channel = 'webhook' AND r.person_id IS NULL
    AND covers(r, o.region_code, o.payload ->> 'site_id', o.severity, %(severities)s::text[])
WHERE o.id = ANY(%(notices)s::bigint[]) AND o.kind = 'fired' AND NOT o.expanded
ORDER BY o.id, r.recipient_id

-- name: any_due
-- Whether `claim` may find something; what is being sent counts as well, its sender may have died.
SELECT EXISTS (SELECT FROM delivery d
               WHERE (d.state = 'sending' OR (d.state = 'queued' AND d.next_at <= %s))
                   AND (d.lead_id IS NULL OR NOT EXISTS (
                       SELECT FROM delivery l
                       WHERE l.id = d.lead_id AND l.state IN ('queued', 'sending'))))

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
-- What waits for the same recipient, of the same site or, in a storm, of any, is told along (`also`)
-- from its first attempt on, whenever it is due; a message that is repeated tells the same.
WITH next AS (
    SELECT d.id, r.address, r.secret, p.place, d.recipient_id, d.group_site,
        d.group_site IS NOT NULL AND d.attempts = 0 AS gathers,
        coalesce((SELECT n.locale FROM person n WHERE n.person_id = d.person_id), '') AS locale
    FROM delivery d
    LEFT JOIN recipient r ON r.recipient_id = d.recipient_id AND r.active
    CROSS JOIN LATERAL (SELECT CASE WHEN d.channel IN ('webhook', 'push')
        THEN lower(split_part(coalesce(r.address, ''), '/', 3))
        ELSE d.channel END AS place) p
    WHERE (d.state = 'sending' OR (d.state = 'queued' AND d.next_at <= %(now)s))
        AND hashtext(d.recipient_id)::oid
            <> ALL ((SELECT current_setting('vaxtrail.recipients'))::oid[])
        AND hashtext(p.place)::oid <> ALL ((SELECT current_setting('vaxtrail.places'))::oid[])
        AND NOT EXISTS (
            SELECT FROM delivery e
            WHERE e.alert_id = d.alert_id AND e.recipient_id = d.recipient_id AND e.id < d.id
                AND e.state IN ('queued', 'sending') OFFSET 0)
        AND (d.lead_id IS NULL OR NOT EXISTS (
            SELECT FROM delivery l
            WHERE l.id = d.lead_id AND l.state IN ('queued', 'sending') OFFSET 0))
    ORDER BY d.next_at LIMIT 1
), waiting AS (
    SELECT m.id, m.alert_id FROM next n JOIN delivery m ON m.recipient_id = n.recipient_id
        AND m.group_site IS NOT NULL AND m.state = 'queued' AND m.attempts = 0 AND m.id <> n.id
    WHERE n.gathers AND (m.group_site = n.group_site
        OR in_storm(n.recipient_id, %(now)s, %(storm_max)s, %(storm_for)s))
), joined AS (
    UPDATE delivery m SET lead_id = next.id, attempts = 1 FROM next, waiting w
    WHERE m.id = w.id AND NOT EXISTS (
        SELECT FROM delivery e
        WHERE e.alert_id = m.alert_id AND e.recipient_id = m.recipient_id AND e.id < m.id
            AND e.state IN ('queued', 'sending') AND e.id <> next.id
            AND e.id NOT IN (SELECT id FROM waiting))
    RETURNING m.outbox_id
), claimed AS (
    UPDATE delivery d SET state = 'sending', attempts = attempts + 1, lead_id = NULL FROM next
    WHERE d.id = next.id
    RETURNING d.*, next.address, next.secret, next.place, next.locale
), kept AS MATERIALIZED (
    SELECT pg_advisory_lock(7203404, hashtext(recipient_id)),
        pg_advisory_lock_shared(7203405, hashtext(place))
    FROM claimed
)
SELECT c.id AS delivery_id, c.key, c.attempts, c.channel, c.address, c.secret,
    o.key AS notice, o.alert_id::text AS alert_id, o.kind, o.level, o.severity,
    o.created_at,
    (SELECT jsonb_agg(p.payload ORDER BY p.id) FROM outbox p
     WHERE p.alert_id = o.alert_id AND p.id <= o.id) AS payloads, c.locale,
    array(SELECT outbox_id FROM joined
          UNION SELECT m.outbox_id FROM delivery m WHERE m.lead_id = c.id ORDER BY 1) AS also
FROM claimed c JOIN outbox o ON o.id = c.outbox_id, kept

-- name: gathered
-- Notices that are told along, as `claim` gives one; `names`: as `names` gives them.
SELECT o.alert_id::text AS alert_id, o.kind, o.level, o.severity, o.created_at,
    (SELECT jsonb_agg(p.payload ORDER BY p.id) FROM outbox p
     WHERE p.alert_id = o.alert_id AND p.id <= o.id) AS payloads
FROM outbox o WHERE o.id = ANY (%s) ORDER BY o.id

-- name: let_go
SELECT pg_advisory_unlock_all()

-- name: names
SELECT kind, name, name_en FROM rm_shared_org_tree.node
WHERE (kind, id) IN (('site', %s), ('unit', %s))

-- name: record_sent
-- With it what was told along. A person's contact that had failed works again.
WITH sent AS (
    UPDATE delivery SET state = 'sent', sent_at = %(now)s, last_error = '', evidence = %(evidence)s
    WHERE id = %(id)s OR lead_id = %(id)s
    RETURNING recipient_id, person_id
)
UPDATE recipient r SET failed_at = NULL FROM sent s
WHERE s.person_id IS NOT NULL AND r.recipient_id = s.recipient_id AND r.failed_at IS NOT NULL

-- name: record_retry
UPDATE delivery SET state = 'queued', next_at = %(next_at)s, last_error = %(error)s
WHERE id = %(id)s OR lead_id = %(id)s

-- name: record_later
UPDATE delivery SET state = 'queued', next_at = %(next_at)s, last_error = %(error)s,
    attempts = attempts - 1
WHERE id = %(id)s OR lead_id = %(id)s

-- name: record_failed
-- A person's contact does not work: until something reaches it again.
WITH failed AS (
    UPDATE delivery SET state = 'failed', last_error = %(error)s
    WHERE id = %(delivery_id)s OR lead_id = %(delivery_id)s
    RETURNING recipient_id, person_id
)
UPDATE recipient r SET failed_at = coalesce(r.failed_at, %(now)s) FROM failed f
WHERE f.person_id IS NOT NULL AND r.recipient_id = f.recipient_id
