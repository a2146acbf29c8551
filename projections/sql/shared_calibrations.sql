-- name: ddl
CREATE TABLE calibration (
    device_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    certificate_no text NOT NULL,
    laboratory text NOT NULL,
    calibrated_on date NOT NULL,
    since timestamptz NOT NULL,
    valid_until date NOT NULL,
    points jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (device_id, channel, position)
);
CREATE INDEX ON calibration (position)

-- name: put_calibration
INSERT INTO calibration (device_id, channel, certificate_no, laboratory, calibrated_on, since,
    valid_until, points, recorded_at, position)
VALUES (%(device_id)s, %(channel)s, %(certificate_no)s, %(laboratory)s, %(calibrated_on)s,
    %(since)s, %(valid_until)s, %(points)s, %(recorded_at)s, %(position)s)

-- name: known
SELECT device_id, channel, certificate_no, laboratory, calibrated_on, since, valid_until, points
FROM rm_shared_calibrations.calibration
WHERE (%(ledger)s::bigint IS NULL OR position <= %(ledger)s)
    AND (%(devices)s::text[] IS NULL OR device_id = ANY(%(devices)s))
ORDER BY position

-- name: recorded_after
SELECT position, device_id, channel, since FROM rm_shared_calibrations.calibration
WHERE position > %s AND position <= %s ORDER BY position
