-- name: ddl
CREATE TABLE profile (
    profile_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    name_en text NOT NULL,
    temperature_c_min double precision NOT NULL,
    temperature_c_max double precision NOT NULL,
    source text NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE unit (
    unit_id text COLLATE "C" PRIMARY KEY,
    site_id text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    name_en text NOT NULL,
    profile_id text NOT NULL,
    plate text NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX ON unit (region_code, unit_id);
CREATE INDEX ON unit (site_id);
CREATE TABLE gateway (
    gateway_id text COLLATE "C" PRIMARY KEY,
    site_id text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    replacement_id text,
    replaced_at timestamptz,
    version bigint NOT NULL
);
CREATE INDEX ON gateway (region_code, gateway_id);
CREATE TABLE device (
    device_id text COLLATE "C" PRIMARY KEY,
    gateway_id text NOT NULL,
    site_id text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    channels text[] NOT NULL,
    interval_s integer NOT NULL,
    simulated boolean NOT NULL,
    moved_at timestamptz NOT NULL,      -- by itself
    behind_since timestamptz NOT NULL,  -- by that, or as its gateway was replaced
    version bigint NOT NULL
);
CREATE INDEX ON device (region_code, device_id);
CREATE INDEX ON device (gateway_id);
CREATE TABLE maintenance_order (
    order_id text COLLATE "C" PRIMARY KEY,
    unit_id text NOT NULL,
    site_id text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    org_code text NOT NULL,
    kind text NOT NULL,
    task text NOT NULL,
    due_on date,
    opened_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open',
    assignee_id text NOT NULL DEFAULT '',
    closed_at timestamptz,
    result text NOT NULL DEFAULT '',
    parts text[] NOT NULL DEFAULT '{}',
    version bigint NOT NULL
);
CREATE INDEX ON maintenance_order (region_code, order_id);
CREATE INDEX ON maintenance_order (unit_id);
CREATE INDEX ON maintenance_order (org_code) WHERE state = 'open';
CREATE TABLE evidence (
    sha256 text COLLATE "C" PRIMARY KEY,
    filename text NOT NULL,
    kind text NOT NULL,
    device_serial text NOT NULL,
    note text NOT NULL,
    size_bytes bigint NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    kept_at timestamptz NOT NULL
)

-- name: put_profile
INSERT INTO profile (profile_id, name, name_en, temperature_c_min, temperature_c_max, source,
                     version)
VALUES (%(profile_id)s, %(name)s, %(name_en)s, %(temperature_c_min)s, %(temperature_c_max)s,
        %(source)s, %(version)s)

-- name: put_unit
INSERT INTO unit (unit_id, site_id, region_code, kind, name, name_en, profile_id, plate, version)
VALUES (%(unit_id)s, %(site_id)s, %(region_code)s, %(kind)s, %(name)s, %(name_en)s,
        %(profile_id)s, %(plate)s, %(version)s)

-- name: put_gateway
INSERT INTO gateway (gateway_id, site_id, region_code, version)
VALUES (%(gateway_id)s, %(site_id)s, %(region_code)s, %(version)s)

-- name: replace_gateway
UPDATE gateway SET replacement_id = %(replacement_id)s, replaced_at = %(replaced_at)s,
                   version = %(version)s
WHERE gateway_id = %(gateway_id)s

-- name: put_device
INSERT INTO device (device_id, gateway_id, site_id, region_code, channels, interval_s, simulated,
                    moved_at, behind_since, version)
VALUES (%(device_id)s, %(gateway_id)s, %(site_id)s, %(region_code)s, %(channels)s, %(interval_s)s,
        %(simulated)s, %(since)s, %(since)s, %(version)s)

-- name: move_device
-- Unless a later move is known already.
UPDATE device SET gateway_id = %(gateway_id)s, site_id = %(site_id)s,
                  region_code = %(region_code)s, moved_at = %(moved_at)s,
                  behind_since = %(moved_at)s
WHERE device_id = %(device_id)s AND moved_at < %(moved_at)s

-- name: follow_replacement
-- All that are behind a gateway that was replaced; the other stands at the same site.
UPDATE device SET gateway_id = %(replacement_id)s, behind_since = %(replaced_at)s
WHERE gateway_id = %(gateway_id)s AND behind_since < %(replaced_at)s

-- name: touch_device
-- Placements stand in the stream of the device, so its version grows with them.
UPDATE device SET version = %(version)s WHERE device_id = %(device_id)s

-- name: put_order
INSERT INTO maintenance_order (order_id, unit_id, site_id, region_code, org_code, kind, task,
                               due_on, opened_at, version)
VALUES (%(order_id)s, %(unit_id)s, %(site_id)s, %(region_code)s, %(org_code)s, %(kind)s, %(task)s,
        %(due_on)s, %(at)s, %(version)s)

-- name: assign_order
UPDATE maintenance_order SET assignee_id = %(assignee_id)s, version = %(version)s
WHERE order_id = %(order_id)s

-- name: close_order
UPDATE maintenance_order SET state = %(state)s, closed_at = %(closed_at)s, result = %(result)s,
                             parts = %(parts)s, version = %(version)s
WHERE order_id = %(order_id)s

-- name: put_evidence
INSERT INTO evidence (sha256, filename, kind, device_serial, note, size_bytes, region_code, kept_at)
VALUES (%(sha256)s, %(filename)s, %(kind)s, %(device_serial)s, %(note)s, %(size_bytes)s,
        %(region_code)s, %(kept_at)s)

-- name: profiles
SELECT profile_id, name, name_en, temperature_c_min, temperature_c_max, source, version
FROM rm_cold_chain.profile WHERE profile_id > %(after)s ORDER BY profile_id LIMIT %(limit)s

-- name: units
-- A page of the units of a region, or of one of its sites (empty: any), by id.
SELECT unit_id, site_id, region_code, kind, name, name_en, profile_id, plate, version
FROM rm_cold_chain.unit
WHERE region_code LIKE %(region)s || '%%' AND %(site_id)s IN ('', site_id)
  AND unit_id > %(after)s
ORDER BY unit_id LIMIT %(limit)s

-- name: gateways
SELECT gateway_id, site_id, region_code, replacement_id, replaced_at, version
FROM rm_cold_chain.gateway
WHERE region_code LIKE %(region)s || '%%' AND %(site_id)s IN ('', site_id)
  AND gateway_id > %(after)s
ORDER BY gateway_id LIMIT %(limit)s

-- name: devices
SELECT device_id, gateway_id, site_id, region_code, channels, interval_s, simulated, version
FROM rm_cold_chain.device
WHERE region_code LIKE %(region)s || '%%' AND %(site_id)s IN ('', site_id)
  AND device_id > %(after)s
ORDER BY device_id LIMIT %(limit)s

-- name: orders
-- A page of the orders of a region, of one unit, organisation or state (empty: any), by id.
SELECT order_id, unit_id, site_id, region_code, org_code, kind, task, due_on, opened_at, state,
       assignee_id, closed_at, result, parts, version
FROM rm_cold_chain.maintenance_order
WHERE region_code LIKE %(region)s || '%%' AND %(unit_id)s IN ('', unit_id)
  AND %(org_code)s IN ('', org_code) AND %(state)s IN ('', state) AND order_id > %(after)s
ORDER BY order_id LIMIT %(limit)s

-- name: evidence
-- A page of the files kept in a region, without their content, by digest.
SELECT sha256, filename, kind, device_serial, note, size_bytes, region_code, kept_at
FROM rm_cold_chain.evidence
WHERE region_code LIKE %(region)s || '%%' AND sha256 > %(after)s
ORDER BY sha256 LIMIT %(limit)s

-- name: conflicts
-- Straight from the telemetry log: there are few of them, found by an index of their own.
SELECT t.notification_id AS position, d.device_id, d.region_code, (c.e ->> 'boot')::integer AS boot,
       (c.e ->> 'seq')::bigint AS seq, (c.e ->> 'stored')::jsonb AS stored,
       (c.e ->> 'received')::jsonb AS received,
       to_timestamp((c.e ->> 'received_ms')::bigint / 1000.0) AS received_at
FROM public.telemetry_events t
CROSS JOIN LATERAL (SELECT convert_from(t.state, 'UTF8')::jsonb -> 'e' AS e) c
JOIN rm_cold_chain.device d ON d.device_id = c.e ->> 'device_id'
WHERE t.topic = 'cold_chain.ReadingConflict' AND t.notification_id > %(after)s
  AND d.region_code LIKE %(region)s || '%%'
ORDER BY t.notification_id LIMIT %(limit)s

-- name: unknown
-- Who spoke from which place without being registered, from the messages in quarantine; without a
-- device: the gateway itself. Topics of Sparkplug name no site. A page by place and device.
SELECT w.*, n.id IS NOT NULL AS site_known, g.gateway_id IS NOT NULL AS gateway_known
FROM (SELECT t.region_code COLLATE "C", t.site_id COLLATE "C", t.gateway_id COLLATE "C",
             t.device_id COLLATE "C", min(q.received_at) AS first_seen_at,
             max(q.received_at) AS last_seen_at, count(*) AS messages
      FROM public.quarantine q
      CROSS JOIN LATERAL string_to_array(q.topic, '/') AS l
      CROSS JOIN LATERAL (
          SELECT l[3], l[4], l[5], coalesce(l[7], '') WHERE l[1] = 'cc'
          UNION ALL
          SELECT l[2], '', l[4], coalesce(l[5], '') WHERE l[1] = 'spBv1.0'
      ) AS t (region_code, site_id, gateway_id, device_id)
      WHERE q.code = 'unknown_device' AND q.state = 'open'
        AND t.region_code LIKE %(region)s || '%%'
      GROUP BY 1, 2, 3, 4) w
LEFT JOIN rm_shared_org_tree.node n
    ON n.kind = 'site' AND n.id = w.site_id AND n.region_code = w.region_code
LEFT JOIN rm_cold_chain.gateway g
    ON g.gateway_id = w.gateway_id AND w.site_id IN ('', g.site_id)
WHERE (w.region_code, w.site_id, w.gateway_id, w.device_id)
      > (%(region_code)s, %(site_id)s, %(gateway_id)s, %(device_id)s)
ORDER BY w.region_code, w.site_id, w.gateway_id, w.device_id LIMIT %(limit)s

-- name: unknown_samples
-- The newest messages on each of these topics, newest first, so many bytes of each.
SELECT q.topic, substring(q.payload FROM 1 FOR %(bytes_max)s) AS payload
FROM (SELECT id, row_number() OVER (PARTITION BY topic ORDER BY received_at DESC, id) AS nth
      FROM public.quarantine
      WHERE code = 'unknown_device' AND state = 'open' AND topic = ANY(%(topics)s)) newest
JOIN public.quarantine q USING (id)
WHERE newest.nth <= %(samples)s ORDER BY q.received_at DESC, q.id

-- name: latest
-- The newest values of the devices of a region; those that never spoke have no time.
SELECT d.device_id, d.gateway_id, d.site_id, d.region_code, d.interval_s, d.channels, s.ts,
       s.received_at,
       jsonb_strip_nulls(jsonb_build_object(
           't1', s.t1, 't2', s.t2, 't3', s.t3, 't4', s.t4, 'rh', s.rh,
           'door', s.door::integer, 'mains', s.mains::integer, 'bat', s.bat
       ) || coalesce(s.extra, '{}')) AS values
FROM rm_cold_chain.device d
LEFT JOIN public.device_no n USING (device_id)
LEFT JOIN public.device_state s USING (device_no)
WHERE d.region_code LIKE %(region)s || '%%' AND %(site_id)s IN ('', d.site_id)
  AND d.device_id > %(after)s
ORDER BY d.device_id LIMIT %(limit)s
