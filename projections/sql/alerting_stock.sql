-- name: ddl
-- `alert`: where and until when (2^62: it lasts) each alert by a threshold affects goods; `unit`:
-- each smallest pack that an alert affected, as it was told last (`site_id`: where it was then);
-- `k`: its key as of custody. `cleared`: it was not there after all. `assessment`: what people
-- decided; `assessed`: on how many packs found at each site.
CREATE TABLE alert (
    alert_id text COLLATE "C" PRIMARY KEY,
    site_id text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    end_ms int8 NOT NULL,
    position int8 NOT NULL
);
CREATE INDEX alert_site_id_idx ON alert (site_id, end_ms);
CREATE INDEX alert_unit_id_idx ON alert (unit_id, end_ms);
CREATE INDEX alert_device_id_idx ON alert (device_id, end_ms);
CREATE INDEX alert_position_idx ON alert (position);
CREATE TABLE unit (
    alert_id text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    k int8 NOT NULL,
    lot_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    doses int4 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hold_id text NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL,
    cleared bool NOT NULL,
    decision text NOT NULL,
    PRIMARY KEY (alert_id, code)
);
CREATE INDEX unit_lot_idx ON unit (alert_id, lot_id);
CREATE INDEX unit_k_idx ON unit (k);
CREATE TABLE assessment (
    position int8 PRIMARY KEY,
    alert_id text COLLATE "C" NOT NULL,
    assessed_at timestamptz NOT NULL,
    decision text NOT NULL,
    units int4 NOT NULL,
    method text NOT NULL,
    grounds text NOT NULL,
    decision_no text NOT NULL,
    executed_by text NOT NULL,
    supervised_by text NOT NULL,
    also text[] NOT NULL,
    fact_ids text[] NOT NULL,
    still_held text[] NOT NULL
);
CREATE INDEX assessment_alert_id_idx ON assessment (alert_id);
CREATE TABLE assessed (
    position int8 NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    units int4 NOT NULL,
    PRIMARY KEY (position, site_id)
)

-- name: put_alert
INSERT INTO alert VALUES (%s, %s, %s, %s, %s, %s)

-- name: change_alert
UPDATE alert SET end_ms = %s, position = %s WHERE alert_id = %s

-- name: put_units
-- Told again without a hold, a pack keeps the one it has.
INSERT INTO unit
SELECT %(alert_id)s, u.code, u.k, %(lot_id)s, %(product_id)s, u.doses, %(site_id)s, %(hold_id)s,
    %(reason)s, %(found_at)s, false, ''
FROM unnest(%(codes)s::text[], %(keys)s::int8[], %(doses)s::int4[]) AS u (code, k, doses)
ON CONFLICT (alert_id, code) DO UPDATE SET lot_id = excluded.lot_id,
    product_id = excluded.product_id, doses = excluded.doses, site_id = excluded.site_id,
    found_at = excluded.found_at, cleared = false,
    hold_id = coalesce(nullif(excluded.hold_id, ''), unit.hold_id),
    reason = CASE WHEN excluded.hold_id = '' THEN unit.reason ELSE excluded.reason END,
    decision = CASE WHEN excluded.hold_id = '' THEN unit.decision ELSE '' END

-- name: clear
UPDATE unit SET cleared = true WHERE alert_id = %s AND code = ANY(%s)

-- name: decide
-- Also for the other alerts whose goods were looked at together.
UPDATE unit SET decision = %(decision)s
WHERE alert_id = ANY(%(alerts)s) AND code = ANY(%(codes)s) AND hold_id <> ''

-- name: put_assessment
INSERT INTO assessment
VALUES (%(position)s, %(alert_id)s, %(assessed_at)s, %(decision)s, %(units)s, %(method)s,
    %(grounds)s, %(decision_no)s, %(executed_by)s, %(supervised_by)s, %(also)s, %(fact_ids)s,
    %(still_held)s)

-- name: put_assessed
INSERT INTO assessed
SELECT %s, site_id, count(*) FROM unit WHERE alert_id = %s AND code = ANY(%s) GROUP BY site_id

-- name: lots
-- A page of lots with sums of what was affected, at places of a region or of any.
SELECT lot_id, product_id,
    count(*) FILTER (WHERE NOT cleared) AS units,
    coalesce(sum(doses) FILTER (WHERE NOT cleared), 0) AS doses,
    count(*) FILTER (WHERE hold_id <> '' AND decision IN ('', 'keep')) AS waiting,
    count(*) FILTER (WHERE decision = 'release') AS released,
    count(*) FILTER (WHERE decision = 'condemn') AS condemned,
    count(*) FILTER (WHERE cleared) AS cleared
FROM rm_alerting_stock.unit
WHERE alert_id = %(alert_id)s AND (lot_id, product_id) > (%(after_lot)s, %(after_product)s)
    AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))
GROUP BY lot_id, product_id ORDER BY lot_id, product_id LIMIT %(limit)s

-- name: total
SELECT count(DISTINCT lot_id) FILTER (WHERE NOT cleared) AS lots,
    count(*) FILTER (WHERE NOT cleared) AS units,
    coalesce(sum(doses) FILTER (WHERE NOT cleared), 0) AS doses,
    count(*) FILTER (WHERE hold_id <> '' AND decision IN ('', 'keep')) AS waiting,
    count(*) FILTER (WHERE decision = 'release') AS released,
    count(*) FILTER (WHERE decision = 'condemn') AS condemned,
    count(*) FILTER (WHERE cleared) AS cleared
FROM rm_alerting_stock.unit
WHERE alert_id = %(alert_id)s AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))

-- name: sites
SELECT DISTINCT site_id FROM rm_alerting_stock.unit WHERE alert_id = %s

-- name: units
SELECT code, lot_id, product_id, doses, site_id AS found_at_site, hold_id, reason, found_at,
    cleared, decision
FROM rm_alerting_stock.unit
WHERE alert_id = %(alert_id)s AND code > %(after)s
    AND (%(lot_id)s::text IS NULL OR lot_id = %(lot_id)s)
    AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))
ORDER BY code LIMIT %(limit)s

-- name: assessments
-- Those on packs found at some sites (NULL: at any), with how many these were.
SELECT a.position, a.alert_id, a.assessed_at, a.decision, s.units, a.method, a.grounds,
    a.decision_no, a.executed_by, a.supervised_by, a.also, a.fact_ids, a.still_held
FROM rm_alerting_stock.assessment a
JOIN (SELECT position, sum(units)::int4 AS units FROM rm_alerting_stock.assessed
      WHERE %(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s)
      GROUP BY position) s USING (position)
WHERE a.alert_id = %(alert_id)s ORDER BY a.position

-- name: held_too
-- Other alerts because of which some of these codes are held, and nobody has decided yet.
SELECT DISTINCT alert_id FROM rm_alerting_stock.unit
WHERE k = ANY(%(keys)s) AND alert_id <> %(alert_id)s
    AND hold_id <> '' AND decision IN ('', 'keep')
