-- name: open_gaps
-- A device with so many open gaps numbers its readings otherwise than by one: no more are opened.
INSERT INTO gap (device_no, first, past, missing, gateway_id, region_code, opened_at, due_at)
SELECT o.device_no, o.first, o.past, o.past - o.first, o.gateway_id, o.region_code,
       %(now)s, %(due_at)s
FROM (
    SELECT n.*, row_number() OVER (PARTITION BY device_no ORDER BY first) AS nth
    FROM unnest(%(device_nos)s::int4[], %(firsts)s::int8[], %(pasts)s::int8[],
                %(gateway_ids)s::text[], %(region_codes)s::text[])
         AS n (device_no, first, past, gateway_id, region_code)
) o
WHERE (SELECT count(*) FROM gap g WHERE g.device_no = o.device_no AND g.state = 'open')
      + o.nth <= %(open_max)s
ON CONFLICT DO NOTHING
RETURNING device_no, first

-- name: touch_gaps
-- To be looked at at once: the gaps that these spans lie in, each in the one that begins nearest
-- before it, if in any.
UPDATE gap SET state = 'open', closed_at = NULL, asked = 0, due_at = %(now)s
FROM (
    SELECT DISTINCT g.device_no, g.first
    FROM unnest(%(device_nos)s::int4[], %(firsts)s::int8[], %(pasts)s::int8[])
         AS s (device_no, first, past)
    CROSS JOIN LATERAL (
        SELECT device_no, first, past FROM gap
        WHERE gap.device_no = s.device_no AND gap.first <= s.first
        ORDER BY gap.first DESC LIMIT 1
    ) g
    WHERE g.past >= s.past
) touched
WHERE (gap.device_no, gap.first) = (touched.device_no, touched.first) AND gap.state <> 'filled'

-- name: forget_gaps
UPDATE gap SET forgotten = true WHERE device_no = %s AND first < %s AND state <> 'filled'

-- name: lose_readings
-- Looked at at once: nothing may be left to ask for. Said again, it changes nothing.
UPDATE gap SET
    lost = gap.lost + int8multirange(int8range(%(first)s, %(past)s))
                      * int8multirange(int8range(gap.first, gap.past)),
    state = 'open', closed_at = NULL, asked = 0, due_at = %(now)s
FROM device_no d
WHERE d.device_id = %(device_id)s AND gap.device_no = d.device_no
  AND gap.first < %(past)s AND gap.past > %(first)s AND gap.state <> 'filled'
  AND NOT gap.lost @> int8range(greatest(%(first)s, gap.first), least(%(past)s, gap.past))

-- name: due_gaps
-- Open gaps to look at now, of these regions (none: all); `busy`: how many of the same gateway
-- were asked for lately.
SELECT n.device_id, g.device_no, g.first, g.past, g.missing, g.lost, g.forgotten, g.asked,
       g.version, g.gateway_id, s.ranges,
       (SELECT count(*) FROM gap b WHERE b.state = 'open' AND b.gateway_id = g.gateway_id
        AND b.asked_at > %(quiet_since)s) AS busy
FROM gap g
JOIN device_no n USING (device_no)
JOIN device_state s USING (device_no)
WHERE g.state = 'open' AND g.due_at <= %(now)s
  AND (%(regions)s::text[] = '{}' OR g.region_code = ANY(%(regions)s))
ORDER BY g.due_at, g.device_no, g.first LIMIT %(limit)s

-- name: stored_events
SELECT originator_id, originator_version, topic, state FROM telemetry_events
WHERE originator_id = %s AND originator_version >= %s AND originator_version < %s
ORDER BY originator_version

-- name: move_gap
UPDATE gap SET
    state = %(state)s, missing = %(missing)s, asked = %(asked)s, due_at = %(due_at)s,
    asked_at = CASE WHEN %(asks)s THEN %(now)s ELSE asked_at END,
    closed_at = CASE WHEN %(state)s <> 'open' THEN %(now)s END,
    version = version + (%(state)s <> 'open')::integer
WHERE device_no = %(device_no)s AND first = %(first)s
