-- What stood in a quarter hour before something that came late changed it, as a whole row (no bytes:
-- there was none), so that the ends of a stay weigh as they did; why; and the end of the ledger then:
-- goods are looked for once their custody is known up to there. What waited in the old form had sums
-- alone, of which no part of a quarter can be told.
DELETE FROM exposure_change;
ALTER TABLE exposure_change DROP COLUMN after;
ALTER TABLE exposure_change ADD COLUMN cause text NOT NULL;
ALTER TABLE exposure_change ADD COLUMN ledger_id bigint NOT NULL;

-- Up to which position of the ledger calibrations have been taken into the sums.
ALTER TABLE exposed ADD COLUMN ledger_id bigint NOT NULL DEFAULT 0;

-- Up to which position of the ledger facts that came late have been held against the goods. One row.
CREATE TABLE exposure_told (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ledger_id bigint NOT NULL
);
INSERT INTO exposure_told (ledger_id) SELECT coalesce(max(notification_id), 0) FROM ledger_events;
GRANT SELECT, UPDATE ON exposure_told TO vaxtrail_app;

-- Forget all but those whose rows are no longer there, and keep what nobody has been told of yet:
-- the same rows come back, and what stood there before still did.
CREATE OR REPLACE FUNCTION forget_exposure() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    DELETE FROM exposure_block WHERE NOT EXISTS (
        SELECT FROM reading_dropped d WHERE d.day = DATE '1970-01-01' + block / 96);
    DELETE FROM exposure_day y WHERE NOT EXISTS (
        SELECT FROM reading_dropped d WHERE d.day = DATE '1970-01-01' + y.day)
$$;
