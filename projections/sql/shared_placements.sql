-- name: ddl
-- Facts only: a stay ends where the next fact about the same probe begins, whatever came first.
CREATE TABLE stand (
    device_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    unit_id text NOT NULL,          -- empty: taken out
    position bigint NOT NULL,
    PRIMARY KEY (device_id, channel, since)
);
CREATE INDEX ON stand (unit_id);
CREATE TABLE unit (
    unit_id text PRIMARY KEY,
    site_id text NOT NULL,
    region_code text NOT NULL,
    kind text NOT NULL,
    profile_id text NOT NULL
);
CREATE TABLE profile (
    profile_id text PRIMARY KEY,
    temperature_c_min double precision NOT NULL,
    temperature_c_max double precision NOT NULL
);
CREATE TABLE device (
    device_id text PRIMARY KEY,
    interval_s integer NOT NULL
)

-- name: put_stand
INSERT INTO stand (device_id, channel, since, unit_id, position) VALUES (%s, %s, %s, %s, %s)

-- name: put_unit
INSERT INTO unit (unit_id, site_id, region_code, kind, profile_id)
VALUES (%(unit_id)s, %(site_id)s, %(region_code)s, %(kind)s, %(profile_id)s)

-- name: put_profile
INSERT INTO profile (profile_id, temperature_c_min, temperature_c_max)
VALUES (%(profile_id)s, %(temperature_c_min)s, %(temperature_c_max)s)

-- name: put_device
INSERT INTO device (device_id, interval_s) VALUES (%(device_id)s, %(interval_s)s)

-- name: placements
-- Every stay, with the unit's limits: a page by device, channel and begin, or those of one device
-- or one unit (empty text: any).
SELECT s.device_id, s.channel, s.unit_id, s.since, s.until, u.site_id, u.region_code,
       p.profile_id, p.temperature_c_min, p.temperature_c_max
FROM (SELECT device_id, channel, unit_id, since,
             lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
      FROM rm_shared_placements.stand
      WHERE %(device_id)s IN ('', device_id)) s
JOIN rm_shared_placements.unit u ON u.unit_id = s.unit_id
LEFT JOIN rm_shared_placements.profile p ON p.profile_id = u.profile_id
WHERE %(unit_id)s IN ('', s.unit_id)
  AND u.region_code LIKE %(region)s || '%%'
  AND (s.device_id, s.channel, s.since)
      > (%(after_device)s, %(after_channel)s, %(after_since)s::timestamptz)
ORDER BY s.device_id, s.channel, s.since LIMIT %(limit)s

-- name: stays
-- What of the stays of temperature probes lies in each of some spans of time of units (by their
-- number from 0), as the ledger stood at a position; with the seconds between readings.
WITH told AS (
    SELECT device_id, channel, unit_id, since,
           lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
    FROM rm_shared_placements.stand
    WHERE device_id IN (SELECT device_id FROM rm_shared_placements.stand
                        WHERE unit_id = ANY(%(units)s))
      AND channel = ANY(%(channels)s)
      AND (%(ledger)s::bigint IS NULL OR position <= %(ledger)s)
)
SELECT a.n - 1, n.device_no, s.channel, s.since, greatest(s.since, a.t0), least(s.until, a.t1),
    d.interval_s, s.device_id
FROM unnest(%(units)s::text[], %(t0)s::timestamptz[], %(t1)s::timestamptz[])
    WITH ORDINALITY AS a (unit_id, t0, t1, n)
JOIN told s ON s.unit_id = a.unit_id AND s.since < a.t1 AND (s.until IS NULL OR s.until > a.t0)
JOIN rm_shared_placements.device d USING (device_id)
JOIN public.device_no n USING (device_id)
ORDER BY a.n, s.device_id, s.channel, s.since

-- name: limits
SELECT u.unit_id, p.temperature_c_min, p.temperature_c_max
FROM rm_shared_placements.unit u JOIN rm_shared_placements.profile p USING (profile_id)
WHERE u.unit_id = ANY(%s)

-- name: held
-- What each of some probes read in [begin, end), and the one reading after, as two columns of
-- big-endian 64-bit values: microseconds since 2000-01-01 UTC, and degrees.
SELECT h.ts, h.v
FROM unnest(%(devices)s::int4[], %(channels)s::text[], %(begins)s::timestamptz[],
        %(ends)s::timestamptz[]) WITH ORDINALITY AS a (device_no, channel, begin, until, n)
CROSS JOIN LATERAL (
    WITH cut AS NOT MATERIALIZED (
        SELECT r.ts, r.boot, r.seq,
               CASE a.channel WHEN 't1' THEN t1 WHEN 't2' THEN t2 WHEN 't3' THEN t3 ELSE t4 END AS v
        FROM public.reading r
        WHERE r.device_no = a.device_no
          AND (%(telemetry)s::bigint IS NULL OR EXISTS (
              SELECT FROM public.batches b
              WHERE b.batch = r.batch AND b.telemetry_id <= %(telemetry)s))
    ), inside AS (
        SELECT * FROM cut WHERE v IS NOT NULL AND ts >= a.begin AND ts < a.until
    ), following AS (
        SELECT * FROM cut WHERE v IS NOT NULL AND ts >= a.until ORDER BY ts, boot, seq LIMIT 1
    )
    SELECT coalesce(string_agg(timestamptz_send(ts), ''::bytea ORDER BY ts, boot, seq), '') AS ts,
           coalesce(string_agg(float8send(v), ''::bytea ORDER BY ts, boot, seq), '') AS v
    FROM (TABLE inside UNION ALL TABLE following) taken
) h
ORDER BY a.n
