-- What must be told a platform, how far each upload has come, and how far the platform was asked.
--
-- `fields`: what is sent, under the platform's names; `parties`: its field -> our site. `round`:
-- how often it was sent anew; an attempt without an answer is no new round. `missing`: the platform
-- did not have it when it was last compared. What happened to an upload is told in the ledger, in
-- the transaction that changes `state`.
CREATE TABLE platform_upload (
    upload_id text COLLATE "C" PRIMARY KEY,
    platform text NOT NULL,
    kind text NOT NULL,
    bill_type text NOT NULL,
    bill_code text COLLATE "C" NOT NULL,
    fact_id text COLLATE "C" NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    day date NOT NULL,
    codes integer NOT NULL,
    fields jsonb NOT NULL,
    parties jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    round integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    missing boolean NOT NULL DEFAULT false,
    due_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    last_error text NOT NULL DEFAULT ''
);
CREATE INDEX platform_upload_due_idx ON platform_upload (due_at)
    WHERE state IN ('waiting', 'submitted');
CREATE INDEX platform_upload_day_idx ON platform_upload (day, kind);
CREATE INDEX platform_upload_fact_idx ON platform_upload (fact_id) WHERE fact_id <> '';
CREATE INDEX platform_upload_state_idx ON platform_upload (state, upload_id);

-- `position`: the ledger up to here was looked through; the moment up to which recalls were asked;
-- the last local day whose storage temperatures were put down, and the last compared.
CREATE TABLE platform_progress (
    platform text PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    recalled_until timestamptz,
    stored_until date,
    compared_until date
);

GRANT SELECT, INSERT, UPDATE ON platform_upload, platform_progress TO vaxtrail_app;
