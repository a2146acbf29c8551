-- name: put_person
INSERT INTO person (person_id, name, locale, region_code, key_id)
VALUES (%(person_id)s, %(name)s, %(locale)s, %(region_code)s, nullif(%(key_id)s, ''))
ON CONFLICT (person_id) DO UPDATE SET name = excluded.name, locale = excluded.locale,
    key_id = excluded.key_id

-- name: person
SELECT person_id, name, locale, region_code, coalesce(key_id, '') AS key_id
FROM person WHERE person_id = %s

-- name: people
-- A page of persons by id.
SELECT person_id, name, locale, region_code, coalesce(key_id, '') AS key_id FROM person
WHERE region_code LIKE %(region)s || '%%' AND person_id > %(after)s COLLATE "C"
ORDER BY person_id COLLATE "C" LIMIT %(limit)s

-- name: contacts
SELECT recipient_id, channel, address, rank, failed_at FROM recipient
WHERE person_id = %s AND active ORDER BY rank, recipient_id

-- name: person_of_key
SELECT person_id FROM person WHERE key_id = %s

-- name: names_of_keys
SELECT key_id, name FROM person WHERE key_id = ANY (%s)

-- name: delete_person
DELETE FROM person WHERE person_id = %s

-- name: duties_left
-- Duties not over of which somebody is the holder or the deputy.
SELECT duty_id FROM duty
WHERE %(person_id)s IN (person_id, deputy_id) AND (ends_at IS NULL OR ends_at > %(now)s)
ORDER BY duty_id LIMIT 1

-- name: put_duty
INSERT INTO duty VALUES (%(duty_id)s, %(person_id)s, nullif(%(deputy_id)s, ''), %(region_code)s,
    %(site_id)s, %(level)s, %(severity_min)s, %(begins_at)s, %(ends_at)s)

-- name: end_duty
UPDATE duty SET ends_at = greatest(%(ended_at)s, begins_at) WHERE duty_id = %(duty_id)s

-- name: duty
SELECT duty_id, person_id, coalesce(deputy_id, '') AS deputy_id, region_code, site_id, level,
    severity_min, begins_at, ends_at
FROM duty WHERE duty_id = %s

-- name: duties
-- A page of duties by id; with `at`, those of that moment, else those that are not over.
SELECT duty_id, person_id, coalesce(deputy_id, '') AS deputy_id, region_code, site_id, level,
    severity_min, begins_at, ends_at
FROM duty
WHERE region_code LIKE %(region)s || '%%' AND duty_id > %(after)s COLLATE "C"
    AND (%(site_id)s = '' OR site_id = %(site_id)s)
    AND (%(person_id)s = '' OR %(person_id)s IN (person_id, deputy_id))
    AND (ends_at IS NULL OR ends_at > coalesce(%(at)s, %(now)s))
    AND (%(at)s::timestamptz IS NULL OR begins_at <= %(at)s)
ORDER BY duty_id COLLATE "C" LIMIT %(limit)s

-- name: put_leave
INSERT INTO person_leave VALUES (%(leave_id)s, %(person_id)s, %(begins_at)s, %(ends_at)s)

-- name: end_leave
UPDATE person_leave SET ends_at = greatest(%(ended_at)s, begins_at) WHERE leave_id = %(leave_id)s

-- name: leave
SELECT leave_id, person_id, begins_at, ends_at FROM person_leave WHERE leave_id = %s

-- name: leaves
-- A page of leave that is not over, by id.
SELECT l.leave_id, l.person_id, l.begins_at, l.ends_at
FROM person_leave l JOIN person p USING (person_id)
WHERE p.region_code LIKE %(region)s || '%%' AND l.ends_at > %(now)s
    AND l.leave_id > %(after)s COLLATE "C"
ORDER BY l.leave_id COLLATE "C" LIMIT %(limit)s

-- name: chain
-- Who is told of a place at a moment, by the level from which on they are.
SELECT d.level, d.severity_min, d.duty_id, d.person_id, p.name, d.holder_id, d.region_code,
    d.site_id, d.ends_at, (SELECT coalesce(array_agg(r.channel ORDER BY r.rank, r.recipient_id), '{}')
        FROM recipient r WHERE r.person_id = d.person_id AND r.active) AS channels
FROM on_duty(%(at)s) d JOIN person p USING (person_id)
WHERE d.region_code = ANY (regions_over(%(region_code)s)) AND d.site_id IN ('', %(site_id)s)
ORDER BY d.level, d.duty_id

