#!/bin/sh
# Write .env with a random password for every part; never overwrites one that exists.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
  echo ".env 已存在，未改动 / .env exists and was left alone" >&2
  exit 1
fi
umask 077
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in POSTGRES_PASSWORD VAXTRAIL_OWNER_PASSWORD VAXTRAIL_APP_PASSWORD \
  VAXTRAIL_BROKER_PASSWORD GRAFANA_PASSWORD; do
  echo "$name=$(random)"
done > .env
echo "已写入 .env / .env written"
