-- name: ddl
-- `finding`: one code that shows one kind, from the position where that was known (`since`) until
-- the one where facts took it back (`gone`); findings of one `case_id` are one case. `subject`: what
-- was looked at (a code, a fact, a bill, a declaration, a stocktaking), `top`: the code scanned, `k`: the smallest
-- pack in it, or the pack itself that stands for all `units` in it. The rest is what must be known
-- beside facts: `movement`: what was said on bills; `place`, `excursion`: with every change;
-- `declared`: when the ledger learned of a withdrawal; `act`: what people did with a case.
CREATE TABLE finding (
    case_id text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    top int8,
    k int8,
    units int4 NOT NULL,
    t_ms int8 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    fact_ids text[] NOT NULL,
    since int8 NOT NULL,
    since_ms int8 NOT NULL,
    gone int8,
    gone_ms int8
);
CREATE INDEX ON finding (case_id);
CREATE INDEX ON finding (subject);
CREATE INDEX ON finding (top);
CREATE INDEX ON finding (k);
CREATE INDEX ON finding (gone);
CREATE INDEX ON scan (lot_id) WHERE step = 105;
CREATE INDEX ON scan (((said::json ->> 'details')::json ->> 'recall_id')) WHERE step = 105;
CREATE INDEX ON withdrawal USING gin (corrective_fact_ids) WITH (fastupdate = off);
CREATE TABLE movement (
    position int8 PRIMARY KEY,
    step int2 NOT NULL,
    bill_no text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    vehicle_id text COLLATE "C" NOT NULL,
    codes int4 NOT NULL
);
CREATE INDEX ON movement (bill_no) WHERE bill_no <> '';
CREATE INDEX ON movement (device_id) WHERE device_id <> '';
CREATE INDEX ON movement (vehicle_id) WHERE vehicle_id <> '';
CREATE TABLE place (
    site_id text COLLATE "C" NOT NULL,
    position int8 NOT NULL,
    org_code text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    latitude float8,
    longitude float8,
    PRIMARY KEY (site_id, position)
);
CREATE TABLE excursion (
    key text COLLATE "C" NOT NULL,
    position int8 NOT NULL,
    device_id text NOT NULL,
    unit_id text NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    start_ms int8 NOT NULL,
    end_ms int8 NOT NULL,
    limit_c float8 NOT NULL,
    peak_c float8 NOT NULL,
    PRIMARY KEY (key, position)
);
CREATE INDEX ON excursion (site_id);
CREATE INDEX ON excursion (position);
CREATE TABLE probe_place (
    unit_id text COLLATE "C" NOT NULL,
    position int8 NOT NULL,
    since_ms int8 NOT NULL,
    PRIMARY KEY (unit_id, position)
);
CREATE TABLE mobile (unit_id text COLLATE "C" PRIMARY KEY);
CREATE TABLE declared (
    fact_id text COLLATE "C" NOT NULL,
    position int8 PRIMARY KEY,
    recorded_ms int8 NOT NULL
);
CREATE INDEX ON declared (fact_id);
CREATE TABLE act (
    case_id text COLLATE "C" NOT NULL,
    position int8 NOT NULL,
    act text NOT NULL,
    at_ms int8 NOT NULL,
    actor_id text NOT NULL,
    org_code text NOT NULL,
    resolution text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (case_id, position)
)

-- name: put_place
INSERT INTO place VALUES (%s, %s, %s, %s, %s, %s)

-- name: change_place
INSERT INTO place
SELECT site_id, %(position)s, org_code, region_code, %(latitude)s, %(longitude)s FROM place
WHERE site_id = %(site_id)s ORDER BY position DESC LIMIT 1

-- name: put_excursion
INSERT INTO excursion VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: put_mobile
INSERT INTO mobile VALUES (%s) ON CONFLICT DO NOTHING

-- name: put_alert
INSERT INTO excursion
SELECT %(key)s, %(position)s, %(device_id)s, %(unit_id)s,
    CASE WHEN EXISTS (SELECT FROM mobile WHERE unit_id = %(unit_id)s) THEN '' ELSE %(site_id)s END,
    %(start_ms)s, %(end_ms)s, %(limit_c)s, %(peak_c)s