-- name: told_at
-- The ids of those who are told of an alert of a place from a level on, at a moment.
SELECT DISTINCT d.person_id FROM on_duty(%(at)s) d
WHERE d.region_code = ANY (regions_over(%(region_code)s)) AND d.site_id IN ('', %(site_id)s)
    AND d.level <= %(level)s
    AND array_position(%(severities)s::text[], d.severity_min)
        <= array_position(%(severities)s::text[], %(severity)s)
ORDER BY d.person_id

-- name: evidence
-- What became of telling each person of an alert: the first time of each step, and its channel.
SELECT d.person_id, coalesce(p.name, '') AS name, min(d.level) AS level,
    min(d.created_at) AS queued_at,
    min(d.sent_at) AS accepted_at,
    coalesce((array_agg(d.channel ORDER BY d.sent_at) FILTER (WHERE d.sent_at IS NOT NULL))[1], '')
        AS accepted_by,
    min(e.delivered_at) AS delivered_at,
    coalesce((array_agg(d.channel ORDER BY e.delivered_at)
        FILTER (WHERE e.delivered_at IS NOT NULL))[1], '') AS delivered_by,
    min(e.read_at) AS read_at,
    coalesce(array_agg(DISTINCT d.channel) FILTER (
        WHERE d.state = 'failed' OR d.evidence ? 'undelivered'), '{}') AS failed_by
FROM delivery d
LEFT JOIN person p USING (person_id)
CROSS JOIN LATERAL (SELECT (d.evidence ->> 'delivered_at')::timestamptz AS delivered_at,
    (d.evidence ->> 'read_at')::timestamptz AS read_at) e
WHERE d.alert_id = %s AND d.person_id IS NOT NULL
GROUP BY d.person_id, p.name ORDER BY min(d.created_at), d.person_id

-- name: record_read
-- Somebody looked at what they were told of.
UPDATE delivery SET evidence = evidence || jsonb_build_object('read_at', %(at)s::text)
WHERE alert_id = %(alert_id)s AND state = 'sent' AND NOT evidence ? 'read_at'
    AND person_id = (SELECT person_id FROM person WHERE key_id = %(key_id)s)

-- name: lock_floor
-- Changes that may leave too few people come one after the other (the number is arbitrary, fixed).
SELECT pg_advisory_xact_lock(7203438)

-- name: sites_of
-- Sites with equipment whose alerts somebody is told of at once, or will be.
SELECT DISTINCT s.id FROM duty d
JOIN rm_shared_org_tree.node s ON s.kind = 'site' AND d.site_id IN ('', s.id)
    AND d.region_code = ANY (regions_over(s.region_code))
WHERE (d.person_id = ANY (%(people)s) OR d.deputy_id = ANY (%(people)s)) AND d.level = 0
    AND (d.ends_at IS NULL OR d.ends_at > %(now)s)
    AND EXISTS (SELECT FROM rm_shared_org_tree.node u WHERE u.kind = 'unit' AND u.parent_id = s.id)

-- name: floor
-- Of sites with equipment, how many people with a live contact are told at once, whatever the
-- severity: now, and at each moment until `until` at which that may change.
WITH sites AS (
    SELECT s.id AS site_id, s.name, s.region_code FROM rm_shared_org_tree.node s
    WHERE s.kind = 'site' AND s.region_code LIKE %(region)s || '%%'
        AND (%(sites)s::text[] IS NULL OR s.id = ANY (%(sites)s))
        AND s.id IN (SELECT u.parent_id FROM rm_shared_org_tree.node u WHERE u.kind = 'unit')
)
SELECT s.site_id, s.name, s.region_code, m.at, (
    SELECT count(DISTINCT d.person_id) FROM on_duty(m.at) d
    WHERE d.level = 0 AND d.severity_min IN ('info', 'minor')
        AND d.region_code = ANY (regions_over(s.region_code)) AND d.site_id IN ('', s.site_id)
        AND EXISTS (SELECT FROM recipient r
                    WHERE r.person_id = d.person_id AND r.active AND r.failed_at IS NULL)
    ) AS people
FROM sites s CROSS JOIN LATERAL (
    SELECT %(now)s::timestamptz AS at
    UNION
    SELECT c.at FROM duty d CROSS JOIN LATERAL (
        SELECT d.begins_at AS at UNION ALL SELECT d.ends_at
        UNION ALL SELECT unnest(ARRAY[l.begins_at, l.ends_at]) FROM person_leave l
        WHERE l.person_id IN (d.person_id, d.deputy_id)
    ) c
    WHERE d.level = 0 AND d.region_code = ANY (regions_over(s.region_code))
        AND d.site_id IN ('', s.site_id)
        AND c.at > %(now)s AND (%(until)s::timestamptz IS NULL OR c.at <= %(until)s)
) m
ORDER BY s.site_id COLLATE "C", m.at

-- name: anybody
SELECT EXISTS (SELECT FROM person)
