-- name: ddl
-- `finding`: one code that shows one kind, from the position where that was known (`since`) until
-- the one where facts took it back (`gone`); findings of one `case_id` are one case. `subject`: what
-- was looked at (a code, a fact, a bill, a declaration), `top`: the code scanned, `k`: the smallest
-- pack in it. The rest is what must be known beside facts: `movement`: what was said on bills;
-- `place`, `excursion`: with every change; `declared`: when the ledger learned of a withdrawal;
-- `act`: what people did with a case.
CREATE TABLE finding (
    case_id text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    top int8,
    k int8,
    t_ms int8 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    fact_ids text[] NOT NULL,
    since int8 NOT NULL,
    since_ms int8 NOT NULL,
    gone int8,
    gone_ms int8
);
CREATE INDEX ON finding (case_id);
CREATE INDEX ON finding (subject) WHERE gone IS NULL;
CREATE INDEX ON finding (top);
CREATE INDEX ON finding (k);
CREATE INDEX ON finding (kind);
CREATE INDEX ON scan (step) WHERE step = 105;
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
    unit_id text COLLATE "C" PRIMARY KEY,
    position int8 NOT NULL
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
INSERT INTO probe_place VALUES (%s, %s) ON CONFLICT (unit_id) DO NOTHING

-- name: put_declared
INSERT INTO declared VALUES (%s, %s, %s)

-- name: put_act
INSERT INTO act VALUES (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: copy_movement
COPY movement (position, step, bill_no, device_id, vehicle_id, codes) FROM STDIN

-- name: copy_finding
COPY finding (case_id, subject, kind, key, top, k, t_ms, site_id, fact_ids, since, since_ms, gone,
    gone_ms) FROM STDIN

-- name: end_findings
UPDATE finding f SET gone = v.gone, gone_ms = v.gone_ms
FROM unnest(%s::tid[], %s::int8[], %s::int8[]) AS v (row, gone, gone_ms) WHERE f.ctid = v.row

-- name: alive
SELECT ctid::text, subject, kind, key, top, k, t_ms, site_id, fact_ids FROM finding
WHERE subject = ANY(%s) AND gone IS NULL

-- name: subjects_of
SELECT DISTINCT subject FROM finding WHERE top = ANY(%s)

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
SELECT unit_id, position FROM probe_place WHERE unit_id = ANY(%s)

-- name: bound_lots
SELECT DISTINCT lot_id FROM scan WHERE step >= 110 AND lot_id <> '' AND lot_id = ANY(%s)

-- name: expiring
SELECT lot_id, expires_on, position FROM lot WHERE lot_id = ANY(%s)

-- name: products
SELECT product_id, doses_per_vial, opened_limit_min, position FROM product

-- name: moved_after
-- Codes of a lot that went through one of these steps after something was said of the whole lot.
SELECT DISTINCT k FROM fact WHERE lot_id = %s AND step = ANY(%s) AND t_ms >= %s

-- name: codes_under
-- Codes that were where a device stood, or on the way with it, not later than it read wrongly.
SELECT f.k FROM hop h
JOIN fact f ON f.lot_id = h.lot_id AND f.step = h.step AND f.site_id = h.site_id
WHERE %(site_id)s <> '' AND h.site_id = %(site_id)s AND h.first_ms <= %(end_ms)s
  AND f.t_ms <= %(end_ms)s
UNION
SELECT f.k FROM movement m JOIN fact f ON f.position = m.position
WHERE (m.device_id = %(device_id)s AND m.device_id <> '')
   OR (m.vehicle_id = %(unit_id)s AND m.vehicle_id <> '')

-- name: given_inside
-- Codes that doses were given of, in or out of these packs.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT c.child FROM down JOIN contain c ON c.parent = down.k
)
SELECT DISTINCT k FROM down JOIN dose USING (k)

-- name: both_sides
-- Bills with something sent and something received, unless all of it was one and the same code.
SELECT m.bill_no FROM movement m WHERE m.bill_no = ANY(%s)
GROUP BY m.bill_no
HAVING bool_or(m.step IN (30, 35)) AND bool_or(m.step = 40)
   AND (count(*) > 2 OR max(m.codes) > 1 OR (
       SELECT count(DISTINCT f.k) FROM fact f WHERE f.position = ANY(array_agg(m.position))
   ) > 1)

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
-- The facts of codes, of all that was ever in them, and of all that ever held any of these.
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
    SELECT f.parent FROM up JOIN fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up JOIN fact f ON f.k = up.k JOIN scan s ON s.position = f.position

