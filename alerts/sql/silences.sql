-- name: lock_silences
-- Silences are put down one after the other (the number is arbitrary, fixed).
SELECT pg_advisory_xact_lock(7203440)

-- name: put_silence
INSERT INTO silence (silence_id, region_code, site_id, unit_id, kinds, begins_at, ends_at,
    daily_from, daily_to, stock_moved, reason, made_by)
VALUES (%(silence_id)s, %(region_code)s, %(site_id)s, %(unit_id)s, %(kinds)s, %(begins_at)s,
    %(ends_at)s, %(daily_from)s, %(daily_to)s, %(stock_moved)s, %(reason)s, %(actor_id)s)

-- name: end_silence
UPDATE silence SET ends_at = greatest(%(ended_at)s, begins_at) WHERE silence_id = %(silence_id)s

-- name: beside
-- When others that have a place in common with one silence all day, around its time: what they
-- silence of it may last no longer in a row.
SELECT s.begins_at, s.ends_at FROM silence s
WHERE s.daily_from IS NULL AND s.ends_at > s.begins_at
    AND s.ends_at > %(begins_at)s - interval '2 days' AND s.begins_at < %(ends_at)s + interval '2 days'
    AND (s.region_code = ANY (regions_over(%(region_code)s))
        OR %(region_code)s = ANY (regions_over(s.region_code)))
    AND (s.site_id = %(site_id)s OR '' IN (s.site_id, %(site_id)s))
    AND (s.unit_id = %(unit_id)s OR '' IN (s.unit_id, %(unit_id)s))
    AND (s.kinds = '{}' OR %(kinds)s::text[] = '{}' OR s.kinds && %(kinds)s::text[])

-- name: silence
SELECT * FROM silence WHERE silence_id = %s

-- name: silences
-- A page of the silences of a region by id: those that are not over, or all.
SELECT * FROM silence
WHERE region_code LIKE %(region)s || '%%' AND (%(all)s OR ends_at > greatest(%(now)s, begins_at))
    AND (%(site_id)s = '' OR site_id = %(site_id)s)
    AND silence_id > %(after)s COLLATE "C"
ORDER BY silence_id COLLATE "C" LIMIT %(limit)s

-- name: to_settle
-- Alerts that are suppressed, will rouse people soon, or of which people were not told something;
-- each with why people are not to be told now, and until when.
WITH alerts AS (
    (SELECT alert_id::uuid FROM rm_alerting.alert
     WHERE silenced_by <> '' AND resolved_at IS NULL AND state <> 'withdrawn'
     ORDER BY alert_id)
    UNION
    (SELECT alert_id::uuid FROM rm_alerting.alert
     WHERE escalate_at <= %(soon)s ORDER BY escalate_at LIMIT %(limit)s)
    UNION
    (SELECT alert_id FROM notice_held)
)
SELECT o.alert_id::text, o.region_code, o.severity, h.by, coalesce(a.silenced_by, ''), n.ids,
    n.held_at, CASE split_part(h.by, ':', 1)
        WHEN 'silence' THEN (SELECT coalesce(quiet_until(s, %(now)s), s.ends_at) FROM silence s
                             WHERE s.silence_id = substr(h.by, 9))
        WHEN 'order' THEN (SELECT m.opened_at + interval '8 hours'
                           FROM rm_cold_chain.maintenance_order m
                           WHERE m.order_id = substr(h.by, 7))
        WHEN 'flap' THEN (o.payload ->> 'fired_at')::timestamptz + interval '30 minutes'
    END AS until
FROM alerts w
CROSS JOIN LATERAL (SELECT f AS notice, f.* FROM outbox f WHERE f.alert_id = w.alert_id AND f.kind = 'fired'
                    ORDER BY f.id DESC LIMIT 1) o
CROSS JOIN LATERAL (SELECT held_back(o.notice, %(now)s) AS by OFFSET 0) h
LEFT JOIN rm_alerting.alert a ON a.alert_id = w.alert_id::text
CROSS JOIN LATERAL (SELECT coalesce(array_agg(q.outbox_id), '{}') AS ids, max(q.held_at) AS held_at
                    FROM notice_held q WHERE q.alert_id = w.alert_id) n
WHERE n.held_at IS NOT NULL OR h.by <> coalesce(a.silenced_by, '')
ORDER BY o.id LIMIT %(limit)s

-- name: settled
DELETE FROM notice_held WHERE outbox_id = ANY (%s)
