-- name: stored
-- The bytes of ledger events, as stored.
SELECT notification_id, originator_id, originator_version, topic, state
FROM public.ledger_events WHERE notification_id = ANY(%s) ORDER BY notification_id

-- name: hashes
-- What the bytes of ledger events hash to.
SELECT notification_id, encode(sha256(state), 'hex')
FROM public.ledger_events WHERE notification_id = ANY(%s)

-- name: telemetry_head
SELECT encode(sha256(state), 'hex') FROM public.telemetry_events WHERE notification_id = %s

-- name: products
SELECT product_id, name, name_en, specification, holder, doses_per_vial, temperature_c_min,
    temperature_c_max, freeze_sensitive
FROM rm_traceability.product WHERE product_id = ANY(%(ids)s) AND position <= %(as_of)s
ORDER BY product_id

-- name: count_scans
-- How many scans at places in a time, at most one more than asked about.
SELECT count(*) FROM (
    SELECT FROM rm_traceability.scan
    WHERE t_ms >= %(since)s AND t_ms < %(until)s
      AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s) OR to_site_id = ANY(%(sites)s))
    LIMIT %(limit)s
) s

-- name: facts_of_period
-- Codes scanned at places in a time, what was ever inside, and all above: all their facts.
WITH RECURSIVE here (k) AS (
    SELECT f.k FROM rm_traceability.fact f JOIN rm_traceability.scan s ON s.position = f.position
    WHERE s.t_ms >= %(since)s AND s.t_ms < %(until)s
      AND (%(sites)s::text[] IS NULL OR s.site_id = ANY(%(sites)s) OR s.to_site_id = ANY(%(sites)s))
    UNION
    SELECT f.k FROM here JOIN rm_traceability.fact f ON f.parent = here.k
), up (k) AS (
    SELECT k FROM here
    UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
JOIN rm_traceability.fact f ON f.k = up.k
JOIN rm_traceability.scan s ON s.position = f.position

-- name: facts_of_unit
-- The same for codes that came into a cold unit, or left in a vehicle, before a time.
WITH RECURSIVE here (k) AS (
    SELECT f.k FROM rm_traceability.scan s JOIN rm_traceability.fact f ON f.position = s.position
    WHERE s.t_ms < %(until)s
      AND s.said::json ->> 'unit_id' = %(unit)s
    UNION
    SELECT f.k FROM rm_traceability.movement m
    JOIN rm_traceability.fact f ON f.position = m.position AND f.t_ms < %(until)s
    WHERE m.vehicle_id = %(unit)s AND m.vehicle_id <> ''
    UNION
    SELECT f.k FROM here JOIN rm_traceability.fact f ON f.parent = here.k
), up (k) AS (
    SELECT k FROM here
    UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
JOIN rm_traceability.fact f ON f.k = up.k
JOIN rm_traceability.scan s ON s.position = f.position

-- name: facts_of_bill
-- The same for codes on a bill.
WITH RECURSIVE here (k) AS (
    SELECT f.k FROM rm_traceability.movement m
    JOIN rm_traceability.fact f ON f.position = m.position
    WHERE m.bill_no = %(bill)s AND m.bill_no <> ''
    UNION
    SELECT f.k FROM here JOIN rm_traceability.fact f ON f.parent = here.k
), up (k) AS (
    SELECT k FROM here
    UNION
    SELECT f.parent FROM up JOIN rm_traceability.fact f ON f.k = up.k WHERE f.parent IS NOT NULL
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
JOIN rm_traceability.fact f ON f.k = up.k
JOIN rm_traceability.scan s ON s.position = f.position

-- name: withdrawals
SELECT w.fact_id, w.site_id, w.declared_at, w.reason, w.corrective_fact_ids, w.position
FROM rm_traceability.withdrawal w WHERE w.fact_id = ANY(%(ids)s) AND w.position <= %(as_of)s
ORDER BY w.fact_id, w.site_id

-- name: cases_of_codes
-- The cases that codes ever showed, as known at a position.
SELECT DISTINCT case_id FROM rm_traceability.finding
WHERE since <= %(as_of)s AND (k = ANY(%(codes)s) OR top = ANY(%(codes)s)) ORDER BY case_id

-- name: cases_of_sites
SELECT DISTINCT case_id FROM rm_traceability.finding
WHERE since <= %(as_of)s AND t_ms >= %(since)s AND t_ms < %(until)s
  AND (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s)) ORDER BY case_id

-- name: lots_of
SELECT lot_id, product_id, lot_number, produced_on, expires_on, lot_release_no, quantity
FROM rm_traceability.lot WHERE lot_id = ANY(%(ids)s) AND position <= %(as_of)s ORDER BY lot_id

-- name: devices_in
-- The devices whose temperature probes stood in units in times (by number, from 0), as of a ledger
-- position.
WITH told AS (
    SELECT device_id, unit_id, since,
           lead(since) OVER (PARTITION BY device_id, channel ORDER BY since) AS until
    FROM rm_shared_placements.stand
    WHERE device_id IN (SELECT device_id FROM rm_shared_placements.stand
                        WHERE unit_id = ANY(%(units)s))
      AND channel = ANY(%(channels)s) AND position <= %(as_of)s
)
SELECT a.n - 1, array_agg(DISTINCT s.device_id ORDER BY s.device_id)
FROM unnest(%(units)s::text[], %(t0)s::timestamptz[], %(t1)s::timestamptz[])
    WITH ORDINALITY AS a (unit_id, t0, t1, n)
JOIN told s ON s.unit_id = a.unit_id AND s.since < a.t1 AND (s.until IS NULL OR s.until > a.t0)
GROUP BY a.n

-- name: places
SELECT DISTINCT ON (site_id) site_id, latitude, longitude FROM rm_traceability.place
WHERE site_id = ANY(%(sites)s) AND position <= %(as_of)s ORDER BY site_id, position DESC