-- name: cases
-- Cases as known at a position, by the time they are due. General kinds give way to telling ones of
-- the same code and fact; numbers without a code to the codes that are missing on their bill. A case
-- is open since it first stood without a break.
WITH known AS (
    SELECT f.case_id, f.kind, f.key, f.k, f.t_ms, f.site_id, f.since, f.since_ms, f.gone_ms,
        f.gone IS NULL OR f.gone > %(at)s AS stands,
        f.since > max(coalesce(f.gone, 9223372036854775807)) OVER (
            PARTITION BY f.case_id ORDER BY f.since
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) IS NOT FALSE AS begins
    FROM rm_traceability.finding f
    WHERE f.since <= %(at)s
      AND (%(case_id)s::text IS NULL OR f.case_id = %(case_id)s)
      AND f.kind = ANY(%(kinds)s)
      AND NOT (f.kind = ANY(%(general)s) AND EXISTS (
          SELECT FROM rm_traceability.finding t
          WHERE t.kind = ANY(%(telling)s) AND t.since <= %(at)s
            AND (t.gone IS NULL OR t.gone > %(at)s) AND t.fact_ids && f.fact_ids
            AND (t.k = f.k OR (f.k IS NULL AND t.kind = 'DATA_WITHOUT_PRODUCT'))))
      AND NOT (f.kind = ANY(%(general)s) AND f.k IS NULL AND EXISTS (
          SELECT FROM rm_traceability.scan s
          JOIN rm_traceability.movement m USING (position)
          JOIN rm_traceability.finding t
              ON t.subject = 'b:' || m.bill_no AND t.kind = 'DATA_WITHOUT_PRODUCT'
          WHERE s.fact_id = ANY(f.fact_ids) AND m.step = 40 AND t.since <= %(at)s
            AND (t.gone IS NULL OR t.gone > %(at)s)))
), grouped AS (
    SELECT case_id, kind, key, bool_or(stands) AS stands,
        (array_agg(site_id ORDER BY stands DESC, t_ms, site_id))[1] AS site_id,
        coalesce(min(t_ms) FILTER (WHERE stands), min(t_ms)) AS t_ms,
        (array_agg(since_ms ORDER BY since DESC) FILTER (WHERE begins))[1] AS opened_ms,
        CASE WHEN bool_or(stands) THEN count(DISTINCT k) FILTER (WHERE stands)
             ELSE count(DISTINCT k) END AS units,
        greatest(max(since) FILTER (WHERE stands), (
            SELECT max(m.position) FROM rm_traceability.movement m
            WHERE kind = 'DATA_WITHOUT_PRODUCT' AND m.bill_no = key AND m.step = 40
              AND m.position <= %(at)s
        )) AS newest,
        max(gone_ms) FILTER (WHERE NOT stands) AS gone_ms
    FROM known GROUP BY case_id, kind, key
), judged AS (
    SELECT g.case_id, g.kind, g.key, g.site_id, g.t_ms, g.opened_ms, g.units, p.region_code,
        coalesce(nullif(a.org_code, ''), p.org_code, '') AS owner,
        CASE WHEN NOT g.stands THEN 'resolved' WHEN c.position >= g.newest THEN 'closed'
             ELSE 'open' END AS state,
        g.stands AND c.position < g.newest AS reopened,
        CASE WHEN NOT g.stands THEN g.gone_ms WHEN c.position >= g.newest THEN c.at_ms
             END AS ended_ms,
        g.opened_ms + d.due_ms AS due_ms
    FROM grouped g
    JOIN unnest(%(kinds)s::text[], %(due_ms)s::int8[]) AS d (kind, due_ms) ON d.kind = g.kind
    LEFT JOIN LATERAL (
        SELECT org_code, region_code FROM rm_traceability.place
        WHERE site_id = g.site_id AND position <= %(at)s ORDER BY position DESC LIMIT 1
    ) p ON true
    LEFT JOIN LATERAL (
        SELECT position, at_ms FROM rm_traceability.act
        WHERE case_id = g.case_id AND act = 'closed' AND position <= %(at)s
        ORDER BY position DESC LIMIT 1
    ) c ON true
    LEFT JOIN LATERAL (
        SELECT org_code FROM rm_traceability.act
        WHERE case_id = g.case_id AND act = 'assigned' AND position <= %(at)s
        ORDER BY position DESC LIMIT 1
    ) a ON true
)
SELECT case_id, kind, key, state, coalesce(reopened, false) AS reopened, site_id,
    coalesce(region_code, '') AS region, owner, t_ms, opened_ms, due_ms, ended_ms, units
