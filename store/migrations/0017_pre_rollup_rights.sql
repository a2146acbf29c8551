-- Roll-ups outlive the rows they were made from. The application makes them out of rows by
-- functions of the owner's, and can write them in no other way.
DO $migration$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'public.rollup_hour'::regclass) <> 'r' THEN
        RETURN;  -- TimescaleDB keeps them itself
    END IF;
    REVOKE INSERT, UPDATE, DELETE ON rollup_hour, rollup_day FROM vaxtrail_app;
    ALTER FUNCTION roll_up_hours(date, integer[], integer[], bigint[]) SECURITY DEFINER;
    ALTER FUNCTION roll_up_days(integer[], integer[]) SECURITY DEFINER;

    -- Forget all but those whose rows are no longer there. A day of ours lies in two of UTC; it
    -- stays where hours of it do.
    CREATE FUNCTION forget_rollups() RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
        DELETE FROM rollup_hour WHERE NOT EXISTS (
            SELECT FROM reading_dropped d WHERE d.day = (ts AT TIME ZONE 'UTC')::date);
        DELETE FROM rollup_day y WHERE NOT EXISTS (
            SELECT FROM reading_dropped d
            WHERE d.day IN ((y.ts AT TIME ZONE 'UTC')::date, (y.ts AT TIME ZONE 'UTC')::date + 1))
    $$;
    REVOKE ALL ON FUNCTION forget_rollups() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION forget_rollups() TO vaxtrail_app;
END $migration$;
