-- name: page
-- Certificates of the probes of a region, by probe and in the order of recording; the newest that
-- has begun to count is in force.
SELECT c.device_id, c.channel, d.region_code, c.certificate_no, c.laboratory, c.calibrated_on,
    c.since, c.valid_until, c.points, c.recorded_at, c.position,
    c.position = (
        SELECT n.position FROM rm_shared_calibrations.calibration n
        WHERE n.device_id = c.device_id AND n.channel = c.channel
        ORDER BY n.since DESC, n.position DESC LIMIT 1) AS in_force
FROM rm_shared_calibrations.calibration c
JOIN rm_cold_chain.device d USING (device_id)
WHERE d.region_code LIKE %(region)s || '%%'
    AND (%(device_id)s::text IS NULL OR c.device_id = %(device_id)s)
    AND (%(due_before)s::date IS NULL OR (c.valid_until < %(due_before)s AND NOT EXISTS (
        SELECT FROM rm_shared_calibrations.calibration n
        WHERE n.device_id = c.device_id AND n.channel = c.channel
            AND (n.since, n.position) > (c.since, c.position))))
    AND (c.device_id, c.channel, c.position) > (%(after_device)s, %(after_channel)s, %(after)s)
ORDER BY c.device_id, c.channel, c.position LIMIT %(limit)s

-- name: probes
-- The temperature probes that stand in a unit now, with the number of each one's device.
SELECT n.device_no, s.device_id, s.channel FROM (
    SELECT DISTINCT ON (device_id, channel) device_id, channel, unit_id
    FROM rm_shared_placements.stand WHERE since <= %(now)s AND channel = ANY(%(channels)s)
    ORDER BY device_id, channel, since DESC) s
JOIN public.device_no n USING (device_id)
WHERE s.unit_id = %(unit_id)s ORDER BY s.device_id, s.channel

-- name: day_means
-- What each channel of some devices read on average, day by day: device, days since 1970, °C.
SELECT device_no, extract(epoch FROM ts)::float8 / 86400,
    t1_sum / 10000.0::float8 / nullif(t1_n, 0), t2_sum / 10000.0::float8 / nullif(t2_n, 0),
    t3_sum / 10000.0::float8 / nullif(t3_n, 0), t4_sum / 10000.0::float8 / nullif(t4_n, 0)
FROM rollup_day WHERE device_no = ANY(%(devices)s) AND ts >= %(since)s
