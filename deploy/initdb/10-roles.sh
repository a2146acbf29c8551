#!/bin/sh
# Runs once, when the database is made: the role that owns the tables and the role that uses them.
set -eu
: "${VAXTRAIL_OWNER_PASSWORD:?}" "${VAXTRAIL_APP_PASSWORD:?}"
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  -v owner_password="$VAXTRAIL_OWNER_PASSWORD" -v app_password="$VAXTRAIL_APP_PASSWORD" <<'SQL'
CREATE ROLE vaxtrail_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE vaxtrail_app LOGIN PASSWORD :'app_password';
ALTER DATABASE vaxtrail OWNER TO vaxtrail_owner;
ALTER SCHEMA public OWNER TO vaxtrail_owner;
SQL
