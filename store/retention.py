"""Drop the rows of old readings, as the owner: whole days, never events, never what is held.

How old they must be is for the settings to say; below five years the database itself refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from store.sql import load_queries

queries = load_queries(Path(__file__).with_suffix(".sql"))

Connection = psycopg.Connection[Any]


class Day(NamedTuple):
    """A UTC day that has rows of its own; `held`: it must stay."""

    day: date
    size_bytes: int
    held: bool


class Hold(NamedTuple):
    """Days, both included, that must stay until the hold is lifted."""

    hold_id: int
    first_day: date
    last_day: date
    reason: str
    placed_at: Any


def old_days(conn: Connection, before: date) -> list[Day]:
    """Return the days before a date whose rows are still there."""
    query = queries.old_chunks if _is_hypertable(conn) else queries.old_days
    return [Day(*row) for row in conn.execute(query, (before,)).fetchall()]


def drop(conn: Connection, days: Sequence[Day]) -> tuple[int, dict[date, str]]:
    """Drop what is not held; return how many days, and by day why one could not be dropped.

    `conn` is the owner's, in autocommit mode: each day is a transaction of its own.
    """
    refresh = _is_hypertable(conn)
    dropped, left = 0, {}
    for day, _, held in days:
        if held:
            continue
        try:
            if refresh:
                conn.execute(queries.refresh, (f"{day}Z", f"{day + timedelta(days=1)}Z"))
            conn.execute(queries.drop_day, (day,))
            dropped += 1
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.InvalidParameterValue,
            psycopg.errors.ObjectNotInPrerequisiteState,
        ) as error:
            left[day] = str(error).splitlines()[0]
    return dropped, left


def holds(conn: Connection) -> list[Hold]:
    """Return the holds in force."""
    return [Hold(*row) for row in conn.execute(queries.holds).fetchall()]


def hold(conn: Connection, first_day: date, last_day: date, reason: str) -> int:
    """Keep days, both included, whatever their age; return the number of the hold."""
    ((hold_id,),) = conn.execute(queries.place_hold, (first_day, last_day, reason)).fetchall()
    return int(hold_id)


def lift(conn: Connection, hold_id: int) -> bool:
    """Lift a hold of days; False when there is none of this number in force."""
    return conn.execute(queries.lift_hold, (hold_id,)).rowcount == 1


def hold_lot(
    cur: psycopg.Cursor[Any], lot_id: str, case_no: str, first_day: date, last_day: date
) -> None:
    """Keep the days that a lot's chain needs, in the transaction of its legal hold."""
    cur.execute(queries.hold_lot, (lot_id, case_no, first_day, last_day))


def lift_lot(cur: psycopg.Cursor[Any], lot_id: str, case_no: str) -> None:
    """Let go of them, in the transaction that lifts the hold."""
    cur.execute(queries.lift_lot, (lot_id, case_no))


def _is_hypertable(conn: Connection) -> bool:
    ((found,),) = conn.execute(queries.is_hypertable).fetchall()
    return bool(found)
