-- What ingest keeps beside the telemetry log about gaps in numbering, clocks, and what people ask
-- of devices.

-- A gap is [first, past) on its device's line of versions (boot * 2^40 + seq); gaps of a device
-- never overlap. `missing` readings of it had not come when it was last looked at, `lost` ones the
-- device has no more. `asked`: how often in vain. `forgotten`: the ranges of the device say nothing
-- of it any more, only the log does.
CREATE TABLE gap (
    device_no integer NOT NULL REFERENCES device_no,
    first bigint NOT NULL,
    past bigint NOT NULL,
    missing bigint NOT NULL,
    lost int8multirange NOT NULL DEFAULT '{}',
    forgotten boolean NOT NULL DEFAULT false,
    gateway_id text NOT NULL,
    region_code text NOT NULL,
    state text NOT NULL DEFAULT 'open',
    version bigint NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    asked integer NOT NULL DEFAULT 0,
    asked_at timestamptz,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (device_no, first)
);
-- Filled ones are by far the most, and nobody works on them.
CREATE INDEX gap_due_idx ON gap (due_at) WHERE state = 'open';
CREATE INDEX gap_gateway_idx ON gap (gateway_id) WHERE state = 'open';
CREATE INDEX gap_missing_idx ON gap (state, device_no) WHERE state <> 'filled';
CREATE INDEX gap_opened_at_idx ON gap (opened_at, device_no, first);

-- What people asked of devices; the events are in the ledger.
CREATE TABLE device_command (
    command_id uuid PRIMARY KEY,
    device_id text NOT NULL,
    region_code text NOT NULL,
    cmd text NOT NULL,
    arguments jsonb NOT NULL,
    actor_id text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    answer text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX device_command_waiting_idx ON device_command (issued_at) WHERE state = 'waiting';
CREATE INDEX device_command_device_idx ON device_command (device_id, issued_at, command_id);

-- What was last found about a device's clock; severity is empty when it is right again.
CREATE TABLE device_clock (
    device_id text PRIMARY KEY,
    severity text NOT NULL,
    offset_ms bigint NOT NULL,
    since timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);

GRANT SELECT, INSERT, UPDATE ON gap, device_command, device_clock TO vaxtrail_app;
