-- name: own
-- One process a worker number: the lock lives and dies with the connection that writes.
SELECT pg_try_advisory_lock(hashtext('vaxtrail.ingest'), %s)

-- name: name_session
SELECT set_config('application_name', %s, false)

-- name: ledger_position
SELECT coalesce(max(notification_id), 0) FROM ledger_events

-- name: ledger_after
SELECT originator_id, originator_version, topic, state, notification_id FROM ledger_events
WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s)
ORDER BY notification_id LIMIT %s

-- name: take_batch_numbers
SELECT nextval('batch_seq') FROM generate_series(1, %s)

-- name: ensure_partitions
SELECT ensure_reading_partitions(%s, %s)

-- name: add_devices
INSERT INTO device_no (device_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING

-- name: load_devices
SELECT d.device_id, d.device_no, s.ts, s.boot, s.seq, s.t1, s.t2, s.t3, s.t4, s.rh,
       s.door, s.mains, s.bat, s.extra, s.older, s.received_at, s.ranges, s.rules
FROM device_no d LEFT JOIN device_state s USING (device_no)
WHERE d.device_id = ANY(%s)

-- name: enter_worker
INSERT INTO ingest_worker (worker, settled_ledger_id, states_telemetry_id)
VALUES (%s, 0, (SELECT coalesce(max(notification_id), 0) FROM telemetry_events))
ON CONFLICT DO NOTHING

-- name: worker_positions
SELECT settled_ledger_id, states_telemetry_id FROM ingest_worker WHERE worker = %s

-- name: set_settled_position
UPDATE ingest_worker SET settled_ledger_id = %s WHERE worker = %s

-- name: states_are_written
-- All states of the worker's devices stand for everything it has stored with this transaction.
UPDATE ingest_worker SET states_telemetry_id = currval('telemetry_events_notification_id_seq')
WHERE worker = %s

-- name: nothing_to_recall
-- The same where the worker has nothing to store: what others store meanwhile is not its concern.
UPDATE ingest_worker SET states_telemetry_id = (
    SELECT coalesce(max(notification_id), 0) FROM telemetry_events)
WHERE worker = %s

-- name: readings_after
SELECT originator_id, originator_version, topic, state, notification_id FROM telemetry_events
WHERE notification_id > %s AND topic = %s ORDER BY notification_id LIMIT %s

-- name: last_episode_ends
-- In ms, of each device with episodes; NULL while one has not ended, 0 when all were withdrawn.
SELECT device_no, CASE WHEN bool_and(withdrawn OR resolved_at IS NOT NULL) THEN coalesce(
    ceil(extract(epoch FROM max(resolved_at) FILTER (WHERE NOT withdrawn)) * 1000)::float8, 0) END
FROM episode WHERE device_no = ANY(%s) GROUP BY device_no

-- name: readings_at
-- Rows of devices that number nothing, found by their time: the identity they have. OFFSET 0
-- keeps it an index look-up a row; as a join the planner would scan every day there is. The first and
-- last of the times are for it to leave out the days that none of them is in.
SELECT r.device_no, r.seq, r.boot, r.t1, r.t2, r.t3, r.t4, r.rh, r.door, r.mains, r.bat, r.extra
FROM unnest(%(numbers)s::int4[], %(times)s::timestamptz[]) AS asked (device_no, ts)
CROSS JOIN LATERAL (
    SELECT * FROM reading r
    WHERE r.device_no = asked.device_no AND r.ts = asked.ts AND r.boot >= %(boot)s
      AND r.ts BETWEEN %(first)s AND %(last)s
    OFFSET 0
) r

-- name: events_covering
-- The stored messages that hold any version of these runs: the one a run begins in, and those
-- that begin inside it.
SELECT e.originator_id, e.originator_version, e.topic, e.state
FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) AS run (stream, first, past)
CROSS JOIN LATERAL (
    SELECT * FROM telemetry_events e
    WHERE e.originator_id = run.stream AND e.originator_version < run.past
      AND e.originator_version >= coalesce((
          SELECT max(b.originator_version) FROM telemetry_events b
          WHERE b.originator_id = run.stream AND b.originator_version <= run.first), run.first)
) e

-- name: last_of_streams
-- One look-up a stream, however long it is.
SELECT e.originator_id, e.originator_version, e.topic, e.state
FROM unnest(%s::uuid[]) AS asked (stream)
CROSS JOIN LATERAL (
    SELECT * FROM telemetry_events t WHERE t.originator_id = asked.stream
    ORDER BY t.originator_version DESC LIMIT 1
) e

-- name: scans_stored
SELECT e.originator_id, e.originator_version, e.topic, e.state
FROM unnest(%s::uuid[], %s::bigint[]) AS asked (originator_id, originator_version)
JOIN ledger_events e USING (originator_id, originator_version)

