-- name: try_lead
-- One alert process of all that share a database looks after goods (the number is arbitrary,
-- fixed); the lock goes with its session.
SELECT pg_try_advisory_lock(7203408)

-- name: progress
-- How far it was looked, and how far the read models of custody and of goods have come.
SELECT p.position, least(
    (SELECT coalesce(max(t.notification_id), 0) FROM follower_tracking t
     WHERE t.application_name = %(custody)s),
    (SELECT coalesce(max(t.notification_id), 0) FROM follower_tracking t
     WHERE t.application_name = %(stock)s)) AS upto
FROM alert_stock_progress p

-- name: looked
UPDATE alert_stock_progress SET position = %s

-- name: due
-- Alerts that something was told of after a position, up to another: by themselves; by facts at
-- their place, or of their vehicle or device, from before their end (those that ended before
-- `since_ms` are settled, but for what is told of them or of their goods); by facts declared wrong
-- there; by facts about codes that they affected, or packs with such codes.
WITH told AS MATERIALIZED (
    SELECT f.k, f.t_ms, f.site_id FROM rm_traceability.fact f
    WHERE f.position > %(after)s AND f.position <= %(upto)s
), moved AS MATERIALIZED (
    SELECT m.vehicle_id, m.device_id FROM rm_traceability.movement m
    WHERE m.position > %(after)s AND m.position <= %(upto)s
)
SELECT alert_id FROM rm_alerting_stock.alert WHERE position > %(after)s
UNION
SELECT a.alert_id FROM (SELECT site_id, min(t_ms) AS t_ms FROM told GROUP BY site_id) f
JOIN rm_alerting_stock.alert a ON a.site_id = f.site_id AND a.end_ms >= %(since_ms)s
WHERE f.t_ms <= a.end_ms
UNION
SELECT a.alert_id FROM moved m JOIN rm_alerting_stock.alert a ON a.unit_id = m.vehicle_id
WHERE a.end_ms >= %(since_ms)s
UNION
SELECT a.alert_id FROM moved m JOIN rm_alerting_stock.alert a ON a.device_id = m.device_id
WHERE a.end_ms >= %(since_ms)s
UNION
SELECT a.alert_id FROM rm_traceability.declared d
JOIN rm_traceability.scan s ON s.fact_id = d.fact_id
JOIN rm_alerting_stock.alert a ON a.site_id = s.site_id AND a.end_ms >= %(since_ms)s
WHERE d.position > %(after)s AND d.position <= %(upto)s
UNION
SELECT u.alert_id FROM told f JOIN rm_alerting_stock.unit u ON u.k = f.k
UNION
SELECT u.alert_id FROM told f
JOIN rm_traceability.contain c ON c.parent = f.k AND f.t_ms BETWEEN c.t0 AND c.t1
JOIN rm_alerting_stock.unit u ON u.k = c.child
