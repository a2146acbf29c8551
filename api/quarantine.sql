-- name: listed
-- A page of refused messages, oldest first; the region is the third level of the topic.
SELECT id, topic, payload, code, detail, received_at, seen, state, resolved_at FROM quarantine
WHERE split_part(topic, '/', 3) LIKE %(region)s || '%%'
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(code)s::text IS NULL OR code = %(code)s)
  AND (received_at, id) > (%(received_at)s, %(id)s)
ORDER BY received_at, id LIMIT %(limit)s

-- name: one
SELECT id, topic, payload, code, detail, received_at, seen, state, resolved_at FROM quarantine
WHERE id = %s

-- name: replay
-- Ask ingest to play it again; it looks every second.
UPDATE quarantine SET state = 'replay', actor_id = %(actor_id)s
WHERE id = %(id)s AND state IN ('open', 'set_aside')

-- name: replay_unknown
-- The same for all messages of a device that was unknown.
UPDATE quarantine SET state = 'replay', actor_id = %(actor_id)s
WHERE topic = ANY(%(topics)s) AND code = 'unknown_device' AND state = 'open'

-- name: set_aside
UPDATE quarantine SET state = 'set_aside', actor_id = %s, resolved_at = %s WHERE id = %s
