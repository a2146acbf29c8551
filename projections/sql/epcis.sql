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
);
-- One event of a captured document: `ordinal` is its place there, `content` the bytes as received.
CREATE TABLE event (
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    event_id text NOT NULL,
    hash text NOT NULL,
    event_time timestamptz NOT NULL,
    record_time timestamptz NOT NULL,
    facets jsonb NOT NULL,
    content text NOT NULL,
    contexts text NOT NULL,
    PRIMARY KEY (position, ordinal)
);
CREATE INDEX event_time_idx ON event (event_time, position, ordinal);
CREATE INDEX event_facets_idx ON event USING gin (facets jsonb_path_ops);
-- Members of the collections, in plain form and as captured first, since a position.
CREATE TABLE known (
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    shown text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (kind, value, region_code)
);
-- How long company prefixes are, as URNs told.
CREATE TABLE company (
    prefix text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
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
-- A page of the named queries of a region, of regions in it and of those it lies in, by name.
SELECT name, query, extensions, region_code, defined_at FROM rm_epcis.query
WHERE name > %(after)s AND (region_code LIKE %(prefix)s || '%%'
    OR %(region)s LIKE regexp_replace(region_code, '(00)+$', '') || '%%')
ORDER BY name LIMIT %(limit)s

-- name: query
SELECT name, query, extensions, region_code, defined_at FROM rm_epcis.query WHERE name = %s

-- name: copy_event
COPY event (position, ordinal, region_code, event_id, hash, event_time, record_time, facets,
            content, contexts) FROM STDIN

-- name: put_known
INSERT INTO known (kind, value, region_code, shown, position)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT DO NOTHING

-- name: put_companies
INSERT INTO company (prefix, position) SELECT * FROM unnest(%s::text[], %s::bigint[])
ON CONFLICT DO NOTHING

-- name: asked
-- Events that a query asks for, as known at a position; `of` is the query as a JSON path.
SELECT position, ordinal, event_time, record_time, event_id, content, contexts
FROM rm_epcis.event e
WHERE position <= %(position)s AND region_code LIKE %(region)s || '%%'
    AND (%(of)s::jsonpath IS NULL OR facets @@ %(of)s::jsonpath)
    AND (%(event_from)s::timestamptz IS NULL OR event_time >= %(event_from)s)
    AND (%(event_to)s::timestamptz IS NULL OR event_time < %(event_to)s)
    AND (%(record_from)s::timestamptz IS NULL OR record_time >= %(record_from)s)
    AND (%(record_to)s::timestamptz IS NULL OR record_time < %(record_to)s)

-- name: by_record
-- In the order of becoming known, after an event.
AND (position, ordinal) > (%(after_position)s, %(after_ordinal)s)
ORDER BY position, ordinal LIMIT %(limit)s

-- name: by_record_desc
AND (position, ordinal) < (%(after_position)s, %(after_ordinal)s)
ORDER BY position DESC, ordinal DESC LIMIT %(limit)s

-- name: by_time
AND (event_time, position, ordinal) > (%(after_time)s, %(after_position)s, %(after_ordinal)s)
ORDER BY event_time, position, ordinal LIMIT %(limit)s

-- name: by_time_desc
AND (event_time, position, ordinal) < (%(after_time)s, %(after_position)s, %(after_ordinal)s)
ORDER BY event_time DESC, position DESC, ordinal DESC LIMIT %(limit)s

-- name: by_field
-- By the number, the moment or the text of an extension; events without it come last.
ORDER BY (facets -> %(number)s ->> 0)::float8, (facets -> %(moment)s ->> 0)::float8,
    (facets -> %(text)s ->> 0) COLLATE "C", position, ordinal
OFFSET %(given)s LIMIT %(limit)s

-- name: by_field_desc
ORDER BY (facets -> %(number)s ->> 0)::float8 DESC NULLS LAST,
    (facets -> %(moment)s ->> 0)::float8 DESC NULLS LAST,
    (facets -> %(text)s ->> 0) COLLATE "C" DESC NULLS LAST, position DESC, ordinal DESC
OFFSET %(given)s LIMIT %(limit)s

-- name: members
-- A page of a collection, as known at a position.
SELECT DISTINCT ON (value) value, shown FROM rm_epcis.known
WHERE kind = %(kind)s AND value > %(after)s AND position <= %(position)s
    AND region_code LIKE %(region)s || '%%'
ORDER BY value, position LIMIT %(limit)s

-- name: is_member
SELECT EXISTS (SELECT FROM rm_epcis.known
               WHERE kind = %(kind)s AND value = %(value)s AND region_code LIKE %(region)s || '%%')

-- name: companies
SELECT prefix FROM rm_epcis.company WHERE position <= %s

-- name: bound_time
-- Until the transaction ends; milliseconds.
SELECT set_config('statement_timeout', %s, true)

-- name: count
-- How many events a query asks for, counted up to a limit.
SELECT count(*) FROM ({asked} LIMIT %(limit)s) found
