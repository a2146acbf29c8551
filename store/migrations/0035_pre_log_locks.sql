-- Writers of a log take turns by an advisory lock. A lock of the table kept vacuum and analyze out as
-- well: while writers were busy these never finished, and each try held all writers up for a second
-- (against wraparound, which is not interrupted, for as long as it takes).
CREATE OR REPLACE FUNCTION lock_telemetry_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7203408, 1);
    NOTIFY telemetry_events;
END $$;

CREATE OR REPLACE FUNCTION lock_ledger_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7203408, 2);
    NOTIFY ledger_events;
END $$;
