"""Vaccine codes on their way: the facts of W4 and W5, the same ones each time.

A carton of 10 boxes of 10 single-dose packs, 10,000 doses a lot: it is packed, goes from province
to city to county, is opened there, its boxes go to clinics and every dose is given. 137 facts a
carton: 11 of packing, 6 of the carton, 20 of boxes, 100 injections.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice, pairwise

from domain.shared.events import Event
from domain.traceability.events import (
    CodesCommissioned,
    DoseAdministered,
    GoodsDispatched,
    GoodsReceived,
    PacksAggregated,
    PacksDisaggregated,
)
from domain.traceability.model import scan_stream
from store.envelope import Envelope, Meta

START = datetime(2026, 1, 1, tzinfo=UTC)
CARTONS_A_LOT, BOXES, PACKS = 100, 10, 10
PRODUCT = "8412345"
Fact = tuple[float, Event]  # hours after the carton was packed


def envelopes(number: int) -> Iterator[Envelope]:
    """Yield so many facts, carton by carton."""
    facts = ((START + timedelta(minutes=7 * k), fact) for k in count() for fact in carton(k))
    for packed_at, (hours, event) in islice(facts, number):
        at = packed_at + timedelta(hours=hours)
        fact_id: str = getattr(event, "fact_id")  # noqa: B009 - each of these events has one
        yield Envelope(scan_stream(fact_id), 1, event, Meta(occurred_at=at, recorded_at=at))


def code(number: int) -> str:
    """Return a 20-digit code."""
    digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=6).digest()
    return f"{PRODUCT}{number % 10:d}{int.from_bytes(digest, 'big') % 10**12:012d}"


def carton(k: int) -> Iterator[Fact]:
    """Yield the facts of carton `k`."""
    whole, boxes = code(k * 1_000), [code(k * 1_000 + 1 + x) for x in range(BOXES)]
    ids = (f"carton-{k}-{n}" for n in count())
    lot = f"{PRODUCT}.L{k // CARTONS_A_LOT:05d}"
    province, city, county = "province", f"city-{k % 12:02d}", f"county-{k % 97:02d}"
    for x in range(BOXES):
        packs = tuple(_pack(k, x, y) for y in range(PACKS))
        yield (
            x / 60,
            CodesCommissioned(fact_id=next(ids), site_id="maker", lot_id=lot, level=1, codes=packs),
        )
    yield 1, PacksAggregated(fact_id=next(ids), site_id="maker", parent=whole, codes=tuple(boxes))
    stops = ("maker", province, city, county)
    for n, (sender, receiver) in enumerate(pairwise(stops)):
        bill = f"{k}-{n}"
        if n:
            yield 24.0 * n, _dispatched(next(ids), sender, receiver, bill, whole)
        yield 24.0 * n + 12, _received(next(ids), sender, receiver, bill, whole)
    yield 100, PacksDisaggregated(fact_id=next(ids), site_id=county, parent=whole)
    for x, box in enumerate(boxes):
        clinic, bill = f"clinic-{(k * 10 + x) % 997:03d}", f"{k}-box-{x}"
        yield 170 + x, _dispatched(next(ids), county, clinic, bill, box)
        yield 180 + x, _received(next(ids), county, clinic, bill, box)
        for y in range(PACKS):
            yield (
                200 + 3 * x + y,
                DoseAdministered(
                    fact_id=next(ids), site_id=clinic, codes=(_pack(k, x, y),), parent=box
                ),
            )


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
