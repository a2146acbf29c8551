"""Shipments of which nothing arrives: until when each is waited for, and what is still out then.

That nothing happened is told by no fact: when the time is over a tick puts that on record, once a
shipment. What is wrong then follows from the facts, as all else: a receipt told late, a return, a
loss or a withdrawal takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.traceability.custody import Book
from domain.traceability.events import ShipmentOverdue
from domain.traceability.exceptions import AT_A_DESK, Bill, Finding, smallest
from domain.traceability.facts import Fact, Order, Step
from domain.traceability.kinds import Kind

# How long a shipment may take that does not say when it is to arrive: the longest way by road
# within the country, some 4,500 km from Ürümqi to Guangzhou, at 62 km/h without a stop.
TRANSIT_MS = 72 * 3_600_000


def overdue_stream(fact_id: str) -> UUID:
    """Return the stream of a shipment's being overdue."""
    return stream_id("traceability.overdue", fact_id)


def expected_ms(fact: Fact) -> int:
    """Return when a shipment should have arrived, ms since 1970: as it says, or after 72 hours."""
    said = fact.more.get("expected_at")
    if said is None:
        return fact.t_ms + TRANSIT_MS
    return round(datetime.fromisoformat(said).timestamp() * 1000)


def evolve_overdue(
    _known: ShipmentOverdue | None, event: ShipmentOverdue
) -> ShipmentOverdue | None:
    """Return what was put on record of a shipment."""
    return event


def tell(known: ShipmentOverdue | None, *, fact: Fact, now_ms: int) -> list[Event]:
    """Put on record that a shipment's time is over; nothing before that, or again."""
    due_ms = expected_ms(fact)
    if known is not None or due_ms > now_ms:
        return []
    expected_at = datetime.fromtimestamp(due_ms / 1000, UTC)
    return [ShipmentOverdue(fact_id=fact.fact_id, bill_no=fact.bill_no, expected_at=expected_at)]


def of_overdue(book: Book, bill: Bill, due_ms: Mapping[str, int]) -> list[Finding]:
    """Return what is out of the shipments of a bill that are on record as overdue.

    `due_ms`: these, by fact id, with the time that was over. Once anything of one arrived on the
    bill, what did not is missing from it, and no longer late. Sender and receiver have a case each.
    """
    late = [m for m in bill.sent if m.fact.fact_id in due_ms]
    if not late:
        return []
    sent = [(m.fact, m.code, smallest(book, m.code, m.fact.order)) for m in late]
    arrived = {c for m in bill.received for c in smallest(book, m.code, m.fact.order)}
    met = {fact.fact_id for fact, _, inside in sent if not arrived.isdisjoint(inside)}
    met |= {f.fact_id for f, _, _ in sent for m in bill.received if _answers(m.fact, f)}
    found = []
    for fact, code, inside in sent:
        if fact.fact_id not in met:
            at = (max(due_ms[fact.fact_id], fact.t_ms), fact.step, fact.fact_id)
            out = [c for c in inside if not _accounted_for(book, c, fact.order)]
            named = [code] if out == inside else out
            found += [_finding(c, at, fact, site) for c in named for site in _ends(fact)]
    return found


def _finding(code: int, at: Order, fact: Fact, site_id: str) -> Finding:
    key = f"{fact.bill_no}/{fact.site_id}/{fact.to_site_id}@{site_id}"
    return Finding(Kind.SHIPMENT_OVERDUE, key, code, at, site_id, (fact.fact_id,))


def _ends(fact: Fact) -> list[str]:
    return list(dict.fromkeys(filter(None, (fact.site_id, fact.to_site_id))))


def _answers(receipt: Fact, fact: Fact) -> bool:
    """Tell whether a receipt is of goods that came this way."""
    return receipt.site_id == fact.to_site_id and receipt.from_site_id in {"", fact.site_id}


def _accounted_for(book: Book, code: int, order: Order) -> bool:
    """Tell whether a code was seen, or said to be lost, after it was sent."""
    return any(
        e.order > order and (e.fact.step not in AT_A_DESK or e.fact.step is Step.LOSING)
        for e in book.chain(code)
    )