-- name: probe_readings
-- Takes the device and a window of time; every temperature channel, the caller picks one.
SELECT ts, boot, seq, t1, t2, t3, t4 FROM reading
WHERE device_no = %s AND ts >= %s AND ts < %s ORDER BY ts, boot, seq

-- name: probe_span
-- The number of a device, and the times of its first and its last stored reading.
SELECT d.device_no, first.ts AS first, last.ts AS last
FROM device_no d
LEFT JOIN LATERAL (SELECT ts FROM reading r WHERE r.device_no = d.device_no
                   ORDER BY ts LIMIT 1) first ON true
LEFT JOIN LATERAL (SELECT ts FROM reading r WHERE r.device_no = d.device_no
                   ORDER BY ts DESC LIMIT 1) last ON true
WHERE d.device_id = %(device_id)s

-- name: probe_episodes
SELECT alert_id, unit_id, rule_id, rule_version, severity, started_at, fired_at, peak_c,
       recovered_at, resolved_at, withdrawn, version
FROM episode WHERE device_no = %s AND channel = %s

-- name: copy_readings
COPY reading (device_no, ts, boot, seq, batch, backfill,
              t1, t2, t3, t4, rh, door, mains, bat, extra) FROM STDIN

-- name: insert_readings
INSERT INTO reading (device_no, ts, boot, seq, batch, backfill,
                     t1, t2, t3, t4, rh, door, mains, bat, extra)
SELECT device_no, ts, boot, seq, batch, backfill,
       t1, t2, t3, t4, rh, door, mains, bat, extra
FROM json_populate_recordset(NULL::reading, %s::json)

-- name: upsert_states
-- As one text: arrays of so many columns cost the client ten times as much.
INSERT INTO device_state (device_no, region_code, ts, boot, seq, t1, t2, t3, t4, rh, door, mains,
                          bat, extra, older, received_at, ranges, rules)
SELECT device_no, region_code, ts, boot, seq, t1, t2, t3, t4, rh, door, mains,
       bat, extra, older, received_at, ranges, rules
FROM json_populate_recordset(NULL::device_state, %s::json)
ON CONFLICT (device_no) DO UPDATE SET
    region_code = excluded.region_code, ts = excluded.ts, boot = excluded.boot, seq = excluded.seq,
    t1 = excluded.t1, t2 = excluded.t2, t3 = excluded.t3, t4 = excluded.t4, rh = excluded.rh,
    door = excluded.door, mains = excluded.mains, bat = excluded.bat, extra = excluded.extra,
    older = excluded.older, received_at = excluded.received_at, ranges = excluded.ranges,
    rules = excluded.rules

-- name: upsert_quarantine
INSERT INTO quarantine (id, topic, payload, code, detail, received_at)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET
    seen = quarantine.seen + 1, code = excluded.code, detail = excluded.detail,
    state = CASE quarantine.state WHEN 'set_aside' THEN 'set_aside' ELSE 'open' END,
    resolved_at = CASE quarantine.state WHEN 'set_aside' THEN quarantine.resolved_at END

-- name: reopen_quarantine
-- A replay that was refused again, perhaps for another reason.
UPDATE quarantine SET state = 'open', code = %s, detail = %s WHERE id = %s AND state = 'replay'

-- name: resolve_quarantine
UPDATE quarantine SET state = 'resolved', resolved_at = %s WHERE id = %s

-- name: quarantine_to_replay
-- Of these regions (none = all): the worker that owns a device takes its messages again. One worker
-- takes the strays as well: what is of no region, or of one that no worker has.
WITH asked AS (
    SELECT id, topic, payload, actor_id, received_at, CASE
        WHEN topic LIKE 'cc/v1/%%' THEN split_part(topic, '/', 3)
        WHEN topic LIKE 'spBv1.0/%%' THEN split_part(topic, '/', 2) END AS region
    FROM quarantine WHERE state = 'replay')
SELECT id, topic, payload, actor_id, received_at FROM asked
WHERE cardinality(%(regions)s::text[]) = 0 OR region = ANY(%(regions)s)
   OR (%(strays)s AND NOT EXISTS (SELECT FROM ingest_worker w WHERE region = ANY(w.regions)))
ORDER BY received_at, id LIMIT %(limit)s

-- name: upsert_episode
INSERT INTO episode (alert_id, device_no, channel, unit_id, rule_id, rule_version, severity,
                     started_at, fired_at, peak_c, recovered_at, resolved_at, withdrawn, version)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (alert_id) DO UPDATE SET
    rule_version = excluded.rule_version, started_at = excluded.started_at,
    fired_at = excluded.fired_at, peak_c = excluded.peak_c, recovered_at = excluded.recovered_at,
    resolved_at = excluded.resolved_at, withdrawn = excluded.withdrawn, version = excluded.version
