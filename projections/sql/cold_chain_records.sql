-- name: ddl
-- `record`: what a person signed for half a day of a unit; `keeping`: since when a site signs
-- records; `logger_file`: what is filed, without its readings.
CREATE TABLE record (
    unit_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    half text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    shown_at timestamptz NOT NULL,
    as_of text NOT NULL,
    since timestamptz NOT NULL,
    probes jsonb NOT NULL,
    min_c double precision,
    max_c double precision,
    outside_min double precision,
    unknown_min double precision NOT NULL,
    alert_ids text[] NOT NULL,
    own_c double precision,
    remark text NOT NULL,
    signed_by text NOT NULL,
    signed_at timestamptz NOT NULL,
    late boolean NOT NULL,
    PRIMARY KEY (unit_id, day, half)
);
CREATE INDEX record_site_idx ON record (site_id, day);
CREATE INDEX record_due_idx ON record (due_at);
CREATE TABLE keeping (
    site_id text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL
);
CREATE TABLE logger_file (
    sha256 text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    serial text NOT NULL,
    zone text NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    bill_no text COLLATE "C" NOT NULL,
    readings integer NOT NULL,
    days integer NOT NULL,
    since timestamptz,
    until timestamptz,
    region_code text COLLATE "C" NOT NULL,
    filed_at timestamptz NOT NULL
);
CREATE INDEX logger_file_unit_idx ON logger_file (unit_id, until) WHERE unit_id <> '';
CREATE INDEX logger_file_bill_idx ON logger_file (bill_no) WHERE bill_no <> ''

-- name: put_record
INSERT INTO record VALUES (
    %(unit_id)s, %(day)s, %(half)s, %(site_id)s, %(region_code)s, %(due_at)s, %(shown_at)s,
    %(as_of)s, %(since)s, %(probes)s, %(min_c)s, %(max_c)s, %(outside_min)s, %(unknown_min)s,
    %(alert_ids)s, %(own_c)s, %(remark)s, %(signed_by)s, %(signed_at)s, %(late)s)

-- name: put_keeping
-- Events of a site come in the order in which they were recorded: the first stays.
INSERT INTO keeping VALUES (%(site_id)s, %(signed_at)s) ON CONFLICT DO NOTHING

-- name: put_file
INSERT INTO logger_file VALUES (
    %(sha256)s, %(kind)s, %(serial)s, %(zone)s, %(unit_id)s, %(bill_no)s, %(readings)s, %(days)s,
    %(since)s, %(until)s, %(region_code)s, %(filed_at)s)

-- name: records
-- What was signed of a unit, or of a site (null: any), for days from the first to the last.
SELECT unit_id, day, half, site_id, region_code, due_at, shown_at, as_of, since, probes, min_c,
    max_c, outside_min, unknown_min, alert_ids, own_c, remark, signed_by, signed_at, late
FROM rm_cold_chain_records.record
WHERE (%(unit_id)s::text IS NULL OR unit_id = %(unit_id)s)
  AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
  AND day BETWEEN %(first)s AND %(last)s
ORDER BY unit_id, due_at

-- name: shown_last
-- When each unit's newest record before a moment was shown.
SELECT unit_id, max(shown_at) FROM rm_cold_chain_records.record
WHERE unit_id = ANY(%(unit_ids)s) AND shown_at < %(before)s GROUP BY unit_id

-- name: signed
-- Units whose record of these windows, by when they were due, is signed.
SELECT due_at, unit_id FROM rm_cold_chain_records.record WHERE due_at = ANY(%s)

-- name: keeping
SELECT site_id, since FROM rm_cold_chain_records.keeping

-- name: files
-- A page of the files of a region, of one unit or bill where named.
SELECT sha256, kind, serial, zone, unit_id, bill_no, readings, days, since, until, region_code,
    filed_at
FROM rm_cold_chain_records.logger_file
WHERE region_code LIKE %(region)s || '%%' AND sha256 > %(after)s
  AND (%(unit_id)s::text IS NULL OR unit_id = %(unit_id)s)
  AND (%(bill_no)s::text IS NULL OR bill_no = %(bill_no)s)
ORDER BY sha256 LIMIT %(limit)s

-- name: files_in
-- Files with readings of a unit in a time, or of a bill.
SELECT sha256, kind, serial, zone, unit_id, bill_no, readings, days, since, until, region_code,
    filed_at
FROM rm_cold_chain_records.logger_file
WHERE since < %(t1)s AND until >= %(t0)s
  AND (unit_id = %(unit_id)s AND unit_id <> '' OR bill_no = %(bill_no)s AND bill_no <> '')
ORDER BY since, sha256
