-- name: ddl
CREATE TABLE alert (
    alert_id text COLLATE "C" PRIMARY KEY,
    device_id text NOT NULL,
    channel text NOT NULL,
    unit_id text NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    rule_id text NOT NULL,
    rule_version integer NOT NULL,
    severity text NOT NULL,
    side text NOT NULL,
    limit_c double precision,
    started_at timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    detected_at timestamptz NOT NULL,
    late boolean NOT NULL,
    value_c double precision,
    peak_c double precision,
    recovered_at timestamptz,
    resolved_at timestamptz,
    cause text NOT NULL,
    state text NOT NULL,
    acknowledged_by text NOT NULL,
    acknowledged_role text NOT NULL,
    acknowledged_at timestamptz,
    comment text NOT NULL,
    level integer NOT NULL,
    due_at timestamptz NOT NULL,
    escalate_at timestamptz,
    version bigint NOT NULL,
    pos bigint NOT NULL,
    kind text NOT NULL,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    detail text NOT NULL,
    silenced_by text NOT NULL,
    silenced_until timestamptz,
    disposition text NOT NULL,
    closing_by text NOT NULL,
    closed_by text NOT NULL,
    closed_at timestamptz
);
CREATE INDEX alert_fired_at_idx ON alert (fired_at, alert_id);
CREATE INDEX alert_unit_id_idx ON alert (unit_id, started_at);
CREATE INDEX alert_pos_idx ON alert (pos);
CREATE INDEX alert_open_idx ON alert (unit_id) WHERE resolved_at IS NULL;
CREATE INDEX alert_silenced_idx ON alert (alert_id) WHERE silenced_by <> '' AND resolved_at IS NULL;
CREATE INDEX alert_escalate_at_idx ON alert (escalate_at) WHERE escalate_at IS NOT NULL;
CREATE INDEX alert_firing_idx ON alert (fired_at) WHERE state = 'firing';
CREATE TABLE rule_set (
    profile_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    effective_from timestamptz NOT NULL,
    rules jsonb NOT NULL,
    PRIMARY KEY (profile_id, version)
)

-- name: touched
SELECT * FROM alert WHERE alert_id = ANY (%s)

-- name: put_alert
INSERT INTO alert VALUES (
    %(alert_id)s, %(device_id)s, %(channel)s, %(unit_id)s, %(site_id)s, %(region_code)s,
    %(rule_id)s, %(rule_version)s, %(severity)s, %(side)s, %(limit_c)s, %(started_at)s,
    %(fired_at)s, %(detected_at)s, %(late)s, %(value_c)s, %(peak_c)s, %(recovered_at)s,
    %(resolved_at)s, %(cause)s, %(state)s, %(acknowledged_by)s,
    %(acknowledged_role)s, %(acknowledged_at)s, %(comment)s, %(level)s, %(due_at)s, %(escalate_at)s,
    %(version)s, %(pos)s, %(kind)s, %(subject_kind)s, %(subject_id)s, %(detail)s, %(silenced_by)s,
    %(silenced_until)s, %(disposition)s, %(closing_by)s, %(closed_by)s, %(closed_at)s)
ON CONFLICT (alert_id) DO UPDATE SET
    severity = excluded.severity, detail = excluded.detail, silenced_by = excluded.silenced_by,
    silenced_until = excluded.silenced_until,
    started_at = excluded.started_at, fired_at = excluded.fired_at,
    detected_at = excluded.detected_at, late = excluded.late, value_c = excluded.value_c,
    peak_c = excluded.peak_c, recovered_at = excluded.recovered_at,
    resolved_at = excluded.resolved_at, cause = excluded.cause,
    state = excluded.state, acknowledged_by = excluded.acknowledged_by,
    acknowledged_role = excluded.acknowledged_role, acknowledged_at = excluded.acknowledged_at,
    comment = excluded.comment, level = excluded.level, due_at = excluded.due_at,
    escalate_at = excluded.escalate_at, disposition = excluded.disposition,
    closing_by = excluded.closing_by, closed_by = excluded.closed_by,
    closed_at = excluded.closed_at,
    version = excluded.version, pos = excluded.pos

-- name: put_rule_set
INSERT INTO rule_set VALUES (%s, %s, %s, %s)

-- name: excursions
-- Of units, not withdrawn; an open one has no end.
SELECT unit_id, severity, started_at, coalesce(recovered_at, resolved_at)
FROM rm_alerting.alert
WHERE unit_id = ANY(%s) AND state <> 'withdrawn' AND kind = 'temperature'

-- name: alerts
-- A page of the inbox of a region, newest first.
SELECT * FROM rm_alerting.alert
WHERE region_code LIKE %(region)s || '%%'
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(fired_at)s::timestamptz IS NULL
         OR (fired_at, alert_id) < (%(fired_at)s, %(alert_id)s))
ORDER BY fired_at DESC, alert_id DESC LIMIT %(limit)s

-- name: alert
SELECT * FROM rm_alerting.alert WHERE alert_id = %s

-- name: changed
SELECT * FROM rm_alerting.alert WHERE pos > %s ORDER BY pos LIMIT %s

-- name: peaks_so_far
-- The engine's state of the rules that are firing, which ingest keeps with each device.
SELECT a.alert_id, (f.state ->> 'peak_c')::float8
FROM rm_alerting.alert a
JOIN device_no d ON d.device_id = a.device_id
JOIN device_state s ON s.device_no = d.device_no
CROSS JOIN LATERAL (SELECT s.rules #> ARRAY[a.channel, 'active', a.rule_id] AS state) f
WHERE a.alert_id = ANY (%s)
  AND (f.state ->> 'fired_ms')::bigint = round(extract(epoch FROM a.fired_at) * 1000)

-- name: due
-- Alerts whose next level is to be told by now, the longest due first.
SELECT alert_id FROM rm_alerting.alert
WHERE escalate_at <= %s ORDER BY escalate_at, alert_id LIMIT %s

-- name: lasting
-- As ingest has judged the probe: the rule is still firing, and how new the newest reading is.
SELECT a.alert_id
FROM rm_alerting.alert a
JOIN device_no d ON d.device_id = a.device_id
JOIN device_state s ON s.device_no = d.device_no
CROSS JOIN LATERAL (SELECT s.rules -> a.channel AS watch) w
WHERE a.state = 'firing' AND a.kind = 'temperature' AND a.level = 0
    AND a.detected_at - a.fired_at > %(history_after)s
    AND w.watch -> 'active' -> a.rule_id ? 'fired_ms'
    AND (w.watch -> 'last' ->> 0)::bigint > %(since_ms)s
ORDER BY a.fired_at LIMIT %(limit)s

-- name: rule_sets
SELECT profile_id, version, effective_from, rules FROM rm_alerting.rule_set
WHERE (profile_id, version) > (%(profile_id)s, %(version)s)
ORDER BY profile_id, version LIMIT %(limit)s
