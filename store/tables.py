"""Names that the library's configuration and our SQL must agree on."""

from __future__ import annotations

from pathlib import Path

SQL_FILE = Path(__file__).with_name("events.sql")
MIGRATIONS = Path(__file__).with_name("migrations")
OWNER_ROLE = "vaxtrail_owner"
APP_ROLE = "vaxtrail_app"
