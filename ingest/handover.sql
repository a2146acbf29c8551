-- name: own_all
-- Nobody else takes messages in: workers numbered from 1 up to this one.
SELECT bool_and(pg_try_advisory_lock(hashtext('vaxtrail.ingest'), n)) FROM generate_series(1, %s) n

-- name: recorded
SELECT worker, regions, backfill_apart FROM ingest_worker WHERE regions IS NOT NULL ORDER BY worker

-- name: anything_stored
SELECT EXISTS (SELECT FROM telemetry_events)

-- name: gather
-- Worker 0 takes over what all have behind them: no more than the one that is furthest behind.
UPDATE ingest_worker SET
    settled_ledger_id = least(settled_ledger_id, (
        SELECT min(settled_ledger_id) FROM ingest_worker WHERE regions IS NOT NULL)),
    states_telemetry_id = least(states_telemetry_id, (
        SELECT min(states_telemetry_id) FROM ingest_worker WHERE regions IS NOT NULL))
WHERE worker = 0

-- name: record
INSERT INTO ingest_worker
    (worker, settled_ledger_id, states_telemetry_id, regions, backfill_apart)
SELECT %(worker)s, settled_ledger_id, states_telemetry_id, %(regions)s, %(apart)s
FROM ingest_worker WHERE worker = 0
ON CONFLICT (worker) DO UPDATE SET
    settled_ledger_id = excluded.settled_ledger_id,
    states_telemetry_id = excluded.states_telemetry_id,
    regions = excluded.regions,
    backfill_apart = excluded.backfill_apart

-- name: retire
UPDATE ingest_worker SET regions = NULL WHERE worker > %s
