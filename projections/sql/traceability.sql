-- name: tables
-- `scan`: what was said once (`said`: particulars by name, JSON); `fact`: the codes it named (k = key of a code, see domain/traceability/
-- codes.py); `contain`: stays in packs, ms, ±2^63 where open; `node`: the present of each code, with
-- no place of its own inside a pack; `code_text`: codes whose key is a hash; `withdrawal`: what was
-- declared about a fact of this id at this site, known already or not.
CREATE TABLE product (
    product_id text PRIMARY KEY,
    name text NOT NULL,
    name_en text NOT NULL,
    specification text NOT NULL,
    holder text NOT NULL,
    doses_per_vial int4 NOT NULL,
    temperature_c_min float8 NOT NULL,
    temperature_c_max float8 NOT NULL,
    freeze_sensitive bool NOT NULL,
    opened_limit_min int4,
    middle_pack_size int4 NOT NULL,
    case_size int4 NOT NULL,
    trade_name text NOT NULL,
    form text NOT NULL,
    approval_no text NOT NULL,
    producer text NOT NULL,
    programme bool,
    position int8 NOT NULL
);
CREATE TABLE lot (
    lot_id text PRIMARY KEY,
    product_id text NOT NULL,
    lot_number text NOT NULL,
    produced_on date,
    expires_on date NOT NULL,
    lot_release_no text NOT NULL,
    quantity int8,
    position int8 NOT NULL
);
CREATE TABLE scan (
    position int8 NOT NULL,
    fact_id text NOT NULL,
    step int2 NOT NULL,
    t_ms int8 NOT NULL,
    recorded_ms int8 NOT NULL,
    withdrawn_position int8,
    site_id text NOT NULL,
    to_site_id text NOT NULL,
    lot_id text NOT NULL,
    said text NOT NULL
);
CREATE TABLE fact (
    k int8 NOT NULL,
    t_ms int8 NOT NULL,
    position int8 NOT NULL,
    parent int8,
    as_parent bool NOT NULL,
    step int2 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    lot_id text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 10000);
CREATE TABLE withdrawal (
    fact_id text NOT NULL,
    position int8 NOT NULL,
    site_id text NOT NULL,
    reason text NOT NULL,
    declared_at timestamptz NOT NULL,
    corrective_fact_ids text[] NOT NULL,
    PRIMARY KEY (fact_id, site_id)
);
CREATE TABLE contain (
    child int8 NOT NULL,
    parent int8 NOT NULL,
    t0 int8 NOT NULL,
    t1 int8 NOT NULL
);
CREATE TABLE node (
    k int8 NOT NULL,
    lot_id text COLLATE "C" NOT NULL,
    level int2 NOT NULL,
    declared_level int2,
    parent int8,
    site_id text COLLATE "C" NOT NULL,
    unit_id text NOT NULL,
    status text,
    held bool NOT NULL,
    recalled bool NOT NULL,
    doses_given int8 NOT NULL,
    doses_wasted int8 NOT NULL,
    since_ms int8,
    flags text[] NOT NULL
);
CREATE TABLE code_text (k int8 PRIMARY KEY, code text NOT NULL);
CREATE TABLE hop (
    lot_id text COLLATE "C" NOT NULL,
    step int2 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    packs int8 NOT NULL,
    first_ms int8 NOT NULL,
    last_ms int8 NOT NULL,
    PRIMARY KEY (lot_id, step, site_id)
) WITH (fillfactor = 80);
CREATE TABLE dose (
    k int8 NOT NULL,
    lot_id text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    t_ms int8 NOT NULL,
    position int8 NOT NULL,
    dose_number int4,
    recipient text NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 10000);
CREATE TABLE mixed (lot_id text COLLATE "C" NOT NULL, k int8 NOT NULL, PRIMARY KEY (lot_id, k));
CREATE INDEX ON mixed (k)

-- name: indexes
-- Of the tables that grow with the facts: a rebuild in bulk makes them when these are filled.
ALTER TABLE scan ADD PRIMARY KEY (position);
ALTER TABLE scan ADD UNIQUE (fact_id);
CREATE INDEX ON scan (lot_id) WHERE step >= 110 AND lot_id <> '';
CREATE INDEX ON scan ((said::json ->> 'unit_id')) WHERE strpos(said, '"unit_id"') > 0;
CREATE INDEX ON fact (k, t_ms, position) INCLUDE (parent, as_parent, step, site_id, lot_id);
CREATE INDEX ON fact (lot_id, step, site_id, t_ms) INCLUDE (k, position, parent, as_parent);
CREATE INDEX ON fact (parent) WHERE parent IS NOT NULL;
CREATE INDEX ON fact USING brin (position) WITH (pages_per_range = 16);
CREATE INDEX ON contain (child, t0) INCLUDE (parent, t1);
CREATE INDEX ON contain (parent, t0) INCLUDE (child, t1);
CREATE INDEX ON node (lot_id) INCLUDE (k, level, parent, site_id, status, held);
CREATE INDEX ON node (lot_id) WHERE recalled;
CREATE INDEX ON node (parent) WHERE parent IS NOT NULL;
CREATE INDEX ON node (site_id, lot_id) WHERE parent IS NULL;
CREATE INDEX ON dose (lot_id, site_id) INCLUDE (k, t_ms, position, dose_number, recipient);
CREATE INDEX ON dose (k);
ALTER TABLE node ADD PRIMARY KEY (k)

