-- Forecasts of when a probe would leave its limits, as they were made, and what became of them.
--
-- `chance`: that it does within half an hour. `told`: people were told of it. `outcome`, when that
-- time is over: came | not | unknown (nothing was read); `came_at`: when the limit was passed.
CREATE TABLE forecast (
    forecast_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    made_at timestamptz NOT NULL,
    value_c double precision NOT NULL,
    limit_c double precision NOT NULL,
    side text NOT NULL,
    chance double precision NOT NULL,
    eta_at timestamptz NOT NULL,
    early_at timestamptz NOT NULL,
    late_at timestamptz,
    method text NOT NULL,
    told boolean NOT NULL,
    outcome text,
    came_at timestamptz
);
CREATE INDEX forecast_unit_idx ON forecast (unit_id, made_at);
CREATE INDEX forecast_open_idx ON forecast (made_at) WHERE outcome IS NULL;
GRANT SELECT, INSERT, UPDATE ON forecast TO vaxtrail_app;

-- Defrosts of units as probes see them: see domain/alerting/defrost.py. `learnt_at`: from the
-- readings up to then; without `period_ms`: they show none.
CREATE TABLE defrost (
    device_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    learnt_at timestamptz NOT NULL,
    period_ms bigint,
    last_ms bigint,
    lasts_ms bigint,
    peak_c double precision,
    matches integer,
    PRIMARY KEY (device_id, channel)
);
CREATE INDEX defrost_unit_idx ON defrost (unit_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON defrost TO vaxtrail_app;

-- Whether a warning of a probe that began at a moment comes in a defrost that is expected: at most
-- a fifth of a period from its time, for 40 minutes, up to 4 °C above the limit. Never an alarm.
CREATE FUNCTION in_defrost(
    device text, of_channel text, severity text, began timestamptz, peak_c float8, limit_c float8,
    at timestamptz
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT severity IN ('info', 'minor') AND at <= began + INTERVAL '40 minutes'
        AND peak_c > limit_c AND peak_c <= limit_c + 4
        AND coalesce((
            SELECT round(p.n) BETWEEN 1 AND 20 AND abs(p.n - round(p.n)) <= 0.2
            FROM defrost d CROSS JOIN LATERAL (
                SELECT (extract(epoch FROM began) * 1000 - d.last_ms) / d.period_ms AS n) p
            WHERE d.device_id = device AND d.channel = of_channel AND d.period_ms > 0), false)
$$;
REVOKE ALL ON FUNCTION in_defrost(text, text, text, timestamptz, float8, float8, timestamptz)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION in_defrost(text, text, text, timestamptz, float8, float8, timestamptz)
    TO vaxtrail_app;
