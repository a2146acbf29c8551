-- name: insert_recipient
INSERT INTO recipient
    (recipient_id, name, channel, address, secret, region_code, site_id, level, severity_min,
     person_id, rank)
VALUES (%(recipient_id)s, %(name)s, %(channel)s, %(address)s, %(secret)s, %(region_code)s,
    %(site_id)s, %(level)s, %(severity_min)s, nullif(%(person_id)s, ''), %(rank)s)
ON CONFLICT (recipient_id) DO NOTHING
RETURNING recipient_id

-- name: recipients
-- A page of those who are told, by id; their addresses are for those who manage them.
SELECT recipient_id, name, channel, address, region_code, site_id, level, severity_min,
    coalesce(person_id, '') AS person_id, rank
FROM recipient
WHERE active AND region_code LIKE %(region)s || '%%' AND recipient_id > %(after)s COLLATE "C"
ORDER BY recipient_id COLLATE "C" LIMIT %(limit)s

-- name: recipient
SELECT recipient_id, name, channel, address, region_code, site_id, level, severity_min,
    coalesce(person_id, '') AS person_id, rank
FROM recipient WHERE active AND recipient_id = %s

-- name: delete_recipient
DELETE FROM recipient WHERE recipient_id = %s

-- name: deliveries
-- Who was told of an alert, in order; a recipient who was removed has no name and address any more.
SELECT d.id AS delivery_id, d.recipient_id, coalesce(r.name, '') AS name, d.channel, coalesce(r.address, '') AS address,
    o.kind, d.level, d.state, d.attempts, d.created_at,
    CASE WHEN d.state = 'queued' THEN d.next_at END AS next_at, d.sent_at, d.last_error,
    coalesce(d.evidence ->> 'accepted_id', '') AS accepted_id,
    (d.evidence ->> 'delivered_at')::timestamptz AS delivered_at,
    coalesce(d.person_id, '') AS person_id
FROM delivery d JOIN outbox o ON o.id = d.outbox_id
LEFT JOIN recipient r ON r.recipient_id = d.recipient_id
WHERE d.alert_id = %(alert_id)s AND d.id > %(after)s
ORDER BY d.id LIMIT %(limit)s
