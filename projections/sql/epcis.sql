-- name: ddl
CREATE TABLE job (
    capture_id text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL UNIQUE,
    region_code text COLLATE "C" NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    behaviour text NOT NULL,
    success boolean NOT NULL
);
CREATE TABLE query (
    name text COLLATE "C" PRIMARY KEY,
    query text NOT NULL,
    extensions text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    defined_at timestamptz NOT NULL
)

-- name: put_job
-- Of several attempts the newest counts.
INSERT INTO job (capture_id, position, region_code, began_at, ended_at, behaviour, success)
VALUES (%(capture_id)s, %(position)s, %(region_code)s, %(began_at)s, %(ended_at)s, %(behaviour)s,
    %(success)s)
ON CONFLICT (capture_id) DO UPDATE SET position = excluded.position,
    began_at = excluded.began_at, ended_at = excluded.ended_at, success = excluded.success

-- name: jobs
-- A page of the jobs of a region, newest first.
SELECT capture_id, position, began_at, ended_at, behaviour, success FROM rm_epcis.job
WHERE region_code LIKE %(region)s || '%%' AND position < %(before)s
ORDER BY position DESC LIMIT %(limit)s

-- name: define_query
INSERT INTO query (name, query, extensions, region_code, defined_at)
VALUES (%(name)s, %(query)s, %(extensions)s, %(region_code)s, %(defined_at)s)

-- name: remove_query
DELETE FROM query WHERE name = %s

-- name: queries
-- A page of the named queries, by name.
SELECT name, query, extensions, region_code, defined_at FROM rm_epcis.query
WHERE name > %(after)s ORDER BY name LIMIT %(limit)s

-- name: query
SELECT name, query, extensions, region_code, defined_at FROM rm_epcis.query WHERE name = %s
