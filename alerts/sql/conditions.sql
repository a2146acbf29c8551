-- name: ground_version
-- Something else whenever a device, a gateway, a unit or a placement has changed.
SELECT concat_ws(' ',
    (SELECT concat_ws('/', count(*), sum(version)) FROM rm_cold_chain.device),
    (SELECT concat_ws('/', count(*), sum(version)) FROM rm_cold_chain.gateway),
    (SELECT count(*) FROM rm_cold_chain.unit),
    (SELECT count(*) FROM rm_shared_placements.stand),
    (SELECT count(*) FROM public.device_no))

-- name: ground
-- Devices that have spoken, with probes in units now: each with the channels that stand in one.
WITH standing AS (
    SELECT DISTINCT ON (device_id, channel) device_id, channel, unit_id
    FROM rm_shared_placements.stand WHERE since <= %s
    ORDER BY device_id, channel, since DESC
)
SELECT n.device_no, d.device_id, d.interval_s, d.gateway_id, d.site_id, d.region_code,
    array_agg(s.channel ORDER BY s.channel), array_agg(u.unit_id ORDER BY s.channel),
    array_agg(u.kind ORDER BY s.channel), array_agg(u.site_id ORDER BY s.channel),
    array_agg(u.region_code ORDER BY s.channel)
FROM standing s
JOIN rm_cold_chain.device d USING (device_id)
JOIN rm_cold_chain.unit u ON u.unit_id = s.unit_id
JOIN public.device_no n USING (device_id)
GROUP BY n.device_no, d.device_id ORDER BY n.device_no

-- name: states
-- The newest reading of each device and when its newest message came, as columns of big-endian
-- values: device numbers, microseconds since 2000-01-01 UTC.
SELECT coalesce(string_agg(int4send(device_no), ''::bytea), ''),
    coalesce(string_agg(timestamptz_send(ts), ''::bytea), ''),
    coalesce(string_agg(timestamptz_send(coalesce(received_at, ts)), ''::bytea), '')
FROM device_state WHERE ts IS NOT NULL

-- name: newest
-- The newest stored reading of each of these devices, and when it was stored: what the states of
-- devices may not say yet.
SELECT a.n - 1, r.ts, b.recorded_at
FROM unnest(%(devices)s::int4[]) WITH ORDINALITY AS a (device_no, n)
CROSS JOIN LATERAL (
    SELECT ts, batch FROM reading
    WHERE reading.device_no = a.device_no AND ts > %(since)s ORDER BY ts DESC LIMIT 1
) r
JOIN batches b USING (batch)

-- name: rows
-- The readings of some devices, each after a moment of its own (ms), as columns: places of the
-- devices among those asked for, microseconds since 2000-01-01 UTC, values (NaN: none).
SELECT coalesce(string_agg(int4send(r.n::integer), ''::bytea), ''),
    coalesce(string_agg(timestamptz_send(r.ts), ''::bytea), ''),
    coalesce(string_agg(
        float8send(coalesce(t1, 'NaN')) || float8send(coalesce(t2, 'NaN'))
        || float8send(coalesce(t3, 'NaN')) || float8send(coalesce(t4, 'NaN'))
        || float8send(coalesce(rh, 'NaN'))
        || float8send(coalesce(door::integer::float8, 'NaN'))
        || float8send(coalesce(mains::integer::float8, 'NaN'))
        || float8send(coalesce(bat, 'NaN')),
        ''::bytea), '')
FROM unnest(%(devices)s::int4[], %(since)s::int8[]) WITH ORDINALITY AS a (device_no, since, n)
CROSS JOIN LATERAL (
    SELECT a.n - 1 AS n, ts, t1, t2, t3, t4, rh, door, mains, bat FROM reading
    WHERE reading.device_no = a.device_no AND ts > to_timestamp(a.since / 1000.0)
        AND ts > %(first)s AND ts <= %(last)s
    OFFSET 0
) r

-- name: wills
-- Gateways whose last word was that they are off line, and when it came (ms).
SELECT a.n - 1, (l.said ->> 'received_ms')::bigint
FROM unnest(%s::uuid[]) WITH ORDINALITY AS a (stream, n)
CROSS JOIN LATERAL (
    SELECT convert_from(t.state, 'UTF8')::jsonb -> 'e' AS said FROM telemetry_events t
    WHERE t.originator_id = a.stream ORDER BY t.originator_version DESC LIMIT 1
) l
WHERE NOT (l.said ->> 'online')::boolean

-- name: reports
-- What devices told beside readings, after a position.
SELECT t.notification_id, s.said ->> 'device_id', s.said ->> 'kind', (s.said ->> 'ts_ms')::bigint,
    s.said ->> 'payload'
FROM telemetry_events t
CROSS JOIN LATERAL (SELECT convert_from(t.state, 'UTF8')::jsonb -> 'e' AS said) s
WHERE t.topic = 'cold_chain.DeviceReported' AND t.notification_id > %s
ORDER BY t.notification_id

-- name: position_at
SELECT coalesce(max(telemetry_id), 0) FROM batches
WHERE telemetry_id IS NOT NULL AND recorded_at <= %s

-- name: hearing
-- Each worker of ingest that is at work, hears the broker and is not behind: its regions (none: all).
SELECT w.worker, w.regions
FROM ingest_worker w
JOIN pg_locks l ON l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
    AND l.classid = hashtext('vaxtrail.ingest')::oid AND l.objid = w.worker::oid
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
JOIN pg_stat_activity a ON a.pid = l.pid AND a.application_name !~ '(^| )(offline|behind)$'

-- name: means
-- What each probe of some devices measured on average in some days.
SELECT a.n - 1, sum(t1_sum) / 10000.0::float8 / nullif(sum(t1_n), 0),
    sum(t2_sum) / 10000.0::float8 / nullif(sum(t2_n), 0),
    sum(t3_sum) / 10000.0::float8 / nullif(sum(t3_n), 0),
    sum(t4_sum) / 10000.0::float8 / nullif(sum(t4_n), 0)
FROM unnest(%(devices)s::int4[]) WITH ORDINALITY AS a (device_no, n)
JOIN rollup_day d ON d.device_no = a.device_no AND d.ts >= %(since)s
GROUP BY a.n

-- name: wrong_clocks
SELECT device_id, severity, offset_ms, since FROM device_clock WHERE severity <> ''

-- name: known
SELECT kind, subject_id, subject_kind, alert_id::text AS alert_id, severity, region_code,
    silenced_by, version
FROM condition

-- name: put_condition
INSERT INTO condition (kind, subject_id, subject_kind, alert_id, severity, region_code, silenced_by,
    version)
VALUES (%(kind)s, %(subject_id)s, %(subject_kind)s, %(alert_id)s, %(severity)s, %(region_code)s,
    %(silenced_by)s, %(version)s)
ON CONFLICT (kind, subject_id) DO UPDATE SET
    severity = excluded.severity, silenced_by = excluded.silenced_by, version = excluded.version

-- name: drop_condition
DELETE FROM condition WHERE kind = %(kind)s AND subject_id = %(subject_id)s
