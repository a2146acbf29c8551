"""Stock limits, requisitions and their allotment: near expiry first.

Streams: `vaccination.stock_limit` (site, product), `vaccination.requisition` (requisition_id),
`vaccination.bill` (bill_no), the claim that keeps the number of a dispatch bill unique. That the
stock is there is asked of a read model (a soft rule); the dispatch scan tells what really left.

Codes of refusals: bad_stock_limit, bad_field, too_many_items, same_site, not_asked_for (Invalid);
unknown_requisition (NotFound); already_registered, requisition_closed (Conflict).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeAlias, assert_never
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.pseudonyms import checked_id, checked_note
from domain.vaccination.events import (
    BillNumberTaken,
    Line,
    RequisitionApproved,
    RequisitionAsked,
    RequisitionDeclined,
    StockLimitSet,
)
from domain.vaccination.rules import LINES_MAX, UNITS_MAX

RequisitionEvent: TypeAlias = RequisitionAsked | RequisitionApproved | RequisitionDeclined


@dataclass(frozen=True, slots=True)
class Requisition:
    """What was asked, and the answer."""

    asked: RequisitionAsked
    answer: RequisitionApproved | RequisitionDeclined | None = None


@dataclass(frozen=True, slots=True)
class Stocked:
    """Units of a lot that a site may send: in stock, neither held nor recalled."""

    product_id: str
    lot_id: str
    units: int
    expires_on: date | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is missing of a product at a site: below its minimum, up to its maximum."""

    product_id: str
    units_min: int
    units_max: int
    units_now: int
    units_coming: int
    units_to_ask: int


def limit_stream(site_id: str, product_id: str) -> UUID:
    """Return the stream of a stock limit."""
    return stream_id("vaccination.stock_limit", site_id, product_id)


def requisition_stream(requisition_id: str) -> UUID:
    """Return the stream of a requisition."""
    return stream_id("vaccination.requisition", requisition_id)


def evolve_limit(_state: StockLimitSet | None, event: StockLimitSet) -> StockLimitSet | None:
    """Return the limit in force."""
    return event


def evolve(state: Requisition | None, event: RequisitionEvent) -> Requisition | None:
    """Return the requisition after `event`."""
    match event:
        case RequisitionAsked():
            return Requisition(event)
        case RequisitionApproved() | RequisitionDeclined():
            return state and replace(state, answer=event)
        case _:
            assert_never(event)


def set_limit(
    state: StockLimitSet | None, *, site_id: str, product_id: str, units_min: int, units_max: int
) -> list[Event]:
    """Say how much a site keeps of a product; the same again changes nothing."""
    if not 0 <= units_min <= units_max <= UNITS_MAX:
        raise Invalid("bad_stock_limit", field="units_max", max=UNITS_MAX)
    wanted = StockLimitSet(
        site_id=site_id, product_id=product_id, units_min=units_min, units_max=units_max
    )
    return [] if wanted == state else [wanted]


def ask(state: Requisition | None, *, asked: RequisitionAsked) -> list[Event]:
    """Ask another site for stock, each product once."""
    checked_id(asked.requisition_id, "requisition_id")
    checked_note(asked.note, "note")
    if asked.site_id == asked.supplier_id:
        raise Invalid("same_site", field="supplier_id")
    _check_lines(asked.lines)
    if len({line.product_id for line in asked.lines}) < len(asked.lines):
        raise Invalid("bad_field", field="lines")
    return register(state.asked if state else None, asked)


def approve(state: Requisition | None, *, bill_no: str, lines: Sequence[Line]) -> list[Event]:
    """Allot lots to a requisition, at most what was asked of each product."""
    known = _known(state)
    _check_lines(lines)
    asked = Counter({line.product_id: line.units for line in known.asked.lines})
    given: Counter[str] = Counter()
    for line in lines:
        given[line.product_id] += line.units
    for product_id, units in given.items():
        if units > asked[product_id]:
            raise Invalid("not_asked_for", field="lines", product_id=product_id)
    if not all(line.lot_id for line in lines):
        raise Invalid("bad_field", field="lot_id")
    approved = RequisitionApproved(
        requisition_id=known.asked.requisition_id,
        bill_no=checked_name(bill_no, "bill_no"),
        allotted=tuple(lines),
    )
    return _answered(known, approved)


def bill_claim(bill_no: str, requisition_id: str) -> tuple[UUID, Event]:
    """Return the claim, stream and event, that makes a bill number unique."""
    taken = BillNumberTaken(bill_no=bill_no, requisition_id=requisition_id)
    return stream_id("vaccination.bill", bill_no), taken


def decline(state: Requisition | None, *, reason: str) -> list[Event]:
    """Send nothing, for a reason."""
    known = _known(state)
    told = checked_note(reason, "reason", required=True)
    declined = RequisitionDeclined(requisition_id=known.asked.requisition_id, reason=told)
    return _answered(known, declined)


def allot(asked: Iterable[Line], stocked: Iterable[Stocked], *, today: date) -> list[Line]:
    """Propose lots for what is asked, the nearest expiry first; what has expired stays.

    A lot without a known expiry comes last. What the stock does not hold is left out.
    """
    usable = sorted(
        (s for s in stocked if s.expires_on is None or s.expires_on >= today),
        key=lambda s: (s.expires_on or date.max, s.lot_id),
    )
    lines: list[Line] = []
    for line in asked:
        wanted = line.units
        for stock in usable:
            if stock.product_id == line.product_id and wanted:
                units = min(wanted, stock.units)
                lines.append(Line(product_id=line.product_id, units=units, lot_id=stock.lot_id))
                wanted -= units
    return lines


def propose(
    limits: Iterable[StockLimitSet], *, now: Counter[str], coming: Counter[str]
) -> list[Proposal]:
    """Return for each limit what is there and on its way, and what to ask for."""
    found = []
    for limit in limits:
        have = now[limit.product_id] + coming[limit.product_id]
        missing = limit.units_max - have if have < limit.units_min else 0
        found.append(
            Proposal(
                product_id=limit.product_id,
                units_min=limit.units_min,
                units_max=limit.units_max,
                units_now=now[limit.product_id],
                units_coming=coming[limit.product_id],
                units_to_ask=missing,
            )
        )
    return found


def _check_lines(lines: Sequence[Line]) -> None:
    if not 1 <= len(lines) <= LINES_MAX:
        raise Invalid("too_many_items", field="lines", max=LINES_MAX)
    for line in lines:
        if not 1 <= line.units <= UNITS_MAX:
            raise Invalid("bad_field", field="units", min=1, max=UNITS_MAX)


def _answered(known: Requisition, answer: RequisitionApproved | RequisitionDeclined) -> list[Event]:
    if known.answer == answer:
        return []
    if known.answer is not None:
        raise Conflict("requisition_closed", requisition_id=known.asked.requisition_id)
    return [answer]


def _known(state: Requisition | None) -> Requisition:
    if state is None:
        raise NotFound("unknown_requisition")
    return state
