-- name: ddl
-- One row a dose and code, as FHIR and the tables of immunizations show it: `k` is the code's key in
-- the tables of traceability, `said` what the fact told, `changed_at` when the ledger learned of it
-- or of its withdrawal. A dose that was not given is one too (NOT done), without a code: k = 0.
CREATE TABLE immunization (
    id uuid PRIMARY KEY,
    fact_id text COLLATE "C" NOT NULL,
    k int8 NOT NULL,
    code text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    given_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    withdrawn bool NOT NULL,
    done bool NOT NULL,
    said jsonb NOT NULL
);
CREATE INDEX ON immunization (fact_id, site_id);
CREATE INDEX ON immunization (changed_at, id);
CREATE INDEX ON immunization (given_at, id);
CREATE INDEX ON immunization (recipient) WHERE recipient <> '';
CREATE INDEX ON immunization (k);
-- Facts declared wrong, known already or not.
CREATE TABLE withdrawn (
    fact_id text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    declared_at timestamptz NOT NULL,
    PRIMARY KEY (fact_id, site_id)
)

-- name: put
-- Two facts of one id are one fact: the first holds.
INSERT INTO immunization
SELECT %(id)s, %(fact_id)s, %(k)s, %(code)s, %(site_id)s, %(region_code)s, %(recipient)s,
    %(given_at)s, %(recorded_at)s, greatest(%(recorded_at)s, w.declared_at),
    w.declared_at IS NOT NULL, true, %(said)s::jsonb
FROM (VALUES (1)) AS one
LEFT JOIN withdrawn w ON w.fact_id = %(fact_id)s AND w.site_id = %(site_id)s
ON CONFLICT (id) DO NOTHING

-- name: put_not_given
INSERT INTO immunization
VALUES (%(id)s, %(fact_id)s, 0, '', %(site_id)s, %(region_code)s, %(recipient)s, %(given_at)s,
    %(recorded_at)s, %(recorded_at)s, false, false, %(said)s::jsonb)
ON CONFLICT (id) DO NOTHING

-- name: withdraw_not_given
UPDATE immunization SET withdrawn = true, changed_at = greatest(changed_at, %s)
WHERE id = %s AND NOT withdrawn

-- name: put_withdrawn
INSERT INTO withdrawn VALUES (%s, %s, %s) ON CONFLICT (fact_id, site_id) DO NOTHING

-- name: withdraw
UPDATE immunization SET withdrawn = true, changed_at = greatest(changed_at, %s)
WHERE fact_id = %s AND site_id = %s AND NOT withdrawn

-- name: immunizations
-- A page by change. Product and lot are those known of the code today, the place's name today's.
SELECT i.*, n.lot_id, l.lot_number, l.expires_on,
    coalesce(l.product_id, i.said ->> 'product_id') AS product_id, p.name AS product,
    p.name_en AS product_en, p.holder, p.producer, p.programme, p.specification,
    s.name AS site, s.parent_id AS org_code,
    ARRAY(SELECT DISTINCT f.kind FROM rm_traceability.finding f
          WHERE f.gone IS NULL AND f.kind = ANY(%(spoiling)s) AND f.k = i.k ORDER BY 1) AS spoilt,
    (SELECT coalesce(jsonb_agg(r.body ORDER BY r.id), '[]') FROM rm_vaccination.record r
     WHERE r.kind = 'aefi' AND r.body ->> 'fact_id' = i.fact_id) AS reactions
FROM rm_platform.immunization i
LEFT JOIN rm_traceability.node n ON n.k = i.k
LEFT JOIN rm_traceability.lot l ON l.lot_id = n.lot_id
LEFT JOIN rm_traceability.product p
    ON p.product_id = coalesce(l.product_id, i.said ->> 'product_id')
LEFT JOIN rm_shared_org_tree.node s ON s.kind = 'site' AND s.id = i.site_id
WHERE i.region_code LIKE %(region)s || '%%'
    AND (i.changed_at, i.id) > (%(after_at)s, %(after_id)s)
    AND (%(ids)s::uuid[] IS NULL OR i.id = ANY(%(ids)s))
    AND (%(recipients)s::text[] IS NULL OR i.recipient = ANY(%(recipients)s))
    AND (%(states)s::text[] IS NULL OR CASE WHEN i.withdrawn THEN 'withdrawn'
        WHEN i.done THEN 'done' ELSE 'not_done' END = ANY(%(states)s))
    AND i.given_at >= %(given_from)s AND i.given_at < %(given_to)s
    AND i.changed_at >= %(changed_from)s AND i.changed_at < %(changed_to)s
    AND (%(lots)s::text[] IS NULL OR i.k IN (
        SELECT m.k FROM rm_traceability.lot o JOIN rm_traceability.node m ON m.lot_id = o.lot_id
        WHERE o.lot_number = ANY(%(lots)s)))
ORDER BY i.changed_at, i.id LIMIT %(limit)s

-- name: uploads
-- A page of uploads by id.
SELECT upload_id, platform, kind, bill_type, bill_code, fact_id, site_id, region_code, day, codes,
    state, round, attempts, missing, changed_at, last_error
FROM public.platform_upload
WHERE upload_id > %(after)s AND region_code LIKE %(region)s || '%%'
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY upload_id LIMIT %(limit)s

-- name: upload
SELECT upload_id, platform, kind, bill_type, bill_code, fact_id, site_id, region_code, day, codes,
    state, round, attempts, missing, changed_at, last_error
FROM public.platform_upload WHERE upload_id = %s

-- name: reconciliation
-- Counts by day and kind: what we must tell, what the platform took, refused, and did not have when
-- it was last asked.
SELECT day, kind, count(*) AS ours,
    count(*) FILTER (WHERE state = 'accepted') AS accepted,
    count(*) FILTER (WHERE state = 'rejected') AS rejected,
    count(*) FILTER (WHERE state = 'settled') AS settled,
    count(*) FILTER (WHERE state IN ('waiting', 'submitted')) AS waiting,
    count(*) FILTER (WHERE missing) AS missing
FROM public.platform_upload
WHERE day BETWEEN %(first)s AND %(last)s AND state <> 'withdrawn'
    AND region_code LIKE %(region)s || '%%'
GROUP BY day, kind ORDER BY day, kind

-- name: put_state
UPDATE public.platform_upload SET state = %(state)s, round = %(round)s, due_at = %(now)s,
    changed_at = %(now)s, attempts = 0, last_error = ''
WHERE upload_id = %(upload_id)s
