"""A report as an answer: masked for who asks, each row with the hashes of its events, its proof.

What a report says is folded from its facts at once; its rows are masked, proven and written piece
by piece, so that a lot of many codes is not in memory several times over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import orjson
from psycopg_pool import ConnectionPool

from api import asof
from api.asof import Position
from api.custody_scope import in_region, touches
from api.oversight.asking import Asking
from api.oversight.report import Report, Row, report_of
from api.oversight.rows import Connection, hashes, telemetry_head
from api.oversight.subject import Subject
from api.oversight.warmth import Warmth
from projections.shared import org_tree

# Of these parts, only what is in the caller's region: the chain itself is shown whole.
_LOCAL = frozenset({"stock", "injections", "exceptions", "quality", "corrections"})
_SITES = ("site_id", "from_site_id", "to_site_id")
HASHED = "SHA-256 of the event's bytes as stored"
# Rows whose events are looked up together.
ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a part: masked and proven when they are read, however often."""

    pool: ConnectionPool[Any]
    rows: Sequence[Row]
    shown: Callable[[Row], Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows as the caller may see them."""
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterator[list[Row]]:
        """Yield them many at a time; a connection is taken for each piece alone."""
        rows = iter(self.rows)
        while piece := list(islice(rows, ROWS_AT_ONCE)):
            with self.pool.connection() as conn:
                told = proven(conn, map(self.shown, piece))
            yield told


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer, the names in it, and the positions of the events behind it."""

    body: Row
    sites: Mapping[str, org_tree.Name]
    positions: Collection[int]
    at: Position

    def json(self) -> Iterator[bytes]:
        """Yield the bytes of the answer."""
        return _written(self.body)


def _written(value: Any) -> Iterator[bytes]:
    """Yield a value as JSON, rows in pieces."""
    if isinstance(value, Rows):
        for n, piece in enumerate(value.pieces()):
            yield b"," if n else b"["
            yield orjson.dumps(piece, option=orjson.OPT_UTC_Z)[1:-1]
        yield b"]" if len(value) else b"[]"
    elif _holds_rows(value):
        for n, (name, each) in enumerate(value.items()):
            yield (b"," if n else b"{") + orjson.dumps(name) + b":"
            yield from _written(each)
        yield b"}"
    else:
        yield orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _holds_rows(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(each, Rows) or _holds_rows(each) for each in value.values()
    )


def warmth_at(conn: Connection, at: Position) -> Warmth:
    """Return the readings as known at a position."""
    until = asof.known_until(conn, at)
    until_ms = None if until is None else round(until.timestamp() * 1000)
    return Warmth(conn, at.ledger, at.telemetry, until_ms)


def visible(asking: Asking, conn: Connection, subject: Subject) -> bool:
    """Tell whether anything asked about ever was in the caller's region."""
    if not asking.who.region_prefix:
        return True
    facts = [
        {"site_id": f.site_id, "to_site_id": f.to_site_id, "from_site_id": f.from_site_id}
        for f in (*subject.facts.values(), *subject.wrong)
    ]
    sites = _names(conn, facts)
    return any(touches(asking.who, sites, fact) for fact in facts)


def report(asking: Asking, conn: Connection, subject: Subject, at: Position) -> Answer:
    """Return the report on a subject, as the caller may see it."""
    prefix = asking.who.region_prefix
    return answer(asking, conn, report_of(conn, subject, warmth_at(conn, at), prefix), at)


def answer(asking: Asking, conn: Connection, found: Report, at: Position) -> Answer:
    """Return a report as the caller may see it."""
    sites = _names(conn, (row for rows in found.parts.values() for row in rows))
    parts = {
        name: [
            row
            for row in rows
            if name not in _LOCAL or in_region(asking.who, sites, row["site_id"])
        ]
        for name, rows in found.parts.items()
    }
    lots = found.head["lots"]
    units = {
        row["unit_id"]
        for row in (*parts.get("chain", ()), *parts.get("thermal", ()))
        if row["unit_id"]
    }
    shown = partial(_shown, asking, sites)
    body = {
        "head": found.head | {"lots": proven(conn, lots)},
        "parts": {name: Rows(asking.deps.pool, rows, shown) for name, rows in parts.items()},
        "sites": sites,
        "units": org_tree.names(conn, units, "unit"),
        "proof": proof(conn, at),
        "as_of": str(at),
    }
    return Answer(body, sites, _positions(lots, *parts.values()), at)


def items(asking: Asking, conn: Connection, rows: Sequence[Row], at: Position) -> Answer:
    """Return the answer to a further question: rows with their hashes, names, and proof."""
    sites = _names(conn, rows)
    local = [row for row in rows if _local(asking, sites, row)]
    body = {
        "items": Rows(asking.deps.pool, local, partial(asking.masked, sites=sites)),
        "sites": sites,
        "proof": proof(conn, at),
        "as_of": str(at),
    }
    return Answer(body, sites, _positions(local), at)


def _local(asking: Asking, sites: Mapping[str, org_tree.Name], row: Row) -> bool:
    return any(in_region(asking.who, sites, row.get(name)) for name in _SITES)


def proven(conn: Connection, rows: Iterable[Row]) -> list[Row]:
    """Return rows with the position and hash of each event they rest on."""
    found = list(rows)
    behind = hashes(conn, _positions(found))
    return [
        row | {"events": [{"position": p, "sha256": behind[p]} for p in sorted(row["events"])]}
        for row in found
    ]


def proof(conn: Connection, at: Position) -> Row:
    """Return what an answer can be checked by; `inclusion` and `signed_head` are not made yet."""
    return {
        "hash": HASHED,
        "ledger_head": {
            "position": at.ledger,
            "sha256": hashes(conn, [at.ledger]).get(at.ledger),
        },
        "telemetry_head": {
            "position": at.telemetry,
            "sha256": telemetry_head(conn, at.telemetry),
        },
        "signed_head": None,
        "inclusion": None,
    }


def _positions(*lists: Iterable[Row]) -> set[int]:
    return {position for rows in lists for row in rows for position in row["events"]}


def _shown(asking: Asking, sites: Mapping[str, org_tree.Name], row: Row) -> Row:
    """Return a row as the caller may see it, with the region of its place where it shows one."""
    seen = asking.masked(row, sites)
    region = sites[row["site_id"]].region if row["site_id"] in sites else ""
    if "recipient" in row:
        return seen | {"county": region, "city": f"{region[:4]}00" if region else ""}
    return seen | {"region": region} if "in_transit" in row else seen


def _names(conn: Connection, rows: Iterable[Row]) -> dict[str, org_tree.Name]:
    found = {row[name] for row in rows for name in _SITES if row.get(name)}
    return org_tree.names(conn, found)
