-- name: ddl
-- `inspection`: all that were ever opened; `read`: what was answered under them; `legal_hold`: one
-- row a lot and case, `lifted_at` null while it holds.
CREATE TABLE inspection (
    inspection_id text COLLATE "C" PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL,
    case_no text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    lot_ids text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    ended_at timestamptz,
    opened_by text NOT NULL,
    grounds text NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX ON inspection (key_id);
CREATE TABLE read (
    position bigint PRIMARY KEY,
    inspection_id text COLLATE "C" NOT NULL,
    read_at timestamptz NOT NULL,
    path text NOT NULL,
    query text NOT NULL,
    as_of text NOT NULL,
    sha256 text NOT NULL
);
CREATE INDEX ON read (inspection_id, position);
CREATE TABLE legal_hold (
    lot_id text COLLATE "C" NOT NULL,
    case_no text COLLATE "C" NOT NULL,
    grounds text NOT NULL,
    placed_at timestamptz NOT NULL,
    placed_by text NOT NULL,
    lifted_at timestamptz,
    lifting_grounds text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (lot_id, case_no, position)
)

-- name: put_inspection
INSERT INTO inspection (inspection_id, key_id, case_no, region_code, lot_ids, opened_at, valid_until,
    opened_by, grounds, version)
VALUES (%(inspection_id)s, %(key_id)s, %(case_no)s, %(region_code)s, %(lot_ids)s, %(at)s,
    %(valid_until)s, %(by)s, %(grounds)s, %(version)s)

-- name: end_inspection
UPDATE inspection SET ended_at = %(at)s, version = %(version)s
WHERE inspection_id = %(inspection_id)s

-- name: put_read
INSERT INTO read (position, inspection_id, read_at, path, query, as_of, sha256)
VALUES (%(position)s, %(inspection_id)s, %(at)s, %(path)s, %(query)s, %(as_of)s, %(sha256)s)

-- name: put_hold
INSERT INTO legal_hold
    (lot_id, case_no, grounds, placed_at, placed_by, lifting_grounds, position)
VALUES (%(lot_id)s, %(case_no)s, %(grounds)s, %(at)s, %(by)s, '', %(position)s)

-- name: lift_hold
UPDATE legal_hold SET lifted_at = %(at)s, lifting_grounds = %(grounds)s
WHERE lot_id = %(lot_id)s AND case_no = %(case_no)s AND lifted_at IS NULL

-- name: inspections
-- A page of the inspections of a region, by id.
SELECT inspection_id, key_id, case_no, region_code, lot_ids, opened_at, valid_until, ended_at,
    opened_by, grounds, version
FROM rm_oversight.inspection
WHERE region_code LIKE %(region)s || '%%' AND inspection_id > %(after)s
ORDER BY inspection_id LIMIT %(limit)s

-- name: inspection
SELECT inspection_id, key_id, case_no, region_code, lot_ids, opened_at, valid_until, ended_at,
    opened_by, grounds, version
FROM rm_oversight.inspection WHERE inspection_id = %s

-- name: reads
SELECT position, read_at, path, query, as_of, sha256 FROM rm_oversight.read
WHERE inspection_id = %(inspection_id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s

-- name: legal_holds
SELECT lot_id, case_no, grounds, placed_at, placed_by, lifted_at, lifting_grounds, position
FROM rm_oversight.legal_hold
WHERE (lot_id, case_no, position) > (%(lot_id)s, %(case_no)s, %(position)s)
ORDER BY lot_id, case_no, position LIMIT %(limit)s

-- name: days_of_lot
-- First and last day (UTC) of a lot's facts, and whether any pack of it still has a life.
SELECT (to_timestamp(min(h.first_ms) / 1000.0) AT TIME ZONE 'UTC')::date,
       (to_timestamp(max(h.last_ms) / 1000.0) AT TIME ZONE 'UTC')::date,
       EXISTS (SELECT FROM rm_traceability.node n WHERE n.lot_id = %(lot)s
               AND coalesce(n.status, '') NOT IN ('used', 'wasted', 'sampled', 'destroyed'))
FROM rm_traceability.hop h WHERE h.lot_id = %(lot)s