-- name: change_alert
INSERT INTO excursion
SELECT key, %(position)s, device_id, unit_id, site_id, coalesce(%(start_ms)s, start_ms),
    %(end_ms)s, limit_c, coalesce(%(peak_c)s, peak_c)
FROM excursion WHERE key = %(key)s ORDER BY position DESC LIMIT 1

-- name: excursions_told
-- What was said of excursions at these positions, up to the latest end that was ever said of them.
SELECT e.site_id, e.unit_id, e.device_id,
    (SELECT max(o.end_ms) FROM excursion o WHERE o.key = e.key)
FROM excursion e WHERE e.position = ANY(%s)

-- name: put_probe
-- Since when a probe stood in a unit, where that is earlier than was known.
INSERT INTO probe_place SELECT %(unit)s, %(at)s, %(ms)s
WHERE NOT EXISTS (SELECT FROM probe_place WHERE unit_id = %(unit)s AND since_ms <= %(ms)s)

-- name: put_declared
INSERT INTO declared VALUES (%s, %s, %s)

-- name: put_act
INSERT INTO act VALUES (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: copy_movement
COPY movement (position, step, bill_no, device_id, vehicle_id, codes) FROM STDIN

-- name: copy_finding
COPY finding (case_id, subject, kind, key, top, k, units, t_ms, site_id, fact_ids, since, since_ms,
    gone, gone_ms) FROM STDIN

-- name: end_findings
UPDATE finding f SET gone = v.gone, gone_ms = v.gone_ms
FROM unnest(%s::tid[], %s::int8[], %s::int8[]) AS v (row, gone, gone_ms) WHERE f.ctid = v.row

-- name: alive
SELECT ctid::text, subject, kind, key, top, k, units, t_ms, site_id, fact_ids FROM finding
WHERE subject = ANY(%s) AND gone IS NULL

-- name: subjects_of
SELECT DISTINCT subject FROM finding WHERE top = ANY(%s)

-- name: subjects_inside
-- What was looked at of codes that ever were in these packs.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT c.child FROM down JOIN contain c ON c.parent = down.k
)
SELECT DISTINCT f.subject FROM down JOIN finding f ON f.top = down.k

-- name: ever_inside
-- These packs, and all that ever was in them.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT c.child FROM down JOIN contain c ON c.parent = down.k
)
SELECT k FROM down

-- name: units_left_open
-- The units that these subjects show no balance of, with all packs they ever were in.
WITH RECURSIVE up (k) AS (
    SELECT k FROM finding
    WHERE subject = ANY(%s) AND kind = 'UNEXPLAINED_UNIT' AND gone IS NULL
    UNION
    SELECT c.parent FROM up u JOIN contain c ON c.child = u.k
)
SELECT k FROM up

-- name: any_finding
SELECT EXISTS (SELECT FROM finding)

-- name: places
SELECT site_id, position, latitude, longitude FROM place WHERE site_id = ANY(%s)
ORDER BY site_id, position

-- name: excursions
SELECT key, position, device_id, unit_id, site_id, start_ms, end_ms, limit_c, peak_c
FROM excursion
WHERE site_id = ANY(%(sites)s) OR device_id = ANY(%(devices)s) OR unit_id = ANY(%(devices)s)
ORDER BY key, position

-- name: probes
SELECT unit_id, position, since_ms FROM probe_place WHERE unit_id = ANY(%s)

-- name: bound_lots
SELECT DISTINCT lot_id FROM scan WHERE step >= 110 AND lot_id <> '' AND lot_id = ANY(%s)

-- name: expiring
SELECT lot_id, expires_on, position FROM lot WHERE lot_id = ANY(%s)

-- name: products
SELECT product_id, doses_per_vial, opened_limit_min, position FROM product

-- name: moved_after
-- Codes of a lot that went through one of these steps after something was said of the whole lot, by
-- themselves or in a pack that is not of the lot.
WITH RECURSIVE up (k, pack) AS (
    SELECT m.k, c.parent FROM mixed m JOIN contain c ON c.child = m.k WHERE m.lot_id = %(lot)s
    UNION
    SELECT u.k, c.parent FROM up u JOIN contain c ON c.child = u.pack
)
SELECT k FROM fact WHERE lot_id = %(lot)s AND step = ANY(%(steps)s) AND t_ms >= %(since_ms)s
UNION
SELECT u.k FROM up u JOIN fact f ON f.k = u.pack
WHERE f.step = ANY(%(steps)s) AND f.t_ms >= %(since_ms)s

