-- name: enter
INSERT INTO ingest_worker (worker, settled_ledger_id, states_telemetry_id)
SELECT %s, (SELECT coalesce(max(notification_id), 0) FROM ledger_events),
    (SELECT coalesce(max(notification_id), 0) FROM telemetry_events)
ON CONFLICT (worker) DO UPDATE SET settled_ledger_id = excluded.settled_ledger_id,
    states_telemetry_id = excluded.states_telemetry_id
