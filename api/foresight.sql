-- name: recent
-- The newest forecasts of a unit.
SELECT device_id, channel, made_at, value_c, limit_c, side, chance, eta_at, early_at, late_at,
    method, told, outcome, came_at
FROM forecast WHERE unit_id = %(unit_id)s AND made_at > %(since)s
ORDER BY made_at DESC, forecast_id DESC LIMIT %(limit)s

-- name: settled
-- Of the settled ones: chance, whether it came, whether in its interval.
SELECT chance, outcome = 'came',
    coalesce(came_at >= early_at AND (late_at IS NULL OR came_at <= late_at), false)
FROM forecast WHERE unit_id = %(unit_id)s AND made_at > %(since)s AND outcome IN ('came', 'not')

-- name: defrosts
SELECT device_id, channel, period_ms / 60000.0::float8, to_timestamp(last_ms / 1000.0),
    lasts_ms / 60000.0::float8, peak_c, matches, learnt_at
FROM defrost WHERE unit_id = %(unit_id)s AND period_ms IS NOT NULL ORDER BY device_id, channel
