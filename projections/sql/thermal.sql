-- Exposure of temperature probes: kept by the follower, read for histories. Tables: migrations 0028
-- and 0036.

-- name: lock
SELECT pg_advisory_lock(hashtextextended('vaxtrail.exposure', 0))

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended('vaxtrail.exposure', 0))

-- name: positions
-- Of readings: taken, and the end; of calibrations: taken, and followed.
SELECT telemetry_id, tells, (SELECT coalesce(max(notification_id), 0) FROM telemetry_events),
    ledger_id, (SELECT coalesce(max(notification_id), 0) FROM follower_tracking
        WHERE application_name = %(calibrations)s)
FROM exposed

-- name: hours_since
-- Hours since 1970 in which anything is stored of a probe, from a quarter on.
SELECT DISTINCT b.block / 4 FROM device_no n JOIN exposure_block b
    ON b.probe = n.device_no * 4 + %(channel)s AND b.block >= %(block)s
WHERE n.device_id = %(device_id)s

-- name: keep_position
UPDATE exposed SET telemetry_id = %(at)s, ledger_id = %(calibrated)s, complete = %(complete)s,
    tells = tells OR %(complete)s

-- name: begin_again
UPDATE exposed SET telemetry_id = 0, complete = false, tells = false

-- name: forget
-- All but those whose rows are no longer there.
SELECT forget_exposure()

-- name: events
SELECT notification_id, state FROM telemetry_events
WHERE notification_id > %s AND notification_id <= %s AND topic = %s
ORDER BY notification_id LIMIT %s

-- name: devices
-- Their numbers, and the seconds between two readings where the device is known by now.
SELECT n.device_id, n.device_no, d.interval_s
FROM public.device_no n LEFT JOIN rm_shared_placements.device d USING (device_id)
WHERE n.device_id = ANY(%s)

-- name: placements_followed
-- Whether nothing is registered that the read model of placements does not know.
SELECT coalesce(max(e.notification_id), 0) <= coalesce((
    SELECT t.notification_id FROM follower_tracking t
    WHERE t.application_name = 'ledger.shared_placements'), 0)
FROM ledger_events e

-- name: dropped_days
-- UTC days since 1970 whose rows are no longer there.
SELECT day - DATE '1970-01-01' FROM reading_dropped

-- name: readings
-- What devices read in [begin, end) of one UTC day (ms since 1970): columns of big-endian 64-bit
-- values, microseconds since 2000-01-01 UTC and °C a channel, NaN where a reading has none of it;
-- NULL for a channel without any.
SELECT a.n::integer, h.*
FROM unnest(%(devices)s::int4[], %(begins)s::int8[], %(ends)s::int8[])
    WITH ORDINALITY AS a (device_no, begin_ms, end_ms, n)
CROSS JOIN LATERAL (
    SELECT string_agg(timestamptz_send(ts), ''::bytea ORDER BY ts, boot, seq) AS ts,
        CASE WHEN count(t1) > 0 THEN string_agg(
            float8send(coalesce(t1, 'NaN')), ''::bytea ORDER BY ts, boot, seq) END AS t1,
        CASE WHEN count(t2) > 0 THEN string_agg(
            float8send(coalesce(t2, 'NaN')), ''::bytea ORDER BY ts, boot, seq) END AS t2,
        CASE WHEN count(t3) > 0 THEN string_agg(
            float8send(coalesce(t3, 'NaN')), ''::bytea ORDER BY ts, boot, seq) END AS t3,
        CASE WHEN count(t4) > 0 THEN string_agg(
            float8send(coalesce(t4, 'NaN')), ''::bytea ORDER BY ts, boot, seq) END AS t4
    FROM public.reading r
    WHERE r.device_no = a.device_no
        AND r.ts >= TIMESTAMPTZ 'epoch' + a.begin_ms * INTERVAL '1 millisecond'
        AND r.ts < TIMESTAMPTZ 'epoch' + a.end_ms * INTERVAL '1 millisecond'
        AND r.ts >= %(day)s::timestamptz AND r.ts < %(day)s::timestamptz + INTERVAL '1 day'
) AS h
WHERE h.ts IS NOT NULL

-- name: before_runs
-- Of each run of quarters: the stored one before it, and whether one is stored after it.
SELECT a.probe, a.first, b.block, b.data, EXISTS (
    SELECT FROM exposure_block e WHERE e.probe = a.probe AND e.block > a.last)
FROM unnest(%s::int4[], %s::int4[], %s::int4[]) AS a (probe, first, last)
LEFT JOIN LATERAL (
    SELECT e.block, e.data FROM exposure_block e
    WHERE e.probe = a.probe AND e.block < a.first ORDER BY e.block DESC LIMIT 1
) AS b ON true

-- name: rest_of_days
-- Stored quarters of days, from the one at or before `first` on.
SELECT e.probe, e.block, e.data
FROM unnest(%s::int4[], %s::int4[]) AS a (probe, first)
CROSS JOIN LATERAL (
    SELECT * FROM exposure_block e
    WHERE e.probe = a.probe AND e.block < (a.first / 96 + 1) * 96 AND e.block >= coalesce((
        SELECT max(m.block) FROM exposure_block m
        WHERE m.probe = a.probe AND m.block <= a.first AND m.block >= a.first / 96 * 96), a.first)
) AS e
ORDER BY e.probe, e.block

