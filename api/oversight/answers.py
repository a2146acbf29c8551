"""A report as an answer: masked for who asks, each row with the hashes of its events, its proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from api import asof
from api.asof import Position
from api.custody_scope import in_region, touches
from api.oversight.asking import Asking
from api.oversight.report import Report, Row, report_of
from api.oversight.rows import Connection, Stored, stored, telemetry_head
from api.oversight.subject import Subject
from api.oversight.warmth import Warmth
from projections.shared import org_tree

# Of these parts, only what is in the caller's region: the chain itself is shown whole.
_LOCAL = frozenset({"stock", "injections", "exceptions", "quality", "corrections"})
_SITES = ("site_id", "from_site_id", "to_site_id")
HASHED = "SHA-256 of the event's bytes as stored"


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer, the names in it, and the stored events behind it by position."""

    body: Row
    sites: Mapping[str, org_tree.Name]
    events: Mapping[int, Stored]
    at: Position

    @property
    def json(self) -> bytes:
        """Return the bytes of the answer."""
        return orjson.dumps(self.body, option=orjson.OPT_UTC_Z)


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
    return answer(asking, conn, report_of(conn, subject, warmth_at(conn, at)), at)


def answer(asking: Asking, conn: Connection, found: Report, at: Position) -> Answer:
    """Return a report as the caller may see it."""
    sites = _names(conn, (row for rows in found.parts.values() for row in rows))
    parts = {
        name: [
            _placed(asking.masked(row, sites), sites)
            for row in rows
            if name not in _LOCAL or in_region(asking.who, sites, row["site_id"])
        ]
        for name, rows in found.parts.items()
    }
    behind = stored(conn, _positions(found.head["lots"], *parts.values()))
    units = {
        row["unit_id"]
        for row in (*parts.get("chain", ()), *parts.get("thermal", ()))
        if row["unit_id"]
    }
    body = {
        "head": found.head | {"lots": proven(found.head["lots"], behind)},
        "parts": {name: proven(rows, behind) for name, rows in parts.items()},
        "sites": sites,
        "units": org_tree.names(conn, units, "unit"),
        "proof": proof(conn, at),
        "as_of": str(at),
    }
    return Answer(body, sites, behind, at)


def items(asking: Asking, conn: Connection, rows: Sequence[Row], at: Position) -> bytes:
    """Return the answer to a further question: rows with their hashes, names, and proof."""
    sites = _names(conn, rows)
    shown = [asking.masked(row, sites) for row in rows if _local(asking, sites, row)]
    behind = stored(conn, _positions(shown))
    body = {
        "items": proven(shown, behind),
        "sites": sites,
        "proof": proof(conn, at),
        "as_of": str(at),
    }
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def _local(asking: Asking, sites: Mapping[str, org_tree.Name], row: Row) -> bool:
    return any(in_region(asking.who, sites, row.get(name)) for name in _SITES)


def proven(rows: Iterable[Row], behind: Mapping[int, Stored]) -> list[Row]:
    """Return rows with the position and hash of each event they rest on."""
    return [
        row
        | {"events": [{"position": p, "sha256": behind[p].sha256} for p in sorted(row["events"])]}
        for row in rows
    ]


def proof(conn: Connection, at: Position) -> Row:
    """Return what an answer can be checked by; `inclusion` and `signed_head` are not made yet."""
    head = stored(conn, [at.ledger]).get(at.ledger)
    return {
        "hash": HASHED,
        "ledger_head": {"position": at.ledger, "sha256": head.sha256 if head else None},
        "telemetry_head": {
            "position": at.telemetry,
            "sha256": telemetry_head(conn, at.telemetry),
        },
        "signed_head": None,
        "inclusion": None,
    }


def _positions(*lists: Iterable[Row]) -> set[int]:
    return {position for rows in lists for row in rows for position in row["events"]}


def _placed(row: Row, sites: Mapping[str, org_tree.Name]) -> Row:
    """Return a row with the region of its place, where its part shows one."""
    region = sites[row["site_id"]].region if row["site_id"] in sites else ""
    if "recipient" in row:
        return row | {"county": region, "city": f"{region[:4]}00" if region else ""}
    return row | {"region": region} if "in_transit" in row else row


def _names(conn: Connection, rows: Iterable[Row]) -> dict[str, org_tree.Name]:
    found = {row[name] for row in rows for name in _SITES if row.get(name)}
    return org_tree.names(conn, found)
