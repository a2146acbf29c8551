-- Silences: when people are not told of alerts of a place. Rows change with the event that tells it.
--
-- `kinds` empty: of all kinds. `daily_from`, `daily_to`: quiet hours, minutes of the day in
-- Asia/Shanghai; null: all day.
CREATE TABLE silence (
    silence_id text COLLATE "C" PRIMARY KEY,
    region_code text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    kinds text[] NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    daily_from integer,
    daily_to integer,
    stock_moved boolean NOT NULL,
    reason text NOT NULL,
    made_by text NOT NULL
);
CREATE INDEX silence_ends_at_idx ON silence (ends_at);

-- Notices that people were not told of, until the ledger says so of their alert.
CREATE TABLE notice_held (
    outbox_id bigint PRIMARY KEY REFERENCES outbox ON DELETE CASCADE,
    alert_id uuid NOT NULL,
    held_at timestamptz NOT NULL
);

-- When the quiet hours end that a moment lies in; null where it lies in none.
CREATE FUNCTION quiet_until(s silence, at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT least(s.ends_at, at + make_interval(mins => (s.daily_to - n.minute + 1440) % 1440)
        - make_interval(secs => extract(second FROM at)::double precision))
    FROM (SELECT extract(hour FROM l.t)::integer * 60 + extract(minute FROM l.t)::integer AS minute
          FROM (SELECT at AT TIME ZONE 'Asia/Shanghai' AS t) l) n
    WHERE s.begins_at <= at AND s.ends_at > at AND s.daily_from IS NOT NULL
        AND (n.minute - s.daily_from + 1440) % 1440 < (s.daily_to - s.daily_from + 1440) % 1440
$$;

-- Until when messages of this severity are to wait at a place because of quiet hours; null: they
-- need not.
CREATE FUNCTION quiet_at(region text, site text, severity text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT max(quiet_until(s, at)) FROM silence s
    WHERE severity IN ('info', 'minor') AND s.daily_from IS NOT NULL AND s.ends_at > at
        AND s.region_code = ANY (regions_over(region)) AND s.site_id IN ('', site)
        AND s.unit_id = '' AND s.kinds = '{}'
$$;

-- Whether goods are known to be in a unit; where nobody keeps the books, there may be.
CREATE FUNCTION stock_inside(site text, unit text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF to_regclass('rm_traceability.node') IS NULL THEN
        RETURN true;
    END IF;
    RETURN EXISTS (
        SELECT FROM rm_traceability.node n
        WHERE n.parent IS NULL AND n.site_id = site AND n.unit_id IN ('', unit)
            AND coalesce(n.status, '') NOT IN ('used', 'wasted', 'sampled', 'destroyed', 'missing'));
END
$$;

-- How often it was alike before a moment: alerts of the same probe and rule, or of the same
-- equipment and kind, that began within six hours; and the newest of them.
CREATE FUNCTION flapped(alert uuid, unit text, subject text, rule text, fired timestamptz)
RETURNS TABLE (times bigint, last text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF to_regclass('rm_alerting.alert') IS NULL THEN
        RETURN QUERY SELECT 0::bigint, '';
        RETURN;
    END IF;
    RETURN QUERY SELECT count(*), coalesce((array_agg(a.alert_id ORDER BY a.fired_at DESC))[1], '')
        FROM rm_alerting.alert a
        WHERE a.unit_id = unit AND a.subject_id = subject AND a.rule_id = rule
            AND a.started_at > fired - interval '1 day' AND a.fired_at < fired
            AND a.fired_at > fired - interval '6 hours' AND a.state <> 'withdrawn'
            AND a.alert_id <> alert::text;
END
$$;

-- Which larger alert that is on speaks for one, empty: none does. Power and silence of a whole site
-- speak for its equipment, a silent gateway for its devices, a unit without power for its door and
-- its probes; a graver temperature alert of a unit for a lesser one of the same side.
CREATE FUNCTION spoken_for(alert uuid, fact jsonb, severity text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    ranks CONSTANT text[] := ARRAY['info', 'minor', 'major', 'critical'];
    gateway text;
    larger text;
BEGIN
    IF fact ? 'subject_kind' THEN
        IF to_regclass('rm_cold_chain.device') IS NOT NULL THEN
            SELECT d.gateway_id INTO gateway FROM rm_cold_chain.device d
            WHERE d.device_id = split_part(fact ->> 'subject_id', '/', 1);
        END IF;
        SELECT c.alert_id::text INTO larger FROM condition c
        WHERE c.alert_id <> alert AND (
            c.subject_kind = 'site' AND c.subject_id = fact ->> 'site_id'
                AND c.kind IN ('site_offline', 'power_lost') AND fact ->> 'subject_kind' <> 'site'
                AND fact ->> 'kind' IN ('gateway_offline', 'probe_offline', 'power_lost',
                    'door_open', 'stuck')
            OR c.subject_kind = 'unit' AND c.subject_id = fact ->> 'unit_id'
                AND c.kind = 'power_lost'
                AND fact ->> 'kind' IN ('probe_offline', 'door_open', 'stuck')
            OR c.kind = 'gateway_offline' AND fact ->> 'kind' = 'probe_offline'
                AND c.subject_id = gateway)
        ORDER BY c.kind DESC, c.alert_id LIMIT 1;
    ELSIF to_regclass('rm_alerting.alert') IS NOT NULL THEN
        SELECT a.alert_id INTO larger FROM rm_alerting.alert a
        WHERE a.unit_id = fact ->> 'unit_id' AND a.kind = 'temperature'
            AND a.side = fact ->> 'side' AND a.state IN ('firing', 'acknowledged')
            AND a.silenced_by = '' AND a.resolved_at IS NULL
            AND array_position(ranks, a.severity) > array_position(ranks, spoken_for.severity)
        ORDER BY array_position(ranks, a.severity) DESC, a.alert_id LIMIT 1;
    END IF;
    RETURN coalesce(larger, '');
END
$$;

-- Why people are not told of a notice that would rouse them, at a moment; empty: they are. What is
-- critical or may freeze is held back by nothing but a silence of a place whose goods were moved,
-- as long as nothing is known to be there.
CREATE FUNCTION held_back(o outbox, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    fact jsonb;
    what text;
    grave boolean;
    why text;
BEGIN
    IF o.kind NOT IN ('fired', 'escalated') THEN
        RETURN '';
    END IF;
    SELECT p.payload INTO fact FROM outbox p
    WHERE p.alert_id = o.alert_id AND p.kind = 'fired' AND p.id <= o.id ORDER BY p.id DESC LIMIT 1;
    IF fact IS NULL THEN
        RETURN '';
    END IF;
    what := CASE WHEN fact ? 'subject_kind' THEN fact ->> 'kind' ELSE 'temperature' END;
    grave := o.severity = 'critical'
        OR what = 'temperature' AND fact ->> 'side' = 'low' AND (fact ->> 'limit_c')::float8 <= 0;
    SELECT 'silence:' || s.silence_id INTO why FROM silence s
    WHERE s.begins_at <= at AND s.ends_at > at
        AND s.region_code = ANY (regions_over(o.region_code))
        AND s.site_id IN ('', fact ->> 'site_id') AND s.unit_id IN ('', fact ->> 'unit_id')
        AND (s.kinds = '{}' OR what = ANY (s.kinds))
        AND CASE WHEN s.daily_from IS NOT NULL
            THEN o.severity IN ('info', 'minor') AND NOT grave AND quiet_until(s, at) IS NOT NULL
            ELSE NOT grave OR s.stock_moved
                AND NOT stock_inside(fact ->> 'site_id', fact ->> 'unit_id') END
    ORDER BY s.ends_at DESC, s.silence_id LIMIT 1;
    IF why IS NOT NULL OR grave THEN
        RETURN coalesce(why, '');
    END IF;
    IF what <> 'temperature' AND fact ->> 'unit_id' <> ''
        AND to_regclass('rm_cold_chain.maintenance_order') IS NOT NULL
    THEN
        SELECT 'order:' || m.order_id INTO why FROM rm_cold_chain.maintenance_order m
        WHERE m.unit_id = fact ->> 'unit_id' AND m.state = 'open' AND m.opened_at <= at
            AND m.opened_at > at - interval '8 hours'
        ORDER BY m.opened_at DESC, m.order_id LIMIT 1;
    END IF;
    IF why IS NULL THEN
        why := 'alert:' || nullif(spoken_for(o.alert_id, fact, o.severity), '');
    END IF;
    IF why IS NULL AND what = 'temperature' AND fact ->> 'side' = 'high'
        AND o.severity IN ('info', 'minor')
        AND in_defrost(fact ->> 'device_id', fact ->> 'channel', o.severity,
            (fact ->> 'started_at')::timestamptz, (fact ->> 'peak_c')::float8,
            (fact ->> 'limit_c')::float8, at)
    THEN
        why := 'defrost:' || (fact ->> 'device_id') || '/' || (fact ->> 'channel');
    END IF;
    IF why IS NULL AND at < (fact ->> 'fired_at')::timestamptz + interval '30 minutes' THEN
        SELECT 'flap:' || f.last INTO why FROM flapped(o.alert_id, fact ->> 'unit_id',
            coalesce(fact ->> 'subject_id', (fact ->> 'device_id') || '/' || (fact ->> 'channel')),
            coalesce(fact ->> 'rule_id', fact ->> 'kind'), (fact ->> 'fired_at')::timestamptz) f
        WHERE f.times > 4;
    END IF;
    RETURN coalesce(why, '');
END
$$;

REVOKE ALL ON FUNCTION quiet_until(silence, timestamptz), quiet_at(text, text, text, timestamptz),
    stock_inside(text, text), flapped(uuid, text, text, text, timestamptz),
    spoken_for(uuid, jsonb, text), held_back(outbox, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION quiet_until(silence, timestamptz),
    quiet_at(text, text, text, timestamptz), stock_inside(text, text),
    flapped(uuid, text, text, text, timestamptz), spoken_for(uuid, jsonb, text),
    held_back(outbox, timestamptz) TO vaxtrail_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON silence, notice_held TO vaxtrail_app;
