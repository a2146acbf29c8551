-- name: alerts
-- Alerts that lasted into a time, of units or of a site alone, known by its end; not those that
-- never were.
SELECT alert_id, kind, rule_id, severity, side, limit_c, unit_id, device_id, channel, subject_id,
    started_at, fired_at, detected_at, recovered_at, resolved_at, peak_c, state
FROM rm_alerting.alert
WHERE started_at < %(t1)s AND coalesce(recovered_at, resolved_at, 'infinity') >= %(t0)s
  AND detected_at <= %(t1)s AND state <> 'withdrawn'
  AND (unit_id = ANY(%(unit_ids)s) OR site_id = %(site_id)s)
ORDER BY started_at, alert_id

-- name: orders
-- Work on units that was open in a time.
SELECT order_id, unit_id, task, opened_at, result
FROM rm_cold_chain.maintenance_order
WHERE unit_id = ANY(%(unit_ids)s) AND opened_at < %(t1)s
  AND coalesce(closed_at, 'infinity') >= %(t0)s
ORDER BY opened_at, order_id

-- name: units
SELECT unit_id, kind, name, name_en FROM rm_cold_chain.unit WHERE site_id = %(site_id)s
ORDER BY unit_id
