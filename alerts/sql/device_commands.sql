-- name: insert_command
INSERT INTO device_command (command_id, device_id, region_code, cmd, arguments, actor_id,
                            issued_at, expires_at, changed_at)
VALUES (%(command_id)s, %(device_id)s, %(region_code)s, %(cmd)s, %(arguments)s, %(actor_id)s,
        %(issued_at)s, %(expires_at)s, %(issued_at)s)

-- name: command
SELECT state, answer, changed_at, expires_at FROM device_command WHERE command_id = %s

-- name: is_over
-- Whether somebody has ended an alert, or taken it on, since a notice of it was made.
SELECT EXISTS (
    SELECT FROM outbox WHERE alert_id = %(alert_id)s::uuid AND kind = ANY(%(ends)s)
        AND created_at >= %(since)s
) AS over

-- name: sounds_for_another
-- Whether a siren was switched on for another alert that nobody has ended or taken on since.
SELECT EXISTS (
    SELECT FROM device_command c
    WHERE c.device_id = %(device_id)s AND c.cmd = 'siren' AND c.arguments = '{"on": 1}'
        AND c.issued_at > %(since)s
        AND c.actor_id LIKE 'alert:%%' AND c.actor_id <> %(actor_id)s
        AND NOT EXISTS (
            SELECT FROM outbox o
            WHERE o.alert_id = substr(c.actor_id, 7)::uuid AND o.kind = ANY(%(ends)s)
                AND o.created_at >= c.issued_at)
) AS sounds