FROM judged
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(prefix)s = '' OR region_code LIKE %(prefix)s || '%%')
  AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
  AND (%(owner)s::text IS NULL OR owner = %(owner)s)
  AND (NOT %(overdue)s OR (state = 'open' AND due_ms < %(now_ms)s))
  AND (due_ms, case_id) > (%(after_ms)s, %(after_id)s)
ORDER BY due_ms, case_id LIMIT %(limit)s

-- name: evidence
-- The codes of a case as known at a position; where none stands any more, those that last did.
SELECT k, fact_ids, gone IS NULL OR gone > %(at)s AS stands
FROM rm_traceability.finding WHERE case_id = %(case_id)s AND since <= %(at)s

-- name: receipts
-- What arrived on a bill as known at a position: evidence of what did not.
SELECT DISTINCT s.fact_id FROM rm_traceability.finding f
JOIN rm_traceability.movement m ON m.bill_no = f.key AND m.step = 40 AND m.codes > 0
JOIN rm_traceability.scan s USING (position)
WHERE f.case_id = %(case_id)s AND f.kind = 'DATA_WITHOUT_PRODUCT' AND s.position <= %(at)s
  AND (s.withdrawn_position IS NULL OR s.withdrawn_position > %(at)s)

-- name: facts_told
SELECT fact_id, position, step, t_ms, recorded_ms, site_id FROM rm_traceability.scan
WHERE fact_id = ANY(%s) ORDER BY t_ms, step, fact_id

-- name: acts
SELECT act, at_ms, actor_id, org_code, resolution, reason FROM rm_traceability.act
WHERE case_id = %s AND position <= %s ORDER BY position

-- name: code_texts
SELECT k, code FROM rm_traceability.code_text WHERE k = ANY(%s)

-- name: recorded_until
SELECT (extract(epoch FROM max(recorded_at)) * 1000)::int8 FROM public.batches
WHERE ledger_id <= %s

-- name: lost
SELECT DISTINCT k FROM rm_traceability.finding
WHERE kind = 'DATA_WITHOUT_PRODUCT' AND k = ANY(%(codes)s) AND since <= %(at)s
  AND (gone IS NULL OR gone > %(at)s)

-- name: units_of_lot
-- The smallest packs by where they stand, their keys as one column of big-endian 64-bit values.
SELECT parent, site_id, status, string_agg(int8send(k), ''::bytea)
FROM rm_traceability.node WHERE lot_id = %s AND level = 1 GROUP BY parent, site_id, status

-- name: packs_of_lot
SELECT k, parent, site_id, status FROM rm_traceability.node WHERE lot_id = %s AND level > 1

-- name: nodes_above
-- Packs of other lots, or of none, that hold packs of a lot, and what holds them.
WITH RECURSIVE up (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT n.parent FROM up JOIN rm_traceability.node n ON n.k = up.k WHERE n.parent IS NOT NULL
)
SELECT n.k, n.parent, n.site_id, n.status
FROM up JOIN rm_traceability.node n ON n.k = up.k

-- name: doses_of_lot
SELECT d.k, d.site_id, d.t_ms, d.recipient, s.fact_id
FROM rm_traceability.dose d JOIN rm_traceability.scan s ON s.position = d.position
WHERE d.lot_id = %s ORDER BY d.t_ms, d.k, s.fact_id COLLATE "C"

-- name: orders_of_lot
SELECT * FROM rm_traceability.scan WHERE step >= 110 AND lot_id = %s AND lot_id <> ''

-- name: acknowledged
SELECT * FROM rm_traceability.scan
WHERE step = 105 AND (lot_id = %(lot)s OR said::json ->> 'recall_id' = ANY(%(orders)s)
    OR (said::json ->> 'details')::json ->> 'recall_id' = ANY(%(orders)s))

-- name: lots_of_number
SELECT lot_id FROM rm_traceability.lot WHERE lot_number = %s ORDER BY lot_id
