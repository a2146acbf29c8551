-- name: gaps
-- A page of the gaps of a region, oldest first; versions are boot * 2^40 + seq.
SELECT d.device_id, g.region_code, (g.first >> 40)::integer AS boot,
       g.first & 1099511627775 AS first_seq,
       (g.first & 1099511627775) + g.past - g.first AS past_seq,
       g.missing, g.state, g.opened_at, g.closed_at, g.asked, g.asked_at
FROM gap g JOIN device_no d USING (device_no)
WHERE g.region_code LIKE %(region)s || '%%'
  AND (%(device_id)s::text IS NULL OR d.device_id = %(device_id)s)
  AND (%(state)s::text IS NULL OR g.state = %(state)s)
  AND (g.opened_at, d.device_id COLLATE "C", g.first)
      > (%(opened_at)s, %(after_id)s, %(first)s)
ORDER BY g.opened_at, d.device_id COLLATE "C", g.first LIMIT %(limit)s

-- name: commands
SELECT command_id, device_id, region_code, cmd, arguments, actor_id, issued_at, expires_at,
       state, answer, changed_at
FROM device_command
WHERE region_code LIKE %(region)s || '%%'
  AND (%(device_id)s::text IS NULL OR device_id = %(device_id)s)
  AND (issued_at, command_id) > (%(issued_at)s, %(command_id)s)
ORDER BY issued_at, command_id LIMIT %(limit)s

-- name: command
SELECT command_id, device_id, region_code, cmd, arguments, actor_id, issued_at, expires_at,
       state, answer, changed_at
FROM device_command WHERE command_id = %s

-- name: wrong_clocks
SELECT c.device_id, d.region_code, c.severity, c.offset_ms, c.since
FROM device_clock c JOIN rm_cold_chain.device d USING (device_id)
WHERE c.severity <> '' AND d.region_code LIKE %(region)s || '%%' AND c.device_id > %(after)s
ORDER BY c.device_id LIMIT %(limit)s
