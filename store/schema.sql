-- name: create_ledger_of_migrations
CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: lock
-- One migrator at a time, whoever else starts beside it.
SELECT pg_advisory_xact_lock(hashtext('vaxtrail.migrate'))

-- name: applied
SELECT name, sha256 FROM schema_migration ORDER BY name

-- name: record
INSERT INTO schema_migration (name, sha256) VALUES (%s, %s)

-- name: grant_reading
GRANT SELECT ON schema_migration TO vaxtrail_app

-- name: create_schema
-- Read models live in schemas of their own, whose tables the application role makes and owns.
CREATE SCHEMA IF NOT EXISTS {schema}

-- name: grant_schema
GRANT ALL ON SCHEMA {schema} TO {role}

-- name: describe
-- Everything that makes a schema what it is, one line a thing.
SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
       || ' ' || coalesce(column_default, '') AS line
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND proowner::regrole::text <> 'postgres'
UNION ALL
SELECT 'grant ' || table_name || ' ' || grantee || ' ' || privilege_type
FROM information_schema.role_table_grants WHERE table_schema = 'public'
ORDER BY line
