-- Roll-ups of readings by the hour and by the day (of China's one time zone, UTC+8), which outlive
-- the rows they were made from. With TimescaleDB they are continuous aggregates, without it tables
-- kept by a follower: same names, same columns. `reading_hour` and `reading_day` show them one row
-- a (device, channel).
--
-- Of each channel: n values, the least and the greatest, when each was first reached, and the sum.
-- Sums count ten thousandths and are therefore the same in any order. A time of an extreme is kept
-- behind its value in one number, so that an ordinary min() or max() finds it: ten thousandths
-- << 27 | milliseconds into the day, counted from its end for the greatest, so that of equal values
-- the earliest wins. Values lie within some hundreds (ingest refuses others).

-- UTC days whose rows of `reading` were dropped: what the roll-ups know of them must stay.
CREATE TABLE reading_dropped (
    day date PRIMARY KEY,
    readings bigint NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON reading_dropped TO vaxtrail_app;

-- Up to which position of the telemetry log the follower has come, and whether that was all there
-- was: only then are all roll-ups of that one moment. One row.
CREATE TABLE rolled_up (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    telemetry_id bigint NOT NULL,
    complete boolean NOT NULL DEFAULT false
);
INSERT INTO rolled_up (telemetry_id) VALUES (0);
GRANT SELECT, UPDATE ON rolled_up TO vaxtrail_app;

DO $$
DECLARE
    hypertable boolean := (SELECT relkind FROM pg_class WHERE oid = 'public.reading'::regclass) <> 'p';
    midnight text := 'TIMESTAMPTZ ''1999-12-31 16:00+00''';
    into_day text :=
        '(date_part(''epoch'', ts AT TIME ZONE INTERVAL ''8 hours'') * 1000)::bigint % 86400000';
    -- An aggregate's definition cannot have a subquery to work this out once a row; ours can.
    ms text := CASE WHEN hypertable THEN '(' || into_day || ')' ELSE 'ms' END;
    mask bigint := (1 << 27) - 1;
    channel text;
    value text;
    level text;
    columns text := 'readings, first_ts, last_ts';
    new_values text := 'excluded.readings, excluded.first_ts, excluded.last_ts';
    merged text := 'h.readings + excluded.readings, least(h.first_ts, excluded.first_ts),'
        ' greatest(h.last_ts, excluded.last_ts)';
    of_rows text := 'count(*)::integer AS readings, min(ts) AS first_ts, max(ts) AS last_ts';
    of_hours text :=
        'sum(readings)::integer AS readings, min(first_ts) AS first_ts, max(last_ts) AS last_ts';
    shown text[] := '{}';
BEGIN
    FOREACH channel IN ARRAY ARRAY['t1', 't2', 't3', 't4', 'rh', 'door', 'mains', 'bat'] LOOP
        value := channel || CASE WHEN channel IN ('door', 'mains') THEN '::integer::float8' ELSE '' END;
        of_rows := of_rows || format(
            ', count(%1$s)::integer AS %1$s_n, min(%2$s) AS %1$s_lo, max(%2$s) AS %1$s_hi,'
            ' sum((%2$s * 10000)::bigint)::bigint AS %1$s_sum,'
            ' min(((%2$s * 10000)::bigint << 27) | %3$s) AS %1$s_lo_at,'
            ' max(((%2$s * 10000)::bigint << 27) | (%4$s - %3$s)) AS %1$s_hi_at',
            channel, value, ms, mask);
        of_hours := of_hours || format(
            ', sum(%1$s_n)::integer AS %1$s_n, min(%1$s_lo) AS %1$s_lo, max(%1$s_hi) AS %1$s_hi,'
            ' sum(%1$s_sum)::bigint AS %1$s_sum, min(%1$s_lo_at) AS %1$s_lo_at,'
            ' max(%1$s_hi_at) AS %1$s_hi_at', channel);
        columns := columns || format(
            ', %1$s_n, %1$s_lo, %1$s_hi, %1$s_sum, %1$s_lo_at, %1$s_hi_at', channel);
        new_values := new_values || format(
            ', excluded.%1$s_n, excluded.%1$s_lo, excluded.%1$s_hi, excluded.%1$s_sum,'
            ' excluded.%1$s_lo_at, excluded.%1$s_hi_at', channel);
        merged := merged || format(
            ', h.%1$s_n + excluded.%1$s_n, least(h.%1$s_lo, excluded.%1$s_lo),'
            ' greatest(h.%1$s_hi, excluded.%1$s_hi),'
            ' coalesce(h.%1$s_sum + excluded.%1$s_sum, h.%1$s_sum, excluded.%1$s_sum),'
            ' least(h.%1$s_lo_at, excluded.%1$s_lo_at),'
            ' greatest(h.%1$s_hi_at, excluded.%1$s_hi_at)', channel);
        shown := shown || format(
            'SELECT device_no, %1$L::text AS channel, ts, readings, first_ts, last_ts, %1$s_n AS n,'
            ' %1$s_lo AS lo, date_bin(INTERVAL ''1 day'', ts, %2$s)'
            ' + (%1$s_lo_at & %3$s) * INTERVAL ''1 millisecond'' AS lo_ts,'
            ' %1$s_hi AS hi, date_bin(INTERVAL ''1 day'', ts, %2$s)'
            ' + (%3$s - (%1$s_hi_at & %3$s)) * INTERVAL ''1 millisecond'' AS hi_ts,'
            ' %1$s_sum / 10000.0::float8 AS total,'
            ' %1$s_sum / 10000.0::float8 / nullif(%1$s_n, 0) AS mean', channel, midnight, mask);
    END LOOP;

    IF hypertable THEN
        EXECUTE 'CREATE MATERIALIZED VIEW rollup_hour WITH (timescaledb.continuous,'
            ' timescaledb.materialized_only = false) AS SELECT device_no,'
            ' time_bucket(INTERVAL ''1 hour'', reading.ts, origin => ' || midnight || ') AS ts, ' || of_rows
            || ' FROM reading GROUP BY 1, 2 WITH NO DATA';
        EXECUTE 'CREATE MATERIALIZED VIEW rollup_day WITH (timescaledb.continuous,'
            ' timescaledb.materialized_only = false) AS SELECT device_no,'
            ' time_bucket(INTERVAL ''1 day'', rollup_hour.ts, origin => ' || midnight || ') AS ts, '
            || of_hours || ' FROM rollup_hour GROUP BY 1, 2 WITH NO DATA';
        PERFORM add_continuous_aggregate_policy('rollup_hour', start_offset => NULL,
            end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');
        PERFORM add_continuous_aggregate_policy('rollup_day', start_offset => NULL,
            end_offset => INTERVAL '1 day', schedule_interval => INTERVAL '1 hour');
        GRANT SELECT ON rollup_hour, rollup_day TO vaxtrail_app;
    ELSE
        EXECUTE 'CREATE TABLE rollup_hour AS SELECT device_no, ts, ' || of_rows
            || ' FROM (SELECT *, 0::bigint AS ms FROM reading) AS r GROUP BY 1, 2 WITH NO DATA';
        EXECUTE 'CREATE TABLE rollup_day AS SELECT device_no, ts, ' || of_hours
            || ' FROM rollup_hour GROUP BY 1, 2 WITH NO DATA';
        FOREACH level IN ARRAY ARRAY['rollup_hour', 'rollup_day'] LOOP
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (device_no, ts),'
                ' ALTER readings SET NOT NULL, SET (fillfactor = 80)', level);
        END LOOP;
        GRANT SELECT, INSERT, UPDATE, DELETE ON rollup_hour, rollup_day TO vaxtrail_app;

        -- Bring these hours (since 1970) of these devices up to date, in which rows from `since` on
        -- (ms) are new; all of one day, so that the planner looks at one partition. An hour whose
        -- new rows are all later than those it knows gets these added, which is the ordinary case;
        -- any other is aggregated anew. A day that was dropped is left as it is.
        EXECUTE format($text$
            CREATE FUNCTION roll_up_hours(
                of_day date, device_nos integer[], hours integer[], since bigint[])
            RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan
            SET search_path = public, pg_temp AS %L
        $text$, format($text$
            DECLARE
                day_start timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
                day_end timestamptz := day_start + INTERVAL '1 day';
            BEGIN
                IF EXISTS (SELECT FROM reading_dropped WHERE day = of_day) THEN
                    RETURN;
                END IF;
                INSERT INTO rollup_hour
                SELECT touched.device_no, touched.ts, anew.*
                FROM (SELECT t.device_no, TIMESTAMPTZ 'epoch' + t.hour * INTERVAL '1 hour' AS ts,
                             TIMESTAMPTZ 'epoch' + t.since * INTERVAL '1 millisecond' AS since
                      FROM unnest(device_nos, hours, since) AS t (device_no, hour, since)) AS touched
                CROSS JOIN LATERAL (
                    SELECT %1$s FROM (
                        SELECT *, %4$s AS ms FROM reading r
                        WHERE r.device_no = touched.device_no
                          AND r.ts >= touched.ts AND r.ts < touched.ts + INTERVAL '1 hour'
                          AND r.ts >= day_start AND r.ts < day_end
                        OFFSET 0
                    ) AS r
                ) AS anew
                WHERE anew.readings > 0 AND NOT EXISTS (
                    SELECT FROM rollup_hour h WHERE h.device_no = touched.device_no
                       AND h.ts = touched.ts AND h.last_ts < touched.since)
                ON CONFLICT (device_no, ts) DO UPDATE SET (%2$s) = ROW(%3$s);
                -- What was just aggregated knows its last row and is not found again.
                INSERT INTO rollup_hour AS h
                SELECT touched.device_no, touched.ts, more.*
                FROM (SELECT k.device_no, k.ts, k.last_ts
                      FROM unnest(device_nos, hours, since) AS t (device_no, hour, since)
                      JOIN rollup_hour k ON k.device_no = t.device_no
                       AND k.ts = TIMESTAMPTZ 'epoch' + t.hour * INTERVAL '1 hour'
                       AND k.last_ts < TIMESTAMPTZ 'epoch' + t.since * INTERVAL '1 millisecond'
                     ) AS touched
                CROSS JOIN LATERAL (
                    SELECT %1$s FROM (
                        SELECT *, %4$s AS ms FROM reading r
                        WHERE r.device_no = touched.device_no
                          AND r.ts > touched.last_ts AND r.ts < touched.ts + INTERVAL '1 hour'
                          AND r.ts >= day_start AND r.ts < day_end
                        OFFSET 0
                    ) AS r
                ) AS more
                WHERE more.readings > 0
                ON CONFLICT (device_no, ts) DO UPDATE SET (%2$s) = ROW(%5$s);
            END $text$, of_rows, columns, new_values, into_day, merged));

        -- The same for days (since 1970, from midnight UTC+8), out of their hours.
        EXECUTE format($text$
            CREATE FUNCTION roll_up_days(device_nos integer[], days integer[])
            RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS %L
        $text$, format($text$
            BEGIN
                INSERT INTO rollup_day
                SELECT touched.device_no, touched.ts, anew.*
                FROM (SELECT t.device_no,
                             TIMESTAMPTZ 'epoch' + (t.day * 24 - 8) * INTERVAL '1 hour' AS ts
                      FROM unnest(device_nos, days) AS t (device_no, day)) AS touched
                CROSS JOIN LATERAL (
                    SELECT %1$s FROM rollup_hour h
                    WHERE h.device_no = touched.device_no
                      AND h.ts >= touched.ts AND h.ts < touched.ts + INTERVAL '1 day'
                ) AS anew
                WHERE anew.readings > 0
                ON CONFLICT (device_no, ts) DO UPDATE SET (%2$s) = ROW(%3$s);
            END $text$, of_hours, columns, new_values));

        REVOKE ALL ON FUNCTION roll_up_hours(date, integer[], integer[], bigint[]),
            roll_up_days(integer[], integer[]) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION roll_up_hours(date, integer[], integer[], bigint[]),
            roll_up_days(integer[], integer[]) TO vaxtrail_app;
    END IF;

    EXECUTE 'CREATE VIEW reading_hour AS '
        || replace(array_to_string(shown, ' FROM rollup UNION ALL ') || ' FROM rollup',
                   'FROM rollup', 'FROM rollup_hour');
    EXECUTE 'CREATE VIEW reading_day AS '
        || replace(array_to_string(shown, ' FROM rollup UNION ALL ') || ' FROM rollup',
                   'FROM rollup', 'FROM rollup_day');
    GRANT SELECT ON reading_hour, reading_day TO vaxtrail_app;
END $$;