-- name: codes_under
-- Codes that were where a device stood, in its unit elsewhere, or on the way with it, not later than
-- it read wrongly.
SELECT f.k FROM hop h
JOIN fact f ON f.lot_id = h.lot_id AND f.step = h.step AND f.site_id = h.site_id
WHERE %(site_id)s <> '' AND h.site_id = %(site_id)s AND h.first_ms <= %(end_ms)s
  AND f.t_ms <= %(end_ms)s
UNION
-- (What nobody commissioned is in no hop.)
SELECT f.k FROM fact f
WHERE %(site_id)s <> '' AND f.lot_id = '' AND f.step = ANY(%(steps)s)
  AND f.site_id = %(site_id)s AND f.t_ms <= %(end_ms)s
UNION
SELECT f.k FROM scan s JOIN fact f ON f.position = s.position
WHERE %(unit_id)s <> '' AND strpos(s.said, '"unit_id"') > 0
  AND s.said::json ->> 'unit_id' = %(unit_id)s AND s.site_id <> %(site_id)s AND s.t_ms <= %(end_ms)s
UNION
SELECT f.k FROM movement m JOIN fact f ON f.position = m.position
WHERE (m.device_id = %(device_id)s AND m.device_id <> '')
   OR (m.vehicle_id = %(unit_id)s AND m.vehicle_id <> '')

-- name: apart_inside
-- What was ever in these packs and is told of by itself: what left them, and what doses were given of.
WITH RECURSIVE down (k, apart) AS (
    SELECT unnest(%s::int8[]), false
    UNION
    SELECT c.child, d.apart OR c.t1 < 9223372036854775807
    FROM down d JOIN contain c ON c.parent = d.k
)
SELECT DISTINCT k FROM down WHERE apart OR EXISTS (SELECT FROM dose WHERE dose.k = down.k)

-- name: told_before
-- Whether any fact was told before a position.
SELECT EXISTS (SELECT FROM scan WHERE position < %s)

-- name: used_before
-- Codes of products that were opened, given or wasted before a position; ranges of keys.
SELECT DISTINCT f.k FROM unnest(%(lows)s::int8[], %(highs)s::int8[]) AS p (low, high)
JOIN fact f ON f.k BETWEEN p.low AND p.high
WHERE f.step IN (70, 80, 90) AND f.position < %(first)s

-- name: used_before_of
-- The same by what the texts of GS1 codes begin with.
SELECT DISTINCT f.k FROM unnest(%(gtins)s::text[]) AS p (gtin)
JOIN code_text c ON starts_with(c.code, p.gtin)
JOIN fact f ON f.k = c.k
WHERE f.step IN (70, 80, 90) AND f.position < %(first)s

-- name: expired_before
-- Codes of lots that were sent, received or given after a moment, as told before a position.
SELECT DISTINCT f.k FROM unnest(%(lots)s::text[], %(ends)s::int8[]) AS l (lot_id, end_ms)
JOIN fact f ON f.lot_id = l.lot_id AND f.t_ms > l.end_ms
WHERE f.step IN (30, 40, 80) AND f.position < %(first)s

-- name: printed_before
-- Facts by which codes of lots came into being with a day of expiry, told before a position.
SELECT s.fact_id FROM (
    SELECT DISTINCT f.position FROM fact f
    WHERE f.lot_id = ANY(%(lots)s) AND f.step = 10 AND f.position < %(first)s
) f JOIN scan s USING (position) WHERE strpos(s.said, 'expires_on') > 0

-- name: received_before
-- What was received out of units, told before a position.
SELECT s.fact_id FROM movement m JOIN scan s USING (position)
WHERE m.vehicle_id = ANY(%(units)s) AND m.step = 40 AND m.position < %(first)s

