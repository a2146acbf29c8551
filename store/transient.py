"""Which database errors pass by themselves, and which are about what was sent."""

from __future__ import annotations

import psycopg

# SQLSTATE class "program limit exceeded" (a value too long for its index, say): psycopg calls these
# operational too, yet the same statement fails for ever.
PERMANENT_CLASS = "54"


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether the database is away or full, rather than the data wrong."""
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith(PERMANENT_CLASS)
    return isinstance(error, psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction)
