-- name: waiting_devices
-- Of which devices of these regions (none: all) people ask what is not sent yet.
SELECT DISTINCT device_id FROM device_command
WHERE state = 'waiting' AND expires_at > %(now)s
  AND (%(regions)s::text[] = '{}' OR region_code = ANY(%(regions)s))

-- name: take_waiting
-- What people asked of these devices of these regions (none: all) and is not sent yet, oldest first.
UPDATE device_command SET state = 'sent', changed_at = %(now)s
WHERE command_id IN (
    SELECT command_id FROM device_command
    WHERE state = 'waiting' AND expires_at > %(now)s AND device_id = ANY(%(device_ids)s)
      AND (%(regions)s::text[] = '{}' OR region_code = ANY(%(regions)s))
    ORDER BY issued_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING command_id::text, device_id, cmd, arguments, expires_at, issued_at

-- name: ask_again
-- What a worker before this one took, of these regions (none: all), and perhaps never sent.
UPDATE device_command SET state = 'waiting'
WHERE state = 'sent' AND expires_at > %(now)s
  AND (%(regions)s::text[] = '{}' OR region_code = ANY(%(regions)s))

-- name: answer_command
-- Nothing more is heard after `applied` or `failed`. Returns the version of the answer.
UPDATE device_command SET
    state = %(outcome)s, answer = %(text)s, changed_at = %(now)s, version = version + 1
WHERE command_id = %(command_id)s AND device_id = %(device_id)s
  AND state IN ('waiting', 'sent', 'accepted') AND state <> %(outcome)s
RETURNING version, region_code