-- name: strangers_before
-- Facts at sites that name a partner, and facts that are wrong as they stand by their partner, told
-- before a position.
SELECT s.fact_id FROM (
    SELECT DISTINCT f.position FROM (
        SELECT lot_id, step, site_id FROM hop WHERE site_id = ANY(%(sites)s)
        UNION ALL SELECT '', t, s FROM unnest(%(steps)s::int2[]) t, unnest(%(sites)s::text[]) s
    ) h JOIN fact f USING (lot_id, step, site_id)
    WHERE f.step IN (30, 35, 40, 65) AND f.position < %(first)s
) f JOIN scan s USING (position)
WHERE s.to_site_id <> '' OR strpos(s.said, 'from_site_id') > 0
UNION
SELECT key FROM finding
WHERE gone IS NULL AND kind = 'DATA_ERROR' AND subject = 'f:' || key

-- name: all_places
SELECT site_id, latitude, longitude FROM place

-- name: hurried_before
-- Codes seen at a site and at another sooner than anything gets there (ms), by themselves or with
-- the packs they were in, as told before a position.
WITH RECURSIVE way AS MATERIALIZED (
    SELECT * FROM unnest(%(sites)s::text[], %(others)s::text[], %(ms)s::int8[])
        AS w (site_id, other_id, ms)
), here AS MATERIALIZED (
    SELECT DISTINCT f.k, f.t_ms, f.site_id FROM (
        SELECT lot_id, step, site_id FROM hop WHERE site_id IN (SELECT site_id FROM way)
        UNION ALL
        SELECT '', t, s FROM unnest(%(steps)s::int2[]) t, (SELECT DISTINCT site_id FROM way) w (s)
    ) h JOIN fact f USING (lot_id, step, site_id)
), down (k, t_ms, site_id) AS (
    SELECT * FROM here
    UNION
    SELECT c.child, d.t_ms, d.site_id FROM down d
    JOIN contain c ON c.parent = d.k AND d.t_ms BETWEEN c.t0 AND c.t1
), up (k, pack, t_ms, site_id) AS (
    SELECT k, k, t_ms, site_id FROM here
    UNION
    SELECT u.k, c.parent, u.t_ms, u.site_id FROM up u JOIN contain c ON c.child = u.pack
)
SELECT d.k FROM down d JOIN fact f ON f.k = d.k
JOIN way w ON w.site_id = d.site_id AND w.other_id = f.site_id
    AND f.t_ms BETWEEN d.t_ms AND d.t_ms + w.ms
UNION
SELECT u.k FROM up u JOIN fact f ON f.k = u.pack
JOIN way w ON w.site_id = u.site_id AND w.other_id = f.site_id
    AND f.t_ms BETWEEN u.t_ms - w.ms AND u.t_ms

-- name: both_sides
-- Bills with something sent and something received, unless all of it was one and the same code.
WITH bill AS MATERIALIZED (
    SELECT m.bill_no, array_agg(m.position) AS positions, count(*) > 2 OR max(m.codes) > 1 AS many
    FROM movement m WHERE m.bill_no = ANY(%s)
    GROUP BY m.bill_no HAVING bool_or(m.step IN (30, 35)) AND bool_or(m.step = 40)
)
SELECT bill_no FROM bill WHERE many
UNION ALL
SELECT b.bill_no FROM bill b CROSS JOIN unnest(b.positions) AS at (position)
JOIN fact f USING (position) WHERE NOT b.many
GROUP BY b.bill_no HAVING min(f.k) <> max(f.k)

-- name: bills_of
SELECT DISTINCT m.bill_no FROM fact f JOIN movement m ON m.position = f.position
WHERE f.k = ANY(%s) AND m.bill_no <> ''

-- name: corrected_by
SELECT fact_id FROM withdrawal WHERE corrective_fact_ids && %s

-- name: withdrawn_at
-- Facts, with the lot where they speak of a whole one.
SELECT fact_id, CASE WHEN step >= 110 THEN lot_id ELSE '' END, t_ms FROM scan
WHERE position = ANY(%s)

-- name: scans
SELECT * FROM scan WHERE fact_id = ANY(%s)

-- name: codes_of_facts
SELECT s.fact_id, f.k FROM scan s JOIN fact f ON f.position = s.position
WHERE s.fact_id = ANY(%s)

