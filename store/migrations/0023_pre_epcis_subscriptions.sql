-- Who is sent the events that a named query asks for, and how far each has been sent.
--
-- A subscription either streams or has a schedule. (position, ordinal) is the last event it was
-- sent, or that did not concern it; (sending_position, sending_ordinal) the last of the report that
-- is being tried, so that every attempt at it is the same. `batch_max`: events in one report.
CREATE TABLE epcis_subscription (
    subscription_id uuid PRIMARY KEY,
    query_name text COLLATE "C" NOT NULL,
    query text NOT NULL,
    extensions text NOT NULL,
    key_id text NOT NULL,
    region_code text NOT NULL,
    dest text NOT NULL,
    secret text NOT NULL,
    epc_format text NOT NULL,
    schedule jsonb,
    report_if_empty boolean NOT NULL,
    initial_record_time timestamptz,
    created_at timestamptz NOT NULL,
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    sending_position bigint,
    sending_ordinal integer,
    batch_max integer NOT NULL DEFAULT 500,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    executed_at timestamptz NOT NULL,
    notified_at timestamptz,
    last_error text NOT NULL DEFAULT ''
);
CREATE INDEX epcis_subscription_due_idx ON epcis_subscription (due_at);
CREATE INDEX epcis_subscription_query_idx ON epcis_subscription (query_name, created_at);

-- Page tokens that were given back before they expired, by their SHA-256.
CREATE TABLE epcis_released_token (
    digest bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON epcis_subscription, epcis_released_token TO vaxtrail_app;
