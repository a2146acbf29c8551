-- What each ingest worker has behind it. `settled_ledger_id`: the ledger position up to which it
-- has judged readings again where a probe moved or rules changed. `states_telemetry_id`: the
-- telemetry position that the rows of device_state of its devices stand for at least; what came
-- after it is folded in again at its start.
CREATE TABLE ingest_worker (
    worker integer PRIMARY KEY,
    settled_ledger_id bigint NOT NULL,
    states_telemetry_id bigint NOT NULL
);
INSERT INTO ingest_worker (worker, settled_ledger_id, states_telemetry_id)
SELECT 0, ledger_id, (SELECT coalesce(max(notification_id), 0) FROM telemetry_events) FROM settled;
DROP TABLE settled;
GRANT SELECT, INSERT, UPDATE ON ingest_worker TO vaxtrail_app;
