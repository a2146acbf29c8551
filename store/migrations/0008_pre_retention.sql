-- Rows of readings may be dropped once the law no longer asks for them: only by the owner, whole
-- days, never events. The roll-ups stay, and rows can be made again from the events.

-- Days that must stay whatever their age: a dispute, an inquiry. Kept for ever, lifted or not.
CREATE TABLE reading_hold (
    hold_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_day date NOT NULL,
    last_day date NOT NULL CHECK (last_day >= first_day),
    reason text NOT NULL CHECK (reason <> ''),
    placed_at timestamptz NOT NULL DEFAULT now(),
    lifted_at timestamptz
);
GRANT SELECT ON reading_hold TO vaxtrail_app;

-- Drop the rows of a UTC day and return how many they were. Whatever the settings say, nothing
-- younger than five years goes (Vaccine Administration Law, article 39: five years past expiry),
-- nothing held, and nothing that the roll-ups do not know. Waits two seconds for readers and
-- writers at most, since everybody else waits meanwhile.
CREATE FUNCTION drop_reading_day(of_day date) RETURNS bigint LANGUAGE plpgsql
SET search_path = public, pg_temp SET lock_timeout = '2s' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    day_start timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
    day_end timestamptz := day_start + INTERVAL '1 day';
    partition text := 'reading_' || to_char(of_day, 'YYYYMMDD');
    stored bigint;
    rolled_up bigint;
BEGIN
    IF of_day > current_date - INTERVAL '5 years' THEN
        RAISE EXCEPTION 'rows of % are younger than five years', of_day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM reading_hold
               WHERE lifted_at IS NULL AND of_day BETWEEN first_day AND last_day) THEN
        RAISE EXCEPTION 'rows of % are held', of_day USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT count(*) INTO stored FROM reading WHERE ts >= day_start AND ts < day_end;
    -- By device, which is what the key begins with.
    SELECT coalesce(sum(h.readings), 0) INTO rolled_up FROM device_no d CROSS JOIN LATERAL (
        SELECT sum(r.readings) AS readings FROM rollup_hour r
        WHERE r.device_no = d.device_no AND r.ts >= day_start AND r.ts < day_end) AS h;
    IF stored <> rolled_up THEN
        RAISE EXCEPTION 'of the % rows of % the roll-ups know %', stored, of_day, rolled_up
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO reading_dropped (day, readings) VALUES (of_day, stored);
    IF (SELECT relkind FROM pg_class WHERE oid = 'public.reading'::regclass) = 'p' THEN
        EXECUTE format('ALTER TABLE public.reading DETACH PARTITION public.%I', partition);
        EXECUTE format('DROP TABLE public.%I', partition);
    ELSE
        PERFORM drop_chunks('reading', older_than => day_end, newer_than => day_start);
        -- A refresh would take away what the rows no longer tell: it begins after them from now on.
        -- Days are made out of hours, which stay.
        PERFORM alter_job(j.job_id, config => j.config || jsonb_build_object('start_offset',
                    (now() - (SELECT max(day) + 1 FROM reading_dropped))::text))
        FROM timescaledb_information.jobs j
        JOIN _timescaledb_catalog.continuous_agg a
            ON a.mat_hypertable_id = (j.config ->> 'mat_hypertable_id')::integer
        WHERE a.user_view_name = 'rollup_hour'
          AND j.proc_name = 'policy_refresh_continuous_aggregate';
    END IF;
    RETURN stored;
END $$;
REVOKE ALL ON FUNCTION drop_reading_day(date) FROM PUBLIC;

DO $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'public.reading'::regclass) <> 'p' THEN
        -- A ninth of the room; late readings still find their way in.
        ALTER TABLE reading SET (timescaledb.enable_columnstore,
                                 timescaledb.segmentby = 'device_no', timescaledb.orderby = 'ts');
        CALL add_columnstore_policy('reading', after => INTERVAL '30 days',
                                    initial_start => now() + INTERVAL '1 hour');
    END IF;
END $$;
