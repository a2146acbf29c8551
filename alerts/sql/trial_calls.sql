-- name: in_chain
-- Everybody named in the duties of a moment that concern a place, deputies as well: of one site and
-- what is above it, or (`site_id` empty) of a region, all its sites, and what is above.
SELECT DISTINCT n.person_id FROM duty d
CROSS JOIN LATERAL (VALUES (d.person_id), (d.deputy_id)) n(person_id)
WHERE n.person_id IS NOT NULL AND d.begins_at <= %(now)s
    AND (d.ends_at IS NULL OR d.ends_at > %(now)s)
    AND CASE WHEN %(site_id)s <> '' THEN
        d.region_code = ANY (regions_over(%(region_code)s)) AND d.site_id IN ('', %(site_id)s)
    ELSE d.region_code = ANY (regions_over(%(region_code)s)) AND d.site_id = ''
        OR starts_with(d.region_code, %(prefix)s) END
ORDER BY n.person_id

-- name: cities
-- Cities (or provinces, where duties are of the whole of one) somebody is on duty for.
SELECT DISTINCT left(region_code, 4) || '00' FROM duty
WHERE begins_at <= %(now)s AND (ends_at IS NULL OR ends_at > %(now)s)
    AND region_code NOT LIKE '%%0000'
ORDER BY 1

-- name: put_call
INSERT INTO trial_call VALUES (%(call_id)s, %(alert_id)s, %(region_code)s, %(site_id)s, %(made_at)s,
    %(made_by)s, %(person_ids)s)

-- name: reported
UPDATE trial_call SET reported_at = %s WHERE call_id = %s

-- name: unreported
SELECT call_id, alert_id::text, region_code, made_at FROM trial_call
WHERE reported_at IS NULL ORDER BY made_at LIMIT 100

-- name: call
SELECT call_id, alert_id::text AS alert_id, region_code, site_id, made_at, made_by, person_ids,
    reported_at
FROM trial_call WHERE call_id = %s

-- name: calls
-- A page of the calls of a region, the newest first.
SELECT call_id, alert_id::text AS alert_id, region_code, site_id, made_at, made_by, person_ids,
    reported_at
FROM trial_call
WHERE region_code LIKE %(region)s || '%%'
    AND (%(made_at)s::timestamptz IS NULL OR (made_at, call_id) < (%(made_at)s, %(call_id)s))
ORDER BY made_at DESC, call_id DESC LIMIT %(limit)s
