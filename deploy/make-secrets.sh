#!/bin/sh
# Write .env with a random password for every part, and deploy/users.conf with the broker's users
# (nobody but our own processes yet). Never overwrites what exists.
set -eu
cd "$(dirname "$0")/.."
umask 077
if [ ! -e deploy/users.conf ]; then
  cat > deploy/users.conf <<'END'
VAXTRAIL_USERS: [
 {
  "user": "server",
  "password": $VAXTRAIL_BROKER_PASSWORD,
  "allowed_connection_types": [
   "MQTT"
  ]
 }
]
END
  echo "已写入 deploy/users.conf / deploy/users.conf written"
fi
if [ -e .env ]; then
  echo ".env 已存在，未改动 / .env exists and was left alone" >&2
  exit 1
fi
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in POSTGRES_PASSWORD VAXTRAIL_OWNER_PASSWORD VAXTRAIL_APP_PASSWORD \
  VAXTRAIL_BROKER_PASSWORD GRAFANA_PASSWORD; do
  echo "$name=$(random)"
done > .env
echo "已写入 .env / .env written"
