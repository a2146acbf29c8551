-- name: old_days
-- Days that begin before a date and still have rows of their own, with their size.
SELECT day, bytes, EXISTS (SELECT FROM reading_hold h WHERE h.lifted_at IS NULL
                           AND day BETWEEN h.first_day AND h.last_day) AS held
FROM (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day, pg_total_relation_size(c.oid) AS bytes
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'public.reading'::regclass AND c.relname ~ '^reading_[0-9]{8}$') AS p
WHERE day < %s AND day NOT IN (SELECT d.day FROM reading_dropped d)
ORDER BY day

-- name: old_chunks
-- The same with TimescaleDB.
SELECT day, bytes, EXISTS (SELECT FROM reading_hold h WHERE h.lifted_at IS NULL
                           AND day BETWEEN h.first_day AND h.last_day) AS held
FROM (SELECT (c.range_start AT TIME ZONE 'UTC')::date AS day, s.total_bytes AS bytes
      FROM timescaledb_information.chunks c
      JOIN chunks_detailed_size('reading') s USING (chunk_schema, chunk_name)
      WHERE c.hypertable_name = 'reading') AS p
WHERE day < %s AND day NOT IN (SELECT d.day FROM reading_dropped d)
ORDER BY day

-- name: is_hypertable
SELECT relkind <> 'p' FROM pg_class WHERE oid = 'public.reading'::regclass

-- name: refresh
-- What the server has not rolled up yet; in hours, out of which days are made.
CALL refresh_continuous_aggregate('rollup_hour', %s::timestamptz, %s::timestamptz)

-- name: drop_day
SELECT drop_reading_day(%s)

-- name: holds
SELECT hold_id, first_day, last_day, reason, placed_at FROM reading_hold
WHERE lifted_at IS NULL ORDER BY hold_id

-- name: place_hold
INSERT INTO reading_hold (first_day, last_day, reason) VALUES (%s, %s, %s) RETURNING hold_id

-- name: lift_hold
-- A legal hold on a lot ends by an event only.
UPDATE reading_hold SET lifted_at = now()
WHERE hold_id = %s AND lifted_at IS NULL AND lot_id IS NULL

-- name: dropped
SELECT count(*), coalesce(sum(readings), 0)::bigint, min(day), max(day) FROM reading_dropped

-- name: hold_lot
SELECT hold_lot_days(%s, %s, %s, %s)

-- name: lift_lot
SELECT lift_lot_days(%s, %s)
