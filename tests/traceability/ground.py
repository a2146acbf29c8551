"""The synthetic chain as pure domain: a book of its facts, and what is known beside them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache

from domain.traceability.codes import key_code, product_of
from domain.traceability.custody import Book, Product
from domain.traceability.events import CodesCommissioned, FactWithdrawn, HoldPlaced
from domain.traceability.exceptions import Case, Declaration, Ground, find
from domain.traceability.facts import Fact, fact_of
from domain.traceability.journeys import Place
from domain.traceability.thermal import Excursion, Reading, excursions_of
from store.envelope import Recorded
from tests.traceability.chain import FOLDER, chain, master, mentions, products, recorded

# The names of the answer key, where ours differ.
NAMES = {
    "RECEIPT_WITHOUT_SHIPMENT": "PRODUCT_WITHOUT_DATA",
    "SHIPMENT_SHORTFALL": "DATA_WITHOUT_PRODUCT",
    "DUPLICATE_USE": "ALREADY_USED",
}


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@cache
def excursions() -> tuple[Excursion, ...]:
    """Return what the devices of the chain show; their names say where they stand."""
    series: dict[str, list[Reading]] = defaultdict(list)
    with (FOLDER / "readings.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["time"])
            series[row["device"]].append(Reading(ms(at), float(row["temperature_c"])))
    found = []
    for device_id, readings in series.items():
        kind, _, site_id = device_id.partition("-")
        for each in excursions_of(readings, device_id=device_id, low_c=2.0, high_c=8.0):
            place = "" if kind == "TRUCK" else site_id
            found.append(replace(each, site_id=place, unit_id=device_id))
    return tuple(found)


@cache
def ground() -> Ground:
    places = {
        key.rpartition("/")[2]: Place(org["lat"], org["lon"])
        for key, org in master()["organisations"].items()
    }
    return Ground(
        places=places,
        expires_on=expiries(),
        excursions=excursions(),
        doses_per_vial=lambda code: product(code).doses_per_vial,
    )


@cache
def expiries() -> dict[str, date]:
    events = [event for event, _, _ in chain()]
    made = [e for e in events if isinstance(e, CodesCommissioned)]
    return {e.lot_id: e.expires_on for e in made if e.expires_on is not None}


@cache
def _products() -> dict[str, Product]:
    return {p.product_id: Product(p.doses_per_vial, p.opened_limit_min) for p in products()}


def product(code: int) -> Product:
    return _products()[product_of(key_code(code) or "")]


def log_of(order: Sequence[int] | None = None) -> list[Recorded]:
    return recorded(chain(order))


def lot_facts(log: Sequence[Recorded]) -> list[Fact]:
    """Return the facts of whole lots: the chain has one recall."""
    found = []
    for position, envelope in log:
        event, meta = envelope.event, envelope.meta
        if isinstance(event, HoldPlaced) and not event.codes:
            at, seen = ms(meta.occurred_at), ms(meta.recorded_at)
            found.append(fact_of(event, t_ms=at, recorded_ms=seen, position=position))
    return found


def book_of(log: Sequence[Recorded], until_ms: int | None = None) -> Book:
    """Return the book of a log, of what happened until a moment."""
    named = [m for m in mentions(log) if until_ms is None or m.fact.t_ms <= until_ms]
    return Book(named, facts=lot_facts(log), product=product, expires_on=expiries())


def declarations(log: Sequence[Recorded]) -> list[Declaration]:
    named = mentions(log)
    found: dict[str, Declaration] = {}
    for _, envelope in log:
        event, meta = envelope.event, envelope.meta
        if isinstance(event, FactWithdrawn):
            said = {m.code: m.fact for m in named if m.fact.fact_id == event.fact_id}
            declared, seen = ms(event.declared_at), ms(meta.recorded_at)
            known = found.get(event.fact_id)
            found[event.fact_id] = known or Declaration(
                next(iter(said.values())), tuple(said), declared, seen, event.corrective_fact_ids
            )
    return list(found.values())


def cases(order: Sequence[int] | None = None) -> list[Case]:
    log = log_of(order)
    return find(book_of(log), ground(), declarations=declarations(log))
