-- Up to which position of the ledger ingest has judged readings again where a probe moved or rules
-- changed; what came after it is settled at its next start. One row.
CREATE TABLE settled (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ledger_id bigint NOT NULL
);
INSERT INTO settled (ledger_id) VALUES (0);
GRANT SELECT, UPDATE ON settled TO vaxtrail_app;

-- The latest values of a device are each channel's newest by its own time. `older` holds, by
-- channel, [ms, boot, seq] of the reading it is from, where that is not the newest of the device
-- (or where that one says that the probe is unplugged: then the value is NULL).
ALTER TABLE device_state ADD COLUMN older jsonb NOT NULL DEFAULT '{}';
