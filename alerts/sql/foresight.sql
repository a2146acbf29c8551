-- name: limits
-- The rules in force in each of these units.
SELECT u.unit_id, r.rules FROM rm_cold_chain.unit u
CROSS JOIN LATERAL (
    SELECT s.rules FROM rm_alerting.rule_set s
    WHERE s.profile_id = u.profile_id AND s.effective_from <= %(now)s
    ORDER BY s.effective_from DESC, s.version DESC LIMIT 1
) r
WHERE u.unit_id = ANY(%(units)s)

-- name: calibrated
SELECT coalesce(max(position), 0) FROM rm_shared_calibrations.calibration

-- name: due
-- Certificates in force that end before a day: device, channel, last day.
SELECT device_id, channel, valid_until FROM (
    SELECT DISTINCT ON (device_id, channel) device_id, channel, valid_until
    FROM rm_shared_calibrations.calibration ORDER BY device_id, channel, since DESC, position DESC
) c WHERE valid_until < %s

-- name: told
SELECT subject_id FROM condition WHERE kind = %s

-- name: open
-- Forecasts whose time is not over.
SELECT device_id || '/' || channel, told, max(made_at) FROM forecast
WHERE outcome IS NULL GROUP BY 1, 2

-- name: keep
INSERT INTO forecast (device_id, channel, unit_id, made_at, value_c, limit_c, side, chance, eta_at,
    early_at, late_at, method, told)
VALUES (%(device_id)s, %(channel)s, %(unit_id)s, %(made_at)s, %(value_c)s, %(limit_c)s, %(side)s,
    %(chance)s, %(eta_at)s, %(early_at)s, %(late_at)s, %(method)s, %(told)s)

-- name: over
-- What was read in the half hours of forecasts that were made before a moment, reading by reading.
SELECT f.forecast_id, f.device_id, f.channel, f.side, f.limit_c, r.ts, r.v
FROM forecast f JOIN device_no n USING (device_id)
LEFT JOIN LATERAL (
    SELECT ts, CASE f.channel WHEN 't1' THEN t1 WHEN 't2' THEN t2 WHEN 't3' THEN t3 ELSE t4 END AS v
    FROM reading WHERE reading.device_no = n.device_no
        AND ts > f.made_at AND ts <= f.made_at + %(horizon)s
) r ON r.v IS NOT NULL
WHERE f.outcome IS NULL AND f.made_at <= %(before)s
ORDER BY f.forecast_id, r.ts

-- name: settle
UPDATE forecast SET outcome = %(outcome)s, came_at = %(came_at)s WHERE forecast_id = %(forecast_id)s

-- name: suspects
-- Probes of which it matters whether their short rises are defrosts: which were warned of.
SELECT device_id, channel, unit_id FROM rm_alerting.alert
WHERE kind = 'temperature' AND side = 'high' AND severity IN ('info', 'minor') AND fired_at > %(since)s
UNION
SELECT device_id, channel, unit_id FROM forecast WHERE side = 'high' AND made_at > %(since)s

-- name: patterns
SELECT device_id || '/' || channel, period_ms, last_ms, lasts_ms, peak_c, matches FROM defrost
WHERE period_ms IS NOT NULL

-- name: learn
INSERT INTO defrost (device_id, channel, unit_id, learnt_at, period_ms, last_ms, lasts_ms, peak_c,
    matches)
VALUES (%(device_id)s, %(channel)s, %(unit_id)s, %(learnt_at)s, %(period_ms)s, %(last_ms)s,
    %(lasts_ms)s, %(peak_c)s, %(matches)s)
ON CONFLICT (device_id, channel) DO UPDATE SET
    unit_id = excluded.unit_id, learnt_at = excluded.learnt_at, period_ms = excluded.period_ms,
    last_ms = excluded.last_ms, lasts_ms = excluded.lasts_ms, peak_c = excluded.peak_c,
    matches = excluded.matches