-- name: codes_of_bills
SELECT m.bill_no, f.k FROM movement m JOIN fact f ON f.position = m.position
WHERE m.bill_no = ANY(%s)

-- name: declarations
SELECT w.fact_id, w.declared_at, w.corrective_fact_ids, d.recorded_ms, d.position
FROM withdrawal w JOIN declared d ON d.fact_id = w.fact_id AND d.position = w.position
WHERE w.fact_id = ANY(%s)

-- name: lot_facts
SELECT * FROM scan WHERE step >= 110 AND lot_id <> '' AND lot_id = ANY(%s)

-- name: family
-- The facts of codes, of all that was ever in them, and of all that ever held any of these. (OFFSET 0
-- keeps each look one by an index: how many codes a recursion finds is guessed far too high, and
-- whole tables would be walked.)
WITH RECURSIVE down (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT x.k FROM down CROSS JOIN LATERAL (
        SELECT c.child AS k FROM contain c WHERE c.parent = down.k
        UNION ALL
        SELECT inner_fact.k FROM fact own
        JOIN fact inner_fact ON inner_fact.position = own.position AND inner_fact.parent = own.k
        WHERE own.k = down.k AND own.as_parent
    ) x
), up (k) AS (
    SELECT k FROM down
    UNION
    SELECT f.parent FROM up CROSS JOIN LATERAL (
        SELECT parent FROM fact WHERE fact.k = up.k AND parent IS NOT NULL OFFSET 0
    ) f
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
CROSS JOIN LATERAL (SELECT * FROM fact WHERE fact.k = up.k OFFSET 0) f
CROSS JOIN LATERAL (
    SELECT * FROM scan WHERE scan.position = f.position OFFSET 0
) s

-- name: lost
SELECT DISTINCT k FROM rm_traceability.finding
WHERE kind = 'DATA_WITHOUT_PRODUCT' AND k = ANY(%(codes)s) AND since <= %(at)s
  AND (gone IS NULL OR gone > %(at)s)

-- name: units_of_lot
-- The smallest packs by where they stand, their keys as one column of big-endian 64-bit values.
SELECT parent, site_id, status, held, string_agg(int8send(k), ''::bytea)
FROM rm_traceability.node WHERE lot_id = %s AND level = 1 GROUP BY parent, site_id, status, held

-- name: packs_of_lot
SELECT k, parent, site_id, status, held FROM rm_traceability.node WHERE lot_id = %s AND level > 1

-- name: recalled_apart
-- Whether codes of a lot, or packs that hold some, are recalled by themselves, or the tables tell of
-- later than a position.
SELECT EXISTS (SELECT FROM rm_traceability.node WHERE lot_id = %(lot)s AND recalled)
    OR EXISTS (SELECT FROM rm_traceability.node WHERE k = ANY(%(packs)s) AND recalled)
    OR EXISTS (SELECT FROM follower_tracking
               WHERE application_name = 'ledger.traceability' AND notification_id > %(at)s)

-- name: nodes_above
-- Packs of other lots, or of none, that hold packs of a lot, and what holds them.
WITH RECURSIVE up (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT n.parent FROM up JOIN rm_traceability.node n ON n.k = up.k WHERE n.parent IS NOT NULL
)
SELECT n.k, n.parent, n.site_id, n.status, n.held
FROM up JOIN rm_traceability.node n ON n.k = up.k

-- name: doses_of_lot
SELECT d.k, d.site_id, d.t_ms, d.recipient, s.fact_id
FROM rm_traceability.dose d JOIN rm_traceability.scan s ON s.position = d.position
WHERE d.lot_id = %s ORDER BY d.t_ms, d.k, s.fact_id COLLATE "C"

-- name: orders_of_lot
SELECT * FROM rm_traceability.scan WHERE step >= 110 AND lot_id = %s AND lot_id <> ''

-- name: acknowledged
SELECT * FROM rm_traceability.scan
WHERE step = 105 AND (lot_id = %(lot)s
    OR (said::json ->> 'details')::json ->> 'recall_id' = ANY(%(orders)s))

-- name: lots_of_number
SELECT lot_id FROM rm_traceability.lot WHERE lot_number = %s ORDER BY lot_id