-- name: keep_product
INSERT INTO product
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (product_id) DO NOTHING

-- name: keep_lot
INSERT INTO lot VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (lot_id) DO NOTHING

-- name: keep_withdrawal
-- A second declaration about the same fact changes nothing.
INSERT INTO withdrawal VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (fact_id, site_id) DO NOTHING

-- name: known_facts
SELECT fact_id FROM scan WHERE fact_id = ANY(%s::text[])

-- name: copy_scan
COPY scan (position, fact_id, step, t_ms, recorded_ms, withdrawn_position, site_id, to_site_id,
    lot_id, said) FROM STDIN

-- name: copy_fact
COPY fact (k, t_ms, position, parent, as_parent, step, site_id, lot_id) FROM STDIN

-- name: copy_contain
COPY contain (child, parent, t0, t1) FROM STDIN

-- name: copy_node
COPY node (k, lot_id, level, declared_level, parent, site_id, unit_id, status, held, recalled,
    doses_given, doses_wasted, since_ms, flags) FROM STDIN

-- name: keep_code_texts
INSERT INTO code_text SELECT * FROM unnest(%s::int8[], %s::text[]) ON CONFLICT (k) DO NOTHING

-- name: code_texts
SELECT k, code FROM code_text WHERE k = ANY(%s)

-- name: any_withdrawal
SELECT EXISTS (SELECT FROM withdrawal)

-- name: withdraw
-- A declaration may come before its fact, so both sides are looked at.
UPDATE scan s SET withdrawn_position = w.position FROM withdrawal w
WHERE w.fact_id = s.fact_id AND w.site_id = s.site_id AND s.withdrawn_position IS NULL AND s.fact_id = ANY(%s)
RETURNING s.position

-- name: codes_at
SELECT f.k, f.t_ms, f.position FROM fact f WHERE f.position = ANY(%b)

-- name: dosed_nodes
-- Codes whose doses were counted before their product was known.
SELECT n.k FROM node n LEFT JOIN code_text c ON c.k = n.k
WHERE n.doses_given + n.doses_wasted > 0
  AND (n.k BETWEEN %(low)s AND %(high)s OR starts_with(c.code, %(gtin)s))

-- name: nodes
SELECT k, lot_id, level, declared_level, parent, site_id, unit_id, status, held, recalled,
    doses_given, doses_wasted, since_ms, flags FROM node WHERE k = ANY(%b)

-- name: nodes_among
-- The same of many keys.
SELECT k, lot_id, level, declared_level, parent, site_id, unit_id, status, held, recalled,
    doses_given, doses_wasted, since_ms, flags FROM node WHERE k = ANY(%s::int8[])

