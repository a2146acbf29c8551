"""Positions: where the logs stood when an answer was computed, written `L<ledger>.T<telemetry>`.

`as_of` takes such a position, or a time, which means the last position recorded before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import psycopg
from fastapi import Query

from api.deps import Deps
from domain.shared.errors import Busy, Invalid
from store.sql import load_queries

_SQL = load_queries(Path(__file__).with_suffix(".sql"))
POSITION_PATTERN = r"^L[0-9]{1,18}\.T[0-9]{1,18}$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(Z|[+-][0-9]{2}:[0-9]{2})$"
_POSITION = re.compile(r"L([0-9]{1,18})\.T([0-9]{1,18})")


class Position(NamedTuple):
    """Where both logs stand."""

    ledger: int
    telemetry: int

    def __str__(self) -> str:
        """Return the form that users see and give back."""
        return f"L{self.ledger}.T{self.telemetry}"


AsOf = Annotated[
    str | None,
    Query(
        pattern=f"({POSITION_PATTERN})|({TIME_PATTERN})",
        examples=["L12.T34", "2026-11-22T08:00:00Z"],
        description="A position of an earlier answer, or a time (RFC 3339).",
    ),
]


def followed(deps: Deps) -> int:
    """Return the ledger position that every read model has reached."""
    with deps.pool.connection() as conn:
        return shown_now(conn).ledger


def shown_now(conn: psycopg.Connection[Any]) -> Position:
    """Return the position that answers are computed at when none is asked for."""
    row: Any = conn.execute(_SQL.now).fetchone()
    return Position(*row)


def known_until(conn: psycopg.Connection[Any], at: Position) -> datetime | None:
    """Return when the last reading counted at a position was recorded, None before the first."""
    row: Any = conn.execute(_SQL.known_until, (at.telemetry,)).fetchone()
    return row[0] if row else None


def last(deps: Deps) -> Position:
    """Return where both logs stand now."""
    return Position(deps.ledger.last_position(), deps.telemetry.last_position())


def resolve(deps: Deps, conn: psycopg.Connection[Any], as_of: str | None) -> Position:
    """Return the position to answer at: the one asked for, else what the read models know now.

    Invalid("bad_as_of") for a time that does not exist; Invalid("as_of_ahead") for a time to come
    or a position the logs have not reached; Busy("read_model_behind") for one the read models have
    not.
    """
    if as_of is None:
        return shown_now(conn)
    written = _POSITION.fullmatch(as_of)
    asked = Position(int(written[1]), int(written[2])) if written else _at(deps, as_of)
    if asked.ledger > deps.ledger.last_position():
        raise Invalid("as_of_ahead", field="as_of", value=as_of)
    if asked.telemetry > deps.telemetry.last_position():
        raise Invalid("as_of_ahead", field="as_of", value=as_of)
    if asked.ledger > shown_now(conn).ledger:
        raise Busy("read_model_behind")
    return asked


def _at(deps: Deps, as_of: str) -> Position:
    try:
        moment = datetime.fromisoformat(as_of).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid("bad_as_of", field="as_of", value=as_of) from None
    if moment > deps.clock.now():
        raise Invalid("as_of_ahead", field="as_of", value=as_of)
    return Position(deps.ledger.position_at(moment), deps.telemetry.position_at(moment))
