"""Which database errors pass by themselves, and which are about what was sent."""

from __future__ import annotations

import psycopg
from eventsourcing.persistence import InterfaceError, OperationalError

# What psycopg and the library say when the database is away.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError)
# SQLSTATE class "program limit exceeded" (a value too long for its index, say): psycopg calls these
# operational too, yet the same statement fails for ever.
PERMANENT_CLASS = "54"
# "Transaction rollback", and "object not in prerequisite state" (a lock not granted).
UNDONE_CLASSES = ("40", PERMANENT_CLASS, "55")


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether the database is away or full, rather than the data wrong."""
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith(PERMANENT_CLASS)
    return isinstance(error, psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction)


def was_undone(error: BaseException | None) -> bool:
    """Tell whether the server says that it undid a transaction for what was done in it.

    So it does of a deadlock, a race, a lock not granted, a value that cannot be kept, a statement
    cancelled or too long (57014); of a session that ends (the rest of class 57) nobody knows.
    """
    state = getattr(error, "sqlstate", None) or ""
    return state[:2] in UNDONE_CLASSES or state == psycopg.errors.QueryCanceled.sqlstate
