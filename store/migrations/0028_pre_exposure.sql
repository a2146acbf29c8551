-- What temperature probes exposed goods to, as sums that a stay is two look-ups of: quarter hours
-- with running sums inside their UTC day, and days with running sums since ever. Kept by a follower
-- out of the rows of readings, which they outlive. `probe`: device_no * 4 + 0 … 3 for t1 … t4.
--
-- `block`: quarter hours since 1970; only those in which a reading holds. `lo`, `hi`: of the values
-- that held or were read in it. `data`: see projections/thermal/blocks.py. Out of line where a
-- device reads every second; never compressed, numbers do not shrink.
CREATE TABLE exposure_block (
    probe integer NOT NULL,
    block integer NOT NULL,
    lo double precision NOT NULL,
    hi double precision NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (probe, block)
) WITH (fillfactor = 85);
ALTER TABLE exposure_block ALTER data SET STORAGE EXTERNAL;
-- Extremes are looked for where something left 2 … 8 °C.
CREATE INDEX exposure_block_outside_idx ON exposure_block (probe, block) INCLUDE (lo, hi)
    WHERE lo < 2 OR hi > 8;

-- `data`: the sums before the day, and those of the day.
CREATE TABLE exposure_day (
    probe integer NOT NULL,
    day integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (probe, day)
) WITH (fillfactor = 85);
ALTER TABLE exposure_day ALTER data SET STORAGE PLAIN;

-- Quarter hours that were told late and mean something else now: the sums before and after, until
-- whoever holds the goods by then has been told.
CREATE TABLE exposure_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    probe integer NOT NULL,
    block integer NOT NULL,
    before bytea NOT NULL,
    after bytea NOT NULL
);

-- Up to which position of the telemetry log the follower has come, and whether that was all there
-- was: only then are all sums of that one moment. `tells`: it had all there was once, and what comes
-- late from then on changes what somebody may have been told. One row.
CREATE TABLE exposed (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    telemetry_id bigint NOT NULL,
    complete boolean NOT NULL DEFAULT false,
    tells boolean NOT NULL DEFAULT false
);
INSERT INTO exposed (telemetry_id) VALUES (0);

GRANT SELECT, INSERT, UPDATE ON exposure_block, exposure_day TO vaxtrail_app;
GRANT SELECT, INSERT, DELETE ON exposure_change TO vaxtrail_app;
GRANT SELECT, UPDATE ON exposed TO vaxtrail_app;

-- Forget all but those whose rows are no longer there, and what follows from nothing any more. What
-- held over midnight into a dropped day stays with it.
CREATE FUNCTION forget_exposure() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    DELETE FROM exposure_block WHERE NOT EXISTS (
        SELECT FROM reading_dropped d WHERE d.day = DATE '1970-01-01' + block / 96);
    DELETE FROM exposure_day y WHERE NOT EXISTS (
        SELECT FROM reading_dropped d WHERE d.day = DATE '1970-01-01' + y.day);
    DELETE FROM exposure_change
$$;
REVOKE ALL ON FUNCTION forget_exposure() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_exposure() TO vaxtrail_app;
