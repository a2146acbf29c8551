-- name: seen
-- The findings that a caller sees of cases as known at a position: those at places of its region
-- that no more telling one gives way to, among those it sees. What has to stand for a while before
-- it counts opens when it has; what ended before that never was.
WITH site AS MATERIALIZED (
    SELECT DISTINCT ON (site_id) site_id, org_code, region_code FROM rm_traceability.place
    WHERE position <= %(at)s AND region_code LIKE %(prefix)s || '%%'
    ORDER BY site_id, position DESC
), wanted AS MATERIALIZED (
    SELECT DISTINCT case_id FROM rm_traceability.finding
    WHERE since <= %(at)s AND (gone IS NULL OR gone > %(at)s OR NOT %(standing)s)
      AND kind = ANY(%(kinds)s)
      AND (%(case_ids)s::text[] IS NULL OR case_id = ANY(%(case_ids)s))
      AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
      AND (%(prefix)s = '' OR site_id IN (SELECT site_id FROM site))
), stood AS MATERIALIZED (
    SELECT f.case_id, f.subject, f.kind, f.key, f.k, f.units, f.t_ms, f.site_id, f.fact_ids, f.since,
        f.gone, f.gone_ms, f.since_ms + d.grace_ms AS opens_ms, d.due_ms, d.grace_ms, p.org_code,
        p.region_code, f.gone IS NULL OR f.gone > %(at)s AS stands
    FROM wanted
    JOIN rm_traceability.finding f USING (case_id)
    JOIN unnest(%(kinds)s::text[], %(due_ms)s::int8[], %(grace_ms)s::int8[])
        AS d (kind, due_ms, grace_ms) ON d.kind = f.kind
    LEFT JOIN site p ON p.site_id = f.site_id
    WHERE f.since <= %(at)s AND (%(prefix)s = '' OR p.site_id IS NOT NULL)
      AND (d.grace_ms = 0 OR f.since_ms + d.grace_ms
          <= CASE WHEN f.gone <= %(at)s THEN f.gone_ms ELSE %(now_ms)s END)
), seen AS (
    SELECT * FROM stood f
    WHERE NOT (%(yields)s::jsonb ? f.kind AND f.k IS NOT NULL AND EXISTS (
          SELECT FROM rm_traceability.finding t
          WHERE t.k = f.k AND t.fact_ids && f.fact_ids
            AND %(yields)s::jsonb -> f.kind ? t.kind
            AND t.since < least(f.gone, %(at)s::int8 + 1)
            AND (t.gone IS NULL OR t.gone >= least(f.gone, %(at)s::int8 + 1))
            AND (%(prefix)s = '' OR t.site_id IN (SELECT site_id FROM site))))
      AND NOT (%(yields)s::jsonb ? f.kind AND f.k IS NULL AND EXISTS (
          SELECT FROM rm_traceability.scan s
          JOIN rm_traceability.movement m USING (position)
          JOIN rm_traceability.finding t
              ON t.subject = 'b:' || m.bill_no AND t.kind = 'DATA_WITHOUT_PRODUCT'
          WHERE s.fact_id = ANY(f.fact_ids)
            AND (t.fact_ids && f.fact_ids OR (m.step = 40 AND t.site_id = s.site_id))
            AND t.since < least(f.gone, %(at)s::int8 + 1)
            AND (t.gone IS NULL OR t.gone >= least(f.gone, %(at)s::int8 + 1))
            AND (%(prefix)s = '' OR t.site_id IN (SELECT site_id FROM site))))
)