-- name: left_packs
-- What a fact about a pack changes: contents that have left it since (what is still inside has the
-- pack's place by itself), were scanned by themselves since, show something already, or are bound by
-- a hold that does not bind the pack; all contents where the facts about staying inside changed.
WITH RECURSIVE below (k, t_ms, touched) AS (
    SELECT c.child, u.t_ms, u.stays OR c.t1 < 9223372036854775807
    FROM unnest(%b::int8[], %b::int8[], %b::bool[]) AS u (k, t_ms, stays)
    JOIN contain c ON c.parent = u.k AND c.t1 >= u.t_ms
    UNION
    SELECT c.child, b.t_ms, b.touched OR c.t1 < 9223372036854775807
    FROM below b JOIN contain c ON c.parent = b.k AND c.t1 >= b.t_ms
)
SELECT DISTINCT b.k FROM below b
WHERE touched
    OR EXISTS (SELECT FROM fact f WHERE f.k = b.k AND f.t_ms >= b.t_ms)
    OR EXISTS (SELECT FROM finding f WHERE f.top = b.k AND f.gone IS NULL)
    OR EXISTS (SELECT FROM node n WHERE n.k = b.k AND n.held)
    OR EXISTS (
        SELECT FROM mixed m JOIN scan s ON s.lot_id = m.lot_id AND s.lot_id <> '' AND s.step >= 110
        WHERE m.k = b.k
    )

-- name: mentions_upwards
-- The facts of codes and of every pack that ever held them, told before a position.
-- (OFFSET 0: by the indexes, also where nothing is known yet of how many rows there are.)
WITH RECURSIVE up (k) AS (
    SELECT unnest(%(codes)s::int8[])
    UNION
    SELECT f.parent FROM up CROSS JOIN LATERAL (
        SELECT parent FROM fact WHERE fact.k = up.k AND parent IS NOT NULL OFFSET 0
    ) f
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up CROSS JOIN LATERAL (
    SELECT * FROM fact WHERE fact.k = up.k AND position < %(first)s OFFSET 0
) f CROSS JOIN LATERAL (SELECT * FROM scan WHERE scan.position = f.position OFFSET 0) s

-- name: any_place
SELECT EXISTS (SELECT FROM place)

-- name: movements_of
SELECT bill_no, step, position, codes FROM movement WHERE bill_no = ANY(%s)

-- name: vials
SELECT product_id, doses_per_vial, opened_limit_min FROM product

-- name: strange_facts
-- Facts that came before the commissioning of their code, or a commissioning that was withdrawn.
-- A commissioning itself keeps the lot it named: so that lot's past can still be told.
SELECT DISTINCT f.lot_id, f.step, f.site_id, v.lot_id
FROM unnest(%b::int8[], %b::text[]) AS v (k, lot_id) JOIN fact f ON f.k = v.k
WHERE f.lot_id <> v.lot_id AND f.step <> 10

-- name: relot
UPDATE fact f SET lot_id = v.lot_id FROM unnest(%b::int8[], %b::text[]) AS v (k, lot_id)
WHERE f.k = v.k AND f.lot_id <> v.lot_id AND f.step <> 10

-- name: hops_at
SELECT DISTINCT lot_id, step, site_id FROM fact WHERE position = ANY(%b)

-- name: add_hops
INSERT INTO hop SELECT *
FROM unnest(%s::text[], %s::int2[], %s::text[], %s::int8[], %s::int8[], %s::int8[])
ON CONFLICT (lot_id, step, site_id) DO UPDATE SET packs = hop.packs + excluded.packs,
    first_ms = least(hop.first_ms, excluded.first_ms),
    last_ms = greatest(hop.last_ms, excluded.last_ms)

-- name: forget_hops
DELETE FROM hop h USING unnest(%s::text[], %s::int2[], %s::text[]) AS v (lot_id, step, site_id)
WHERE h.lot_id = v.lot_id AND h.step = v.step AND h.site_id = v.site_id

-- name: count_hops
INSERT INTO hop
SELECT f.lot_id, f.step, f.site_id, count(DISTINCT f.k), min(f.t_ms), max(f.t_ms)
FROM unnest(%s::text[], %s::int2[], %s::text[]) AS v (lot_id, step, site_id)
JOIN fact f USING (lot_id, step, site_id)
JOIN scan s ON s.position = f.position AND s.withdrawn_position IS NULL
WHERE f.lot_id <> '' GROUP BY f.lot_id, f.step, f.site_id

-- name: copy_dose
COPY dose (k, lot_id, site_id, t_ms, position, dose_number, recipient) FROM STDIN

-- name: forget_doses
DELETE FROM dose WHERE k = ANY(%s)

-- name: read_doses
INSERT INTO dose
SELECT f.k, f.lot_id, f.site_id, f.t_ms, f.position, (s.said::json ->> 'dose_number')::int4,
    coalesce(s.said::json ->> 'recipient', '')
FROM fact f JOIN scan s ON s.position = f.position AND s.withdrawn_position IS NULL
WHERE f.k = ANY(%s) AND f.step = 80

-- name: forget_mixed
DELETE FROM mixed WHERE k = ANY(%b)

-- name: find_mixed
INSERT INTO mixed
SELECT DISTINCT n.lot_id, n.k
FROM node n JOIN contain c ON c.child = n.k LEFT JOIN node p ON p.k = c.parent
WHERE n.k = ANY(%b) AND n.lot_id <> '' AND p.lot_id IS DISTINCT FROM n.lot_id

-- name: contents_of
SELECT child FROM contain WHERE parent = ANY(%b)

-- name: packs_among
SELECT DISTINCT parent FROM contain WHERE parent = ANY(%s)

-- name: stays
SELECT child, parent, t0, t1 FROM contain WHERE child = ANY(%b)

-- name: forget_stays
DELETE FROM contain WHERE child = ANY(%b)

-- name: forget_nodes
DELETE FROM node WHERE k = ANY(%b)

-- name: relevel
-- The level of a pack: as commissioned, else one more than that of its contents; what ever held
-- something was no smallest pack.
UPDATE node n SET level = v.level
FROM (
    SELECT p.k, CASE WHEN p.declared_level > 1 THEN p.declared_level
        ELSE least(1 + coalesce(max(c.level), 0), 9) END AS level
    FROM node p LEFT JOIN contain x ON x.parent = p.k LEFT JOIN node c ON c.k = x.child
    WHERE p.k = ANY(%b) GROUP BY p.k, p.declared_level
) v
WHERE n.k = v.k AND n.level <> v.level
RETURNING n.k

-- name: parents_of
SELECT DISTINCT parent FROM contain WHERE child = ANY(%s)
