-- What the processes keep beside the logs: all of it derived from events or waiting to be done.

-- Newest values, stored sequence ranges and threshold state of a device; written by ingest in the
-- transaction of its readings.
CREATE TABLE device_state (
    device_no integer PRIMARY KEY REFERENCES device_no,
    region_code text NOT NULL,
    ts timestamptz,
    boot integer,
    seq bigint,
    t1 double precision,
    t2 double precision,
    t3 double precision,
    t4 double precision,
    rh double precision,
    door boolean,
    mains boolean,
    bat double precision,
    extra jsonb,
    received_at timestamptz,
    ranges bytea NOT NULL DEFAULT '',
    rules jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX device_state_region_code_idx ON device_state (region_code text_pattern_ops);

-- The engine's own record of its episodes, in the same transaction: what late data are held against.
CREATE TABLE episode (
    alert_id uuid PRIMARY KEY,
    device_no integer NOT NULL REFERENCES device_no,
    channel text NOT NULL,
    unit_id text NOT NULL,
    rule_id text NOT NULL,
    rule_version integer NOT NULL,
    severity text NOT NULL,
    started_at timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    peak_c double precision NOT NULL,
    recovered_at timestamptz,
    resolved_at timestamptz,
    withdrawn boolean NOT NULL DEFAULT false,
    version integer NOT NULL
);
CREATE INDEX episode_probe_idx ON episode (device_no, channel, rule_id, started_at);

-- What people and subscribed systems must be told, written with the event that says so.
CREATE TABLE outbox (
    id bigserial PRIMARY KEY,
    key text NOT NULL UNIQUE,
    alert_id uuid NOT NULL,
    kind text NOT NULL,
    level integer NOT NULL DEFAULT 0,
    severity text NOT NULL,
    region_code text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    expanded boolean NOT NULL DEFAULT false
);
CREATE INDEX outbox_waiting_idx ON outbox (id) WHERE NOT expanded;
CREATE INDEX outbox_alert_id_idx ON outbox (alert_id, id);

-- People's addresses are personal data and change: therefore a table, not events.
CREATE TABLE recipient (
    recipient_id text PRIMARY KEY,
    name text NOT NULL,
    channel text NOT NULL,
    address text NOT NULL,
    secret text NOT NULL DEFAULT '',
    region_code text NOT NULL,
    site_id text NOT NULL DEFAULT '',
    level integer NOT NULL DEFAULT 0,
    severity_min text NOT NULL DEFAULT 'minor',
    active boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1
);

CREATE TABLE delivery (
    id bigserial PRIMARY KEY,
    outbox_id bigint NOT NULL REFERENCES outbox,
    alert_id uuid NOT NULL,
    recipient_id text NOT NULL,
    channel text NOT NULL,
    level integer NOT NULL,
    key text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'queued',
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    evidence jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX delivery_due_idx ON delivery (next_at) WHERE state IN ('queued', 'sending');
CREATE INDEX delivery_alert_idx ON delivery (alert_id);

-- Messages that could not be taken, as received; the event of each is in the telemetry log.
CREATE TABLE quarantine (
    id uuid PRIMARY KEY,
    topic text NOT NULL,
    payload bytea NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    received_at timestamptz NOT NULL,
    seen bigint NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'open',
    actor_id text NOT NULL DEFAULT '',
    resolved_at timestamptz
);
CREATE INDEX quarantine_state_idx ON quarantine (state, received_at, id);

-- First answers to commands, so that a repeated request gets the same one.
CREATE TABLE idempotency (
    principal text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);

-- Followers: how far each has come (the library's tracking recorder), which shape its tables have,
-- and events it could not take.
CREATE TABLE follower_tracking (
    application_name text,
    notification_id bigint,
    PRIMARY KEY (application_name)
);
CREATE TABLE follower (
    name text PRIMARY KEY,
    version integer NOT NULL,
    rebuilt_at timestamptz
);
CREATE TABLE dead_letter (
    follower text NOT NULL,
    position bigint NOT NULL,
    topic text NOT NULL,
    error text NOT NULL,
    failed_at timestamptz NOT NULL,
    PRIMARY KEY (follower, position)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON device_state, episode, outbox, recipient, delivery,
    quarantine, idempotency, follower_tracking, follower, dead_letter TO vaxtrail_app;
GRANT USAGE, SELECT ON SEQUENCE outbox_id_seq, delivery_id_seq TO vaxtrail_app;
