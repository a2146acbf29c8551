-- The two logs. Columns, key and index are those of the eventsourcing library's application
-- recorder, so that its reading side works unchanged. Rows are never changed or deleted: the
-- application role may insert and select, nothing else.
CREATE TABLE telemetry_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.01);
CREATE UNIQUE INDEX telemetry_events_notification_id_idx ON telemetry_events (notification_id ASC);

CREATE TABLE ledger_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.01);
CREATE UNIQUE INDEX ledger_events_notification_id_idx ON ledger_events (notification_id ASC);

-- LOCK TABLE … IN EXCLUSIVE MODE needs more than INSERT, which the application role does not have:
-- these run as the owner. The lock makes ids visible in the order of commits.
CREATE FUNCTION lock_telemetry_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE telemetry_events IN EXCLUSIVE MODE;
    NOTIFY telemetry_events;
END $$;

CREATE FUNCTION lock_ledger_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE ledger_events IN EXCLUSIVE MODE;
    NOTIFY ledger_events;
END $$;

REVOKE ALL ON FUNCTION lock_telemetry_events(), lock_ledger_events() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_telemetry_events(), lock_ledger_events() TO vaxtrail_app;
GRANT SELECT, INSERT ON telemetry_events, ledger_events TO vaxtrail_app;
GRANT USAGE, SELECT ON SEQUENCE telemetry_events_notification_id_seq,
    ledger_events_notification_id_seq TO vaxtrail_app;
