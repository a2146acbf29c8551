-- name: try_lock
-- One alert process of all that share a database speaks to the platform (the number is arbitrary,
-- fixed); the lock goes with its session.
SELECT pg_try_advisory_lock(7203407)

-- name: begin
INSERT INTO platform_progress (platform) VALUES (%s) ON CONFLICT (platform) DO NOTHING

-- name: progress
SELECT position, recalled_until, stored_until, compared_until FROM platform_progress
WHERE platform = %s

-- name: looked_through
UPDATE platform_progress SET position = %s WHERE platform = %s

-- name: recalled_until
UPDATE platform_progress SET recalled_until = %s WHERE platform = %s

-- name: stored_until
UPDATE platform_progress SET stored_until = %s WHERE platform = %s

-- name: compared_until
UPDATE platform_progress SET compared_until = %s WHERE platform = %s

-- name: put
INSERT INTO platform_upload (upload_id, platform, kind, bill_type, bill_code, fact_id, site_id,
    region_code, day, codes, fields, parties, due_at, changed_at)
VALUES (%(upload_id)s, %(platform)s, %(kind)s, %(bill_type)s, %(bill_code)s, %(fact_id)s,
    %(site_id)s, %(region_code)s, %(day)s, %(codes)s, %(fields)s, %(parties)s, %(now)s, %(now)s)
ON CONFLICT (upload_id) DO NOTHING

-- name: drop_waiting
-- What was not sent yet need not be: its fact is withdrawn.
UPDATE platform_upload SET state = 'withdrawn', changed_at = %(now)s
WHERE fact_id = %(fact_id)s AND site_id = %(site_id)s AND state = 'waiting'

-- name: sent_of_fact
SELECT upload_id FROM platform_upload
WHERE fact_id = %s AND site_id = %s AND state IN ('submitted', 'accepted')

-- name: due
-- What to send next; of a fact that was withdrawn before it became known here, nothing.
SELECT u.* FROM platform_upload u
WHERE u.platform = %(platform)s AND u.state IN ('waiting', 'submitted') AND u.due_at <= %(now)s
ORDER BY u.due_at, u.upload_id LIMIT 1

-- name: withdrawn
SELECT EXISTS (SELECT FROM rm_platform.withdrawn WHERE fact_id = %s AND site_id = %s)

-- name: submitted
UPDATE platform_upload SET state = 'submitted', changed_at = %(now)s WHERE upload_id = %(upload_id)s

-- name: answered
UPDATE platform_upload SET state = %(state)s, changed_at = %(now)s, last_error = %(said)s,
    missing = false, attempts = attempts + 1
WHERE upload_id = %(upload_id)s

-- name: unanswered
UPDATE platform_upload SET attempts = attempts + 1, due_at = %(due_at)s, last_error = %(said)s
WHERE upload_id = %(upload_id)s

-- name: lost
UPDATE platform_upload SET state = 'submitted', missing = true, round = round + 1, attempts = 0,
    due_at = %(now)s, changed_at = %(now)s
WHERE upload_id = %(upload_id)s

-- name: accepted_of_day
SELECT upload_id, bill_code, region_code FROM platform_upload
WHERE platform = %s AND day = %s AND kind = %s AND state = 'accepted'

-- name: parties
-- Who our sites are to the platform: the code and name of their organisation, and their own name.
SELECT s.id, s.parent_id AS org_code, coalesce(o.name, '') AS org_name, s.name
FROM rm_shared_org_tree.node s
LEFT JOIN rm_shared_org_tree.node o ON o.kind = 'organisation' AND o.id = s.parent_id
WHERE s.kind = 'site' AND s.id = ANY(%s)

-- name: storage_day
-- The hours of the probes that stood in a store (no vehicle, no box) during them.
SELECT n.device_id, h.channel, u.site_id, u.region_code, u.unit_id, h.ts, h.lo, h.hi, h.mean
FROM public.reading_hour h
JOIN public.device_no n USING (device_no)
JOIN LATERAL (
    SELECT s.unit_id FROM rm_shared_placements.stand s
    WHERE s.device_id = n.device_id AND s.channel = h.channel AND s.since <= h.ts
    ORDER BY s.since DESC LIMIT 1) stood ON true
JOIN rm_shared_placements.unit u ON u.unit_id = stood.unit_id
WHERE h.ts >= %(begins)s AND h.ts < %(ends)s AND h.n > 0 AND h.channel LIKE 't%%'
    AND u.kind NOT IN ('refrigerated_vehicle', 'cold_box')
ORDER BY n.device_id, h.channel, u.site_id, h.ts
