-- name: ddl
CREATE TABLE record (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    other_site_id text COLLATE "C" NOT NULL,
    other_region text COLLATE "C" NOT NULL,
    changed_at timestamptz NOT NULL,
    version bigint NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX ON record (kind, site_id, id);
CREATE TABLE dose (
    fact_id text COLLATE "C" PRIMARY KEY,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    codes text[] NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    given_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    series_dose integer,
    ended_at timestamptz,
    reaction boolean,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX ON dose (recipient) WHERE recipient <> '';
CREATE INDEX ON dose (given_at, fact_id);
CREATE INDEX ON dose (site_id, given_at, fact_id);
CREATE INDEX ON dose (due_at) WHERE ended_at IS NULL;
-- Checks that said "may", until their dose is told or is told not to be given.
CREATE TABLE open_check (
    check_id text COLLATE "C" PRIMARY KEY,
    site_id text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    checked_at timestamptz NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX ON open_check (code, checked_at);
CREATE INDEX ON open_check (recipient, checked_at);
-- Facts declared wrong, known already or not.
CREATE TABLE withdrawn (
    fact_id text NOT NULL,
    site_id text NOT NULL,
    PRIMARY KEY (fact_id, site_id)
)

-- name: put_record
-- Later events keep what they do not tell; the first says whose region it is.
INSERT INTO record AS r (kind, id, state, site_id, region_code, other_site_id, other_region,
    changed_at, version, body)
VALUES (%(kind)s, %(id)s, %(state)s, %(site_id)s, %(region_code)s, %(other_site_id)s,
    %(other_region)s, %(changed_at)s, %(version)s, %(body)s::jsonb)
ON CONFLICT (kind, id) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at,
    version = excluded.version, body = r.body || excluded.body

-- name: put_dose
-- Two facts of one id are one fact: the first holds.
INSERT INTO dose (fact_id, site_id, region_code, codes, recipient, given_at, recorded_at, due_at,
    series_dose)
VALUES (%(fact_id)s, %(site_id)s, %(region_code)s, %(codes)s, %(recipient)s, %(given_at)s,
    %(recorded_at)s, %(due_at)s, %(series_dose)s)
ON CONFLICT (fact_id) DO NOTHING

-- name: put_withdrawn
INSERT INTO withdrawn VALUES (%s, %s) ON CONFLICT (fact_id, site_id) DO NOTHING

-- name: put_open
INSERT INTO open_check VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (check_id) DO NOTHING

-- name: close_given
-- The dose of a check, or one of the product that this person got without it, out of any vial.
DELETE FROM open_check WHERE check_id = %s OR (recipient = %s AND product_id = ANY(%s))

-- name: close_not_given
-- What is not given at a place says nothing of what another keeps for the person.
DELETE FROM open_check
WHERE site_id = %s AND (check_id = %s OR (recipient = %s AND product_id = %s))

-- name: end_observation
UPDATE dose SET ended_at = %s, reaction = %s, reason = %s WHERE fact_id = %s

-- name: records
-- A page of one kind, by id.
SELECT id, state, site_id, region_code, changed_at, version, body FROM rm_vaccination.record
WHERE kind = %(kind)s AND id > %(after)s
    AND (region_code LIKE %(region)s || '%%' OR other_region LIKE %(region)s || '%%')
    AND (%(site_id)s::text IS NULL OR %(site_id)s IN (site_id, other_site_id))
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY id LIMIT %(limit)s

-- name: doses
-- A page of doses by time, with what the check before each said.
SELECT d.fact_id, d.site_id, d.region_code, d.codes, d.recipient, d.given_at, d.recorded_at,
    d.due_at, d.ended_at, d.reaction, d.reason, (c.body ->> 'may')::boolean AS may,
    coalesce(d.series_dose, (c.body ->> 'series_dose')::integer) AS series_dose
FROM rm_vaccination.dose d
LEFT JOIN rm_vaccination.record c ON c.kind = 'check' AND c.id = d.fact_id
WHERE d.region_code LIKE %(region)s || '%%' AND (d.given_at, d.fact_id) > (%(after_at)s, %(after_id)s)
    AND (%(site_id)s::text IS NULL OR d.site_id = %(site_id)s)
    AND (%(observed)s::boolean IS NULL OR (d.ended_at IS NULL) = %(observed)s)
    AND NOT EXISTS (SELECT FROM rm_vaccination.withdrawn w
                    WHERE w.fact_id = d.fact_id AND w.site_id = d.site_id)
ORDER BY d.given_at, d.fact_id LIMIT %(limit)s

-- name: lock_code
-- One check of a code at a time (the first number is arbitrary, fixed).
SELECT pg_advisory_lock(7203407, hashtext(%s))

-- name: unlock_code
SELECT pg_advisory_unlock(7203407, hashtext(%s))

-- name: open_checks
-- Checks since a moment that keep a dose of a code, or another for a person; but for those whose
-- person was checked for another vial of the product after them, at the same place: what another
-- place checks frees nothing here.
SELECT o.check_id, o.site_id, o.code, o.recipient, o.product_id, o.checked_at
FROM rm_vaccination.open_check o
WHERE o.checked_at > %(since)s AND (o.code = %(code)s OR o.recipient = %(recipient)s)
    AND NOT EXISTS (SELECT FROM rm_vaccination.open_check n
                    WHERE n.recipient = o.recipient AND n.product_id = o.product_id
                        AND n.site_id = o.site_id AND n.position > o.position)

-- name: overdue
-- By place and hour: people whose dose was checked here and told in time, and whom nobody let go.
SELECT d.site_id, d.region_code, floor(extract(epoch FROM d.due_at) / 3600)::bigint AS hour,
    count(*) AS people, min(d.due_at) AS since
FROM rm_vaccination.dose d
JOIN rm_vaccination.record c ON c.kind = 'check' AND c.id = d.fact_id
WHERE d.ended_at IS NULL AND d.due_at > %(since)s AND d.due_at <= %(until)s
    AND d.recorded_at <= d.due_at
    AND NOT EXISTS (SELECT FROM rm_vaccination.withdrawn w
                    WHERE w.fact_id = d.fact_id AND w.site_id = d.site_id)
GROUP BY 1, 2, 3

-- name: given
SELECT d.fact_id, d.site_id, d.codes, coalesce(d.series_dose, (c.body ->> 'series_dose')::integer), d.given_at
FROM rm_vaccination.dose d
LEFT JOIN rm_vaccination.record c ON c.kind = 'check' AND c.id = d.fact_id
WHERE d.recipient = %s AND d.recipient <> ''
    AND NOT EXISTS (SELECT FROM rm_vaccination.withdrawn w
                    WHERE w.fact_id = d.fact_id AND w.site_id = d.site_id)
ORDER BY d.given_at, d.fact_id
