-- One row a reading (one time of one device with all its channels), daily ranges by `ts` (UTC).
-- With TimescaleDB in the database it is a hypertable instead: same name, same queries.
CREATE SEQUENCE batch_seq;

-- One row a transaction that appended to a log, with the last position it reached in each.
-- Readings are cut at a telemetry position by batches.telemetry_id <= T; batch numbers themselves
-- are in no order of commit. `recorded_at` never falls along a log: it is written under its lock.
CREATE TABLE batches (
    batch bigint PRIMARY KEY,
    telemetry_id bigint,
    ledger_id bigint,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX batches_telemetry_id_idx ON batches (telemetry_id) INCLUDE (batch, recorded_at)
    WHERE telemetry_id IS NOT NULL;
CREATE INDEX batches_telemetry_time_idx ON batches (recorded_at, telemetry_id)
    WHERE telemetry_id IS NOT NULL;
CREATE INDEX batches_ledger_id_idx ON batches (ledger_id) INCLUDE (recorded_at)
    WHERE ledger_id IS NOT NULL;
CREATE INDEX batches_ledger_time_idx ON batches (recorded_at, ledger_id)
    WHERE ledger_id IS NOT NULL;

CREATE TABLE device_no (
    device_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL UNIQUE
);

CREATE TABLE reading (
    device_no integer NOT NULL,
    ts timestamptz NOT NULL,
    boot integer NOT NULL,
    seq bigint NOT NULL,
    batch bigint NOT NULL,
    backfill boolean NOT NULL,
    t1 double precision,
    t2 double precision,
    t3 double precision,
    t4 double precision,
    rh double precision,
    door boolean,
    mains boolean,
    bat double precision,
    extra jsonb
) PARTITION BY RANGE (ts);
-- Not unique on purpose: a unique index costs 3 to 4 times as much, and the event's key and the
-- stored ranges of each device already keep doubles out.
CREATE INDEX reading_device_no_ts_idx ON reading (device_no, ts);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        DROP TABLE reading;
        CREATE TABLE reading (
            device_no integer NOT NULL,
            ts timestamptz NOT NULL,
            boot integer NOT NULL,
            seq bigint NOT NULL,
            batch bigint NOT NULL,
            backfill boolean NOT NULL,
            t1 double precision, t2 double precision, t3 double precision, t4 double precision,
            rh double precision,
            door boolean,
            mains boolean,
            bat double precision,
            extra jsonb
        );
        PERFORM create_hypertable('reading', by_range('ts', INTERVAL '1 day'),
                                  create_default_indexes => false);
        CREATE INDEX reading_device_no_ts_idx ON reading (device_no, ts);
    END IF;
END $$;

-- Make the daily partitions that are missing; the application role may not create tables.
-- A hypertable makes its own chunks: then there is nothing to do. Returns how many were made.
-- A table is made first and attached then: that waits for no reader, and no reader waits for it.
-- Days end ten years ahead of the database's own clock; a clock that is moved stays within that.
CREATE FUNCTION ensure_reading_partitions(first_day date, last_day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day date;
    made integer := 0;
    name text;
BEGIN
    IF first_day < DATE '2015-01-01' OR last_day > current_date + 3660 OR last_day < first_day THEN
        RAISE EXCEPTION 'days out of range: % to %', first_day, last_day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = 'public.reading'::regclass) <> 'p' THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_reading_partitions'));
    FOR day IN SELECT generate_series(first_day, last_day, INTERVAL '1 day')::date LOOP
        name := 'reading_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('public.' || name) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I (LIKE public.reading)', name);
            EXECUTE format(
                'ALTER TABLE public.reading ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

REVOKE ALL ON FUNCTION ensure_reading_partitions(date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_reading_partitions(date, date) TO vaxtrail_app;
GRANT SELECT, INSERT ON reading, batches, device_no TO vaxtrail_app;
GRANT USAGE, SELECT ON SEQUENCE batch_seq, device_no_device_no_seq TO vaxtrail_app;
