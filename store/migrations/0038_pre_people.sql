-- Persons who are told of alerts, when they are on duty, and their leave. Names and addresses are
-- personal data: rows. Who was on duty when is told in the ledger as well, by ids alone.
--
-- `key_id`: the key by which a person uses the interface.
CREATE TABLE person (
    person_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    locale text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" UNIQUE
);

-- A recipient of a person is one of their contacts: `rank` orders them, and where and of what the
-- person is told, duties say. `failed_at`: nothing has reached it since. One address is of one
-- person, or two of three people would be the same.
ALTER TABLE recipient
    ADD COLUMN person_id text COLLATE "C" REFERENCES person ON DELETE CASCADE,
    ADD COLUMN rank integer NOT NULL DEFAULT 1,
    ADD COLUMN failed_at timestamptz;
CREATE INDEX recipient_person_idx ON recipient (person_id, rank) WHERE person_id IS NOT NULL;
CREATE UNIQUE INDEX recipient_contact_idx
    ON recipient (channel, regexp_replace(lower(address), '^\+86', '')) WHERE person_id IS NOT NULL;

-- Who is told of a region, or of one of its sites, from `level` on, in a period (`ends_at` null:
-- until further notice); the deputy in their place while they are on leave.
CREATE TABLE duty (
    duty_id text COLLATE "C" PRIMARY KEY,
    person_id text COLLATE "C" NOT NULL REFERENCES person ON DELETE CASCADE,
    deputy_id text COLLATE "C" REFERENCES person ON DELETE SET NULL,
    region_code text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    level integer NOT NULL,
    severity_min text NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz
);
CREATE INDEX duty_place_idx ON duty (region_code, site_id);
CREATE INDEX duty_person_idx ON duty (person_id);
CREATE INDEX duty_deputy_idx ON duty (deputy_id);

CREATE TABLE person_leave (
    leave_id text COLLATE "C" PRIMARY KEY,
    person_id text COLLATE "C" NOT NULL REFERENCES person ON DELETE CASCADE,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL
);
CREATE INDEX person_leave_idx ON person_leave (person_id);

-- Trial calls of whole chains, until they are reported and after.
CREATE TABLE trial_call (
    call_id text COLLATE "C" PRIMARY KEY,
    alert_id uuid NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    made_at timestamptz NOT NULL,
    made_by text NOT NULL,
    person_ids text[] NOT NULL,
    reported_at timestamptz
);
CREATE INDEX trial_call_open_idx ON trial_call (made_at) WHERE reported_at IS NULL;

ALTER TABLE delivery ADD COLUMN person_id text COLLATE "C";
CREATE INDEX delivery_person_idx ON delivery (created_at) WHERE person_id IS NOT NULL;

-- The region codes whose people are told of what is in a region: its own, its city's, its
-- province's, the country's.
CREATE FUNCTION regions_over(region text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[region, left(region, 4) || '00', left(region, 2) || '0000', '000000']
$$;

-- Who holds which duty at a moment: the person, or the deputy while the person is on leave; nobody
-- where both are. Inlined where it is asked.
CREATE FUNCTION on_duty(at timestamptz) RETURNS TABLE (
    duty_id text, person_id text, holder_id text, region_code text, site_id text, level integer,
    severity_min text, ends_at timestamptz
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT d.duty_id, w.person_id, d.person_id, d.region_code, d.site_id, d.level, d.severity_min,
        d.ends_at
    FROM duty d CROSS JOIN LATERAL (
        SELECT p.person_id FROM (VALUES (d.person_id, 1), (d.deputy_id, 2)) p(person_id, turn)
        WHERE p.person_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM person_leave l
            WHERE l.person_id = p.person_id AND l.begins_at <= at AND l.ends_at > at)
        ORDER BY p.turn LIMIT 1) w
    WHERE d.begins_at <= at AND (d.ends_at IS NULL OR d.ends_at > at)
$$;

REVOKE ALL ON FUNCTION regions_over(text), on_duty(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION regions_over(text), on_duty(timestamptz) TO vaxtrail_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON person, duty, person_leave, trial_call TO vaxtrail_app;