-- name: cases
-- Cases by the time they are due. A case is open since it first stood without a break.
, known AS (
    SELECT *, since > max(coalesce(gone, 9223372036854775807)) OVER (
        PARTITION BY case_id ORDER BY since ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) IS NOT FALSE AS begins,
    row_number() OVER (PARTITION BY case_id, k, stands ORDER BY since DESC, units) = 1 AS newest
    FROM seen
), grouped AS (
    SELECT case_id, kind, key, due_ms, min(site_id) AS site_id, min(subject) AS subject,
        min(region_code) AS region_code, min(org_code) AS org_code, bool_or(stands) AS stands,
        coalesce(min(t_ms) FILTER (WHERE stands), min(t_ms)) AS t_ms,
        (array_agg(opens_ms ORDER BY since DESC) FILTER (WHERE begins))[1] AS opened_ms,
        coalesce(sum(units) FILTER (WHERE newest AND stands), sum(units) FILTER (WHERE newest))
            AS units,
        max(since) FILTER (WHERE stands) AS since,
        max(opens_ms) FILTER (WHERE stands AND grace_ms > 0) AS newest_ms,
        max(gone_ms) FILTER (WHERE NOT stands) AS gone_ms
    FROM known GROUP BY case_id, kind, key, due_ms
), closing AS (
    SELECT DISTINCT ON (case_id) case_id, position, at_ms FROM rm_traceability.act
    WHERE act = 'closed' AND position <= %(at)s
      AND (%(case_ids)s::text[] IS NULL OR case_id = ANY(%(case_ids)s))
    ORDER BY case_id, position DESC
), assigned AS (
    SELECT DISTINCT ON (case_id) case_id, org_code FROM rm_traceability.act
    WHERE act = 'assigned' AND position <= %(at)s
      AND (%(case_ids)s::text[] IS NULL OR case_id = ANY(%(case_ids)s))
    ORDER BY case_id, position DESC
), judged AS (
    SELECT g.case_id, g.kind, g.key, g.site_id, g.t_ms, g.opened_ms, g.units, g.region_code,
        coalesce(nullif(a.org_code, ''), g.org_code, '') AS owner,
        CASE WHEN NOT g.stands THEN 'resolved' WHEN closed THEN 'closed' ELSE 'open' END AS state,
        g.stands AND NOT closed AND c.position IS NOT NULL AS reopened,
        CASE WHEN NOT g.stands THEN g.gone_ms WHEN closed THEN c.at_ms END AS ended_ms,
        g.opened_ms + g.due_ms AS due_ms
    FROM grouped g
    LEFT JOIN closing c USING (case_id)
    LEFT JOIN assigned a USING (case_id)
    -- What arrived on a bill since adds to what did not.
    CROSS JOIN LATERAL (
        SELECT coalesce(c.position >= greatest(g.since, (
            SELECT max(m.position) FROM rm_traceability.movement m
            JOIN rm_traceability.scan s USING (position)
            WHERE g.kind = 'DATA_WITHOUT_PRODUCT' AND c.position IS NOT NULL
              AND m.bill_no = substr(g.subject, 3) AND m.step = 40 AND m.position <= %(at)s
              AND s.site_id = g.site_id
        )) AND (g.newest_ms IS NULL OR c.at_ms >= g.newest_ms), false) AS closed
    ) x
)
SELECT case_id, kind, key, state, reopened, site_id, coalesce(region_code, '') AS region, owner,
    t_ms, opened_ms, due_ms, ended_ms, units
FROM judged
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(owner)s::text IS NULL OR owner = %(owner)s)
  AND (NOT %(overdue)s OR (state = 'open' AND due_ms < %(now_ms)s))
  AND (due_ms, case_id) > (%(after_ms)s, %(after_id)s)
ORDER BY due_ms, case_id LIMIT %(limit)s

-- name: evidence
-- What cases rest on: those that stand, or, where none does, all that ever did; with the position
-- where each was last known to.
SELECT case_id, k, units, fact_ids, CASE WHEN stands THEN %(at)s ELSE gone - 1 END FROM (
    SELECT *, bool_or(stands) OVER (PARTITION BY case_id) AS any_stands FROM seen
) f
WHERE stands OR NOT any_stands

-- name: inside_and_above
-- The facts of packs, of all that was ever in them, and of all that ever held any of these.
WITH RECURSIVE down (k) AS (
    SELECT unnest(%s::int8[])
    UNION
    SELECT f.k FROM down CROSS JOIN LATERAL (
        SELECT k FROM rm_traceability.fact WHERE fact.parent = down.k OFFSET 0
    ) f
), up (k) AS (
    SELECT k FROM down
    UNION
    SELECT f.parent FROM up CROSS JOIN LATERAL (
        SELECT parent FROM rm_traceability.fact WHERE fact.k = up.k AND parent IS NOT NULL OFFSET 0
    ) f
)
SELECT f.k, f.parent, f.as_parent, s.*
FROM up
CROSS JOIN LATERAL (SELECT * FROM rm_traceability.fact WHERE fact.k = up.k OFFSET 0) f
CROSS JOIN LATERAL (
    SELECT * FROM rm_traceability.scan WHERE scan.position = f.position OFFSET 0
) s

-- name: receipts
-- What arrived on bills as known at a position: evidence of what did not.
SELECT DISTINCT f.case_id, s.fact_id FROM rm_traceability.finding f
JOIN rm_traceability.movement m ON m.bill_no = substr(f.subject, 3) AND m.step = 40 AND m.codes > 0
JOIN rm_traceability.scan s ON s.position = m.position AND s.site_id = f.site_id
WHERE f.case_id = ANY(%(case_ids)s) AND f.kind = 'DATA_WITHOUT_PRODUCT' AND s.position <= %(at)s
  AND (s.withdrawn_position IS NULL OR s.withdrawn_position > %(at)s)

-- name: facts_told
-- Facts told in a region; of those told elsewhere, what was sent there, without the place.
SELECT fact_id, position, step, t_ms, recorded_ms, CASE WHEN told THEN site_id ELSE '' END
FROM rm_traceability.scan s
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(p.site_id = s.site_id), false) OR %(prefix)s = '' AS told,
        count(*) > 0 AS seen
    FROM rm_traceability.place p
    WHERE p.site_id IN (s.site_id, s.to_site_id) AND p.region_code LIKE %(prefix)s || '%%'
) x
WHERE fact_id = ANY(%(ids)s) AND (told OR seen)
ORDER BY t_ms, step, fact_id

-- name: acts
SELECT act, at_ms, actor_id, org_code, resolution, reason FROM rm_traceability.act
WHERE case_id = %s AND position <= %s ORDER BY position

-- name: code_texts
SELECT k, code FROM rm_traceability.code_text WHERE k = ANY(%s)

-- name: recorded_until
SELECT (extract(epoch FROM max(recorded_at)) * 1000)::int8 FROM public.batches
WHERE ledger_id <= %s
