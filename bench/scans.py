"""Vaccine codes on their way: the facts of W4 and W5, the same ones each time.

A carton of 10 boxes of 10 single-dose packs, 10,000 doses a lot: its codes are commissioned, it is
packed, goes from province to city to county, is opened there, its boxes go to clinics and every
dose is given. 138 scans a carton: 11 of packing, 7 of the carton, 20 of boxes, 100 injections; and
two facts before that tell the codes of its boxes and packs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice, pairwise
from typing import Any

from domain.traceability.events import (
    CodesCommissioned,
    DoseAdministered,
    GoodsDispatched,
    GoodsReceived,
    HoldPlaced,
    PacksAggregated,
    PacksDisaggregated,
)
from domain.traceability.facts import FactEvent
from domain.traceability.model import scan_stream
from store.envelope import Envelope, Meta

START = datetime(2026, 1, 1, tzinfo=UTC)
CARTONS_A_LOT, BOXES, PACKS = 100, 10, 10
FACTS = 140  # of a carton
PRODUCT = "8412345"
RECALLED_FROM = 9_000_000  # the cartons of a lot beyond those of any run
Fact = tuple[float, FactEvent]  # hours after the carton was packed


def envelopes(number: int, first: int = 0) -> Iterator[Envelope]:
    """Yield so many facts, carton by carton from one on."""
    for _, (at, event) in islice(_timed(first), number):
        yield Envelope(scan_stream(event.fact_id), 1, event, Meta(occurred_at=at, recorded_at=at))


def timed(number: int, first: int) -> Iterator[tuple[datetime, FactEvent]]:
    """Yield the same facts with their times, from carton `first` on."""
    return (fact for _, fact in islice(_timed(first), number))


def code(number: int) -> str:
    """Return a 20-digit code."""
    digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=6).digest()
    return f"{PRODUCT}{number % 10:d}{int.from_bytes(digest, 'big') % 10**12:012d}"


def carton(k: int, clinics: int = 997) -> Iterator[Fact]:
    """Yield the facts of carton `k`."""
    whole, boxes = code(k * 1_000), [code(k * 1_000 + 1 + x) for x in range(BOXES)]
    packs = [_pack(k, x, y) for x in range(BOXES) for y in range(PACKS)]
    ids = (f"carton-{k}-{n}" for n in count())
    lot = lot_of(k)
    province, city, county = "province", f"city-{k % 12:02d}", f"county-{k % 97:02d}"
    for level, codes in enumerate((packs, boxes, [whole]), start=1):
        made: dict[str, Any] = {"lot_id": lot, "level": level, "codes": tuple(codes)}
        yield level / 60 - 1, CodesCommissioned(fact_id=next(ids), site_id="maker", **made)
    for x, box in enumerate(boxes):
        yield (
            x / 60,
            PacksAggregated(fact_id=next(ids), site_id="maker", parent=whole, codes=(box,)),
        )
    stops = ("maker", province, city, county)
    for n, (sender, receiver) in enumerate(pairwise(stops)):
        bill = f"{k}-{n}"
        yield 24.0 * n + 1, _dispatched(next(ids), sender, receiver, bill, whole)
        yield 24.0 * n + 12, _received(next(ids), sender, receiver, bill, whole)
    yield 100, PacksDisaggregated(fact_id=next(ids), site_id=county, parent=whole)
    for x, box in enumerate(boxes):
        clinic, bill = f"clinic-{(k * 10 + x) % clinics:03d}", f"{k}-box-{x}"
        yield 170 + x, _dispatched(next(ids), county, clinic, bill, box)
        yield 180 + x, _received(next(ids), county, clinic, bill, box)
        for y in range(PACKS):
            yield (
                200 + 3 * x + y,
                DoseAdministered(
                    fact_id=next(ids), site_id=clinic, codes=(_pack(k, x, y),), parent=box
                ),
            )


def recalled() -> Iterator[Envelope]:
    """Yield the facts of a recalled lot of 10,000 doses over 300 places, half of them given."""
    for k in range(RECALLED_FROM, RECALLED_FROM + CARTONS_A_LOT):
        for hours, event in carton(k, clinics=300):
            if isinstance(event, DoseAdministered) and hours % 2:
                continue
            at = START + timedelta(minutes=k % CARTONS_A_LOT, hours=hours)
            yield Envelope(
                scan_stream(event.fact_id), 1, event, Meta(occurred_at=at, recorded_at=at)
            )
    at = START + timedelta(days=12)
    order = HoldPlaced(fact_id="recall", site_id="maker", lot_id=recalled_lot(), recall=True)
    yield Envelope(scan_stream(order.fact_id), 1, order, Meta(occurred_at=at, recorded_at=at))


def recalled_lot() -> str:
    """Return the lot that is recalled."""
    return lot_of(RECALLED_FROM)


def lot_of(k: int) -> str:
    """Return the lot of carton `k`."""
    return f"{PRODUCT}.L{k // CARTONS_A_LOT:05d}"


def lots(events: int) -> list[str]:
    """Return the lots that are told in full by so many facts, or the first."""
    whole = events // (FACTS * CARTONS_A_LOT)
    return [lot_of(n * CARTONS_A_LOT) for n in range(max(1, whole))]


def sample(events: int, number: int) -> list[str]:
    """Return codes of single packs that so many facts tell to the end, the same ones each time."""
    cartons = max(1, events // FACTS)
    spread = (hashlib.blake2b(b"%d" % n, digest_size=8).digest() for n in range(number))
    numbers = (int.from_bytes(drawn, "big") for drawn in spread)
    return [_pack(n // 100 % cartons, n // 10 % BOXES, n % PACKS) for n in numbers]


def rows(events: int) -> Iterator[tuple[datetime, str, str, str, str, str | None]]:
    """Yield the same facts as (time, code, step, place, lot, pack it is in or was taken from)."""
    for k, (at, event) in islice(_timed(), events):
        for each in getattr(event, "codes", ()) or (getattr(event, "parent", ""),):
            parent = getattr(event, "parent", "")
            step = type(event).__name__
            yield at, each, step, getattr(event, "site_id", ""), lot_of(k), parent or None


def _timed(first: int = 0) -> Iterator[tuple[int, tuple[datetime, FactEvent]]]:
    for k in count(first):
        for hours, event in carton(k):
            yield k, (START + timedelta(minutes=7 * (k - first), hours=hours), event)


def _pack(k: int, box: int, number: int) -> str:
    return code(k * 1_000 + 100 + box * PACKS + number)


def _dispatched(fact_id: str, sender: str, receiver: str, bill: str, what: str) -> GoodsDispatched:
    return GoodsDispatched(
        fact_id=fact_id, site_id=sender, to_site_id=receiver, bill_no=bill, codes=(what,)
    )


def _received(fact_id: str, sender: str, receiver: str, bill: str, what: str) -> GoodsReceived:
    return GoodsReceived(
        fact_id=fact_id, site_id=receiver, from_site_id=sender, bill_no=bill, codes=(what,)
    )
