"""The synthetic vaccine chain as recorded events, in any order, and the tables it leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability import epcis, model
from domain.traceability.events import FactWithdrawn, LotReleased, ProductRegistered
from domain.traceability.facts import Fact, Mention, fact_of, mentions_of
from projections import traceability
from store.envelope import Envelope, Meta, Recorded

FOLDER = Path(__file__).parents[1] / "data" / "synthetic_chain"
START = datetime(2026, 3, 1, tzinfo=UTC)


def master() -> Any:
    """Return organisations, products and lots."""
    return json.loads((FOLDER / "master.json").read_text(encoding="utf-8"))


def expected() -> Any:
    """Return the answer key."""
    return json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


@cache
def captures() -> tuple[tuple[datetime, epcis.Captured], ...]:
    """Return every fact with its time of capture, in order of capture."""
    found = []
    for line in (FOLDER / "captures.jsonl").read_text(encoding="utf-8").splitlines():
        posted = json.loads(line)
        captured_at = datetime.fromisoformat(posted["captureTime"])
        (event,) = posted["document"]["epcisBody"]["eventList"]
        found += [(captured_at, c) for c in epcis.read_event(event)]
    return tuple(found)


def products() -> list[ProductRegistered]:
    """Return the products of the chain as registered."""
    found: list[Event] = []
    for product in master()["products"].values():
        found += model.register_product(
            None,
            product_id=product["di"],
            name=product["name"],
            holder=product["mah"],
            doses_per_vial=product["dosesPerVial"],
            temperature_c_min=product["tempMin"],
            temperature_c_max=product["tempMax"],
            freeze_sensitive=not product["live"],
            opened_limit_min=product["openedLimitMinutes"],
        )
    return [p for p in found if isinstance(p, ProductRegistered)]


def recorded(events: Sequence[tuple[Event, datetime, datetime]]) -> list[Recorded]:
    """Return (event, occurred, recorded) as a ledger would give them."""
    return [
        Recorded(
            n, Envelope(stream_id("test", n), 1, event, Meta(occurred_at=at, recorded_at=seen))
        )
        for n, (event, at, seen) in enumerate(events, start=1)
    ]


def chain(order: Sequence[int] | None = None) -> list[tuple[Event, datetime, datetime]]:
    """Return products and facts, the facts in this order of capture."""
    masters: list[tuple[Event, datetime, datetime]] = [(p, START, START) for p in products()]
    facts = captures()
    picked = range(len(facts)) if order is None else order
    return masters + [(facts[n][1].event, facts[n][1].occurred_at, facts[n][0]) for n in picked]


def mentions(log: Sequence[Recorded]) -> list[Mention]:
    """Return the mentions of a log, withdrawals marked, for a Book without a database."""
    gone = {
        r.envelope.event.fact_id: r.position
        for r in reversed(log)
        if isinstance(r.envelope.event, FactWithdrawn)
    }
    found: list[Mention] = []
    for position, envelope in log:
        event, meta = envelope.event, envelope.meta
        if isinstance(event, ProductRegistered | LotReleased | FactWithdrawn):
            continue
        fact: Fact = fact_of(
            event,  # type: ignore[arg-type]  # the chain holds nothing else
            t_ms=round(meta.occurred_at.timestamp() * 1000),
            recorded_ms=round(meta.recorded_at.timestamp() * 1000),
            position=position,
            withdrawn_position=gone.get(event.fact_id),  # type: ignore[attr-defined]  # as above
        )
        found += mentions_of(event, fact)  # type: ignore[arg-type]  # as above
    return found


@contextmanager
def projected(
    conn: psycopg.Connection[Any], log: Sequence[Recorded], size: int = 2000
) -> Iterator[None]:
    """Make the tables of the read model from a log, in batches; gone afterwards."""
    with conn.transaction(force_rollback=True), conn.cursor() as cur:
        cur.execute("SET LOCAL search_path = rm_traceability, public")
        cur.execute(traceability.PROJECTION.ddl)
        for n in range(0, len(log), size):
            traceability.apply(cur, log[n : n + size])
        yield


# Positions tell the order of arrival: everything else must not.
_TABLES = {
    "fact": "SELECT k, t_ms, parent, as_parent, step, site_id, lot_id FROM {}",
    "contain": "SELECT * FROM {}",
    "node": "SELECT * FROM {}",
    "hop": "SELECT * FROM {}",
    "dose": "SELECT k, lot_id, site_id, t_ms, dose_number, recipient FROM {}",
    "mixed": "SELECT * FROM {}",
    "scan": "SELECT fact_id, step, t_ms, site_id, withdrawn_position IS NULL FROM {}",
}


def tables(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return the rows of the tables, without positions."""
    return {
        name: sorted(str(row) for row in conn.execute(q.format(f"rm_traceability.{name}").encode()))
        for name, q in _TABLES.items()
    }