-- name: rest_of_probes
-- Stored days of probes, from the one before `first` on.
SELECT e.probe, e.day, e.data
FROM unnest(%s::int4[], %s::int4[]) AS a (probe, first)
CROSS JOIN LATERAL (
    SELECT * FROM exposure_day e
    WHERE e.probe = a.probe AND e.day >= coalesce((
        SELECT max(m.day) FROM exposure_day m
        WHERE m.probe = a.probe AND m.day < a.first), a.first)
) AS e
ORDER BY e.probe, e.day

-- name: put_blocks
INSERT INTO exposure_block (probe, block, lo, hi, data)
SELECT * FROM unnest(%b::int4[], %b::int4[], %b::float8[], %b::float8[], %b::bytea[])
ON CONFLICT (probe, block) DO UPDATE SET lo = excluded.lo, hi = excluded.hi, data = excluded.data

-- name: put_days
INSERT INTO exposure_day (probe, day, data)
SELECT * FROM unnest(%b::int4[], %b::int4[], %b::bytea[])
ON CONFLICT (probe, day) DO UPDATE SET data = excluded.data

-- name: keep_changes
-- With the end of the ledger: who holds the goods is known from there on.
INSERT INTO exposure_change (probe, block, before, cause, ledger_id)
SELECT c.*, (SELECT coalesce(max(notification_id), 0) FROM ledger_events)
FROM unnest(%b::int4[], %b::int4[], %b::bytea[], %b::text[]) AS c

-- name: rows_now
SELECT e.probe, e.block, e.data FROM unnest(%s::int4[], %s::int4[]) AS a (probe, block)
JOIN exposure_block e USING (probe, block) ORDER BY e.probe, e.block

-- name: one_moment
-- Begin to see one state; the position that sums stand for in it, when the last reading that they
-- count was recorded (ms), and whether they are all there is up to there.
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT x.telemetry_id, (
    SELECT round(extract(epoch FROM b.recorded_at) * 1000)::bigint FROM batches b
    WHERE b.telemetry_id <= x.telemetry_id ORDER BY b.telemetry_id DESC LIMIT 1), x.complete
FROM exposed x

-- name: over
ROLLBACK

-- name: placed
-- Stays of temperature probes in units (by their place among these), ms since 1970; NULL: still. As
-- the ledger stood at a position (NULL: as it does).
WITH told AS (
    SELECT device_id, channel, unit_id, since,
        lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
    FROM rm_shared_placements.stand
    WHERE channel = ANY(%(channels)s::text[]) AND device_id IN (
        SELECT s.device_id FROM rm_shared_placements.stand s WHERE s.unit_id = ANY(%(units)s::text[]))
        AND (%(ledger)s::int8 IS NULL OR position <= %(ledger)s)
)
SELECT array_position(%(units)s::text[], t.unit_id) - 1,
    n.device_no * 4 + array_position(%(channels)s::text[], t.channel) - 1,
    round(extract(epoch FROM t.since) * 1000)::bigint,
    round(extract(epoch FROM t.until) * 1000)::bigint
FROM told t JOIN public.device_no n USING (device_id)
WHERE t.unit_id = ANY(%(units)s::text[])

-- name: sums_at
-- Of probes at moments: the sums before the newest day that has any by then, and the newest quarter
-- by then of that day. Columns of big-endian numbers: the moment's place from 1, bytes of the sums
-- (0 = none), quarter and bytes of its row (0 = none).
SELECT coalesce(string_agg(int4send(a.n::int4), ''::bytea), ''),
    coalesce(string_agg(int4send(coalesce(d.length, 0)), ''::bytea), ''),
    coalesce(string_agg(coalesce(d.before, ''), ''::bytea), ''),
    coalesce(string_agg(int4send(coalesce(b.block, 0)), ''::bytea), ''),
    coalesce(string_agg(int4send(coalesce(length(b.data), 0)), ''::bytea), ''),
    coalesce(string_agg(coalesce(b.data, ''), ''::bytea), '')
FROM unnest(%(probes)s::int4[], %(blocks)s::int4[]) WITH ORDINALITY AS a (probe, block, n)
LEFT JOIN LATERAL (
    SELECT e.day, substring(e.data FOR %(length)s) AS before, %(length)s AS length
    FROM exposure_day e
    WHERE e.probe = a.probe AND e.day <= a.block / 96 ORDER BY e.day DESC LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT e.block, e.data FROM exposure_block e
    WHERE e.probe = a.probe AND e.block <= least(a.block, d.day * 96 + 95)
        AND e.block >= d.day * 96
    ORDER BY e.block DESC LIMIT 1
) AS b ON true

-- name: outside
-- Quarters of probes between two (both exclusive) in which something left 2 … 8 °C, as columns of
-- big-endian numbers.
SELECT coalesce(string_agg(int4send(e.probe), ''::bytea ORDER BY e.probe, e.block), ''),
    coalesce(string_agg(int4send(e.block), ''::bytea ORDER BY e.probe, e.block), ''),
    coalesce(string_agg(float8send(e.lo), ''::bytea ORDER BY e.probe, e.block), ''),
    coalesce(string_agg(float8send(e.hi), ''::bytea ORDER BY e.probe, e.block), '')
FROM unnest(%(probes)s::int4[], %(firsts)s::int4[], %(lasts)s::int4[])
    AS a (probe, first, last)
JOIN exposure_block e ON e.probe = a.probe AND e.block > a.first AND e.block < a.last
    AND (e.lo < 2 OR e.hi > 8)

-- name: holds
-- Devices by their numbers, and the seconds between two readings where that is known.
SELECT n.device_no, n.device_id, d.interval_s
FROM public.device_no n LEFT JOIN rm_shared_placements.device d USING (device_id)
WHERE n.device_no = ANY(%s)
