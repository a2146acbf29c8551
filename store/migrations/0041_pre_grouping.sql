-- Messages to people are gathered: of which site a delivery is (null: it goes alone), of which
-- equipment where it is critical, and which delivery tells it along.
ALTER TABLE delivery
    ADD COLUMN group_site text COLLATE "C",
    ADD COLUMN group_unit text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN lead_id bigint;
CREATE INDEX delivery_lead_idx ON delivery (lead_id) WHERE lead_id IS NOT NULL;
CREATE INDEX delivery_gathered_idx ON delivery (recipient_id)
    WHERE group_site IS NOT NULL AND state = 'queued';
CREATE INDEX delivery_told_idx ON delivery (recipient_id, sent_at)
    WHERE group_site IS NOT NULL AND lead_id IS NULL AND sent_at IS NOT NULL;

-- Whether somebody has got so many messages within a time that one is to tell all from now on.
CREATE FUNCTION in_storm(who text, at timestamptz, most integer, within interval) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT count(*) >= most FROM (
        SELECT FROM delivery d
        WHERE d.recipient_id = who AND d.group_site IS NOT NULL AND d.lead_id IS NULL
            AND d.sent_at > at - within
        LIMIT most) d
$$;

-- When a message of a site is to be sent to somebody. `urgent`: critical; of `unit` (empty: it
-- waits for nothing but a storm).
CREATE FUNCTION tell_at(who text, site text, unit text, urgent boolean, at timestamptz,
    wait interval, pause interval, storm boolean, storm_pause interval) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT greatest(
        CASE WHEN urgent THEN at ELSE at + wait END,
        max(d.sent_at) FILTER (WHERE d.group_site = site
            AND (NOT urgent OR unit <> '' AND d.group_unit = unit)) + pause,
        CASE WHEN storm THEN max(d.sent_at) + CASE WHEN urgent THEN storm_pause ELSE pause END END)
    FROM delivery d
    WHERE d.recipient_id = who AND d.group_site IS NOT NULL AND d.lead_id IS NULL
        AND d.sent_at > at - pause
$$;

REVOKE ALL ON FUNCTION in_storm(text, timestamptz, integer, interval),
    tell_at(text, text, text, boolean, timestamptz, interval, interval, boolean, interval)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION in_storm(text, timestamptz, integer, interval),
    tell_at(text, text, text, boolean, timestamptz, interval, interval, boolean, interval)
    TO vaxtrail_app;
