"""Recall and mass balance of a lot over HTTP: where every unit is, who was given it, what is left.

Oversight sees the whole lot, those who handle goods what is in their region. People's pseudonyms
stand only where the caller may see them (`api/custody_scope.py`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import Field

from api import asof
from api.asof import AsOf
from api.auth import Principal
from api.custody import PlaceName, Reader
from api.custody_scope import CLINICAL, Sites, in_region, oversees
from api.deps import DepsOf
from api.routing import json_answer, module_router
from api.schemas import Body
from domain.shared.errors import NotFound
from domain.traceability.facts import Fact
from domain.traceability.lots import LOT_PATTERN
from domain.traceability.states import Status
from projections.shared import org_tree
from projections.traceability import recalls as read
from projections.traceability import time_of

router = module_router("traceability")

LotInPath = Annotated[str, Path(pattern=LOT_PATTERN, examples=["8474354.A2026573"])]


class RecallOrder(Body):
    """A recall in force."""

    fact_id: str
    position: int
    site_id: str
    issued_at: datetime
    recall_class: str
    issued_by: str
    notice_no: str
    reason: str


class Holder(Body):
    """What one place has or awaits of a lot: codes by status, `lost` of them did not arrive.

    `acknowledged_at`: when it said that it knows of the recall, null while it did not.
    """

    site_id: str
    units: dict[str, int]
    codes: dict[str, list[str]]
    lost: list[str]
    acknowledged_at: datetime | None


class GivenDose(Body):
    """A dose of the lot; `after_recall`: given when it was recalled already."""

    code: str
    site_id: str
    given_at: datetime
    recipient: str
    fact_id: str
    after_recall: bool


class LotRecallAnswer(Body):
    """Where every unit of a lot is, who was given it, and which holders have acknowledged."""

    lot_id: str
    orders: list[RecallOrder]
    holders: list[Holder]
    given: list[GivenDose]
    outstanding: list[str]  # holders that have not acknowledged
    sites: dict[str, PlaceName]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


class BalanceLine(Body):
    """One place: commissioned + received = dispatched + stock + ends + missing + difference.

    Counted in smallest packs; `in_transit` (on the way here) and `lost` (on the way, did not
    arrive with the rest; part of missing) stand in no sum of a place, only in that of the lot.
    `unexplained`: the codes that make a difference, each an open exception.
    """

    site_id: str
    commissioned: int
    received: int
    dispatched: int
    stock: int
    held: int
    in_transit: int
    used: int
    wasted: int
    sampled: int
    destroyed: int
    missing: int
    lost: int
    difference: int
    doses_given: int
    doses_wasted: int
    unexplained: list[str]


class LotBalanceAnswer(Body):
    """The balance of a lot by place; `total` is that of the whole lot, for oversight."""

    lot_id: str
    lines: list[BalanceLine]
    total: BalanceLine | None
    sites: dict[str, PlaceName]
    as_of: str = Field(pattern=asof.POSITION_PATTERN)


@router.get("/lots/{lot_id}/recall", response_model=LotRecallAnswer)
def read_lot_recall(lot_id: LotInPath, who: Reader, deps: DepsOf, as_of: AsOf = None) -> Response:
    """Return where every unit of a lot is and who was given it, recalled or not."""
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        if as_of is None:
            found = read.recall_now(conn, lot_id, at.ledger)
        else:
            found = read.recall_at(conn, lot_id, at.ledger)
        recall = found.recall
        ids = {u.site_id for u in recall.units} | {d.site_id for d in recall.doses}
        sites = org_tree.names(conn, ids - {""})
    if who.region_prefix and not any(in_region(who, sites, site) for site in ids):
        raise NotFound("unknown_lot", lot_id=lot_id)
    holders = [h for h in _holders(found) if _seen(who, sites, h["site_id"])]
    waiting = {site for order in recall.orders for site in recall.outstanding(order)}
    shown = {
        "lot_id": lot_id,
        "orders": [_order(fact) for fact in recall.orders],
        "holders": holders,
        "given": _given(who, sites, found),
        "outstanding": [h["site_id"] for h in holders if h["site_id"] in waiting],
        "sites": {site: name for site, name in sites.items() if _seen(who, sites, site)},
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


@router.get("/lots/{lot_id}/balance", response_model=LotBalanceAnswer)
def read_lot_balance(lot_id: LotInPath, who: Reader, deps: DepsOf, as_of: AsOf = None) -> Response:
    """Return what came, went and is left of a lot at every place, and what nothing explains."""
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        found = read.balance(conn, lot_id, at.ledger)
        lines = found.balance.lines
        sites = org_tree.names(conn, {line.site_id for line in lines} - {""})
    if who.region_prefix and not any(in_region(who, sites, line.site_id) for line in lines):
        raise NotFound("unknown_lot", lot_id=lot_id)
    shown = {
        "lot_id": lot_id,
        "lines": [_line(line, found) for line in lines if _seen(who, sites, line.site_id)],
        "total": _line(found.balance.total, found) if oversees(who) else None,
        "sites": {site: name for site, name in sites.items() if _seen(who, sites, site)},
        "as_of": str(at),
    }
    return json_answer(shown, headers={"Vaxtrail-Position": str(at)})


def _seen(who: Principal, sites: Sites, site_id: str) -> bool:
    return oversees(who) or in_region(who, sites, site_id)


def _holders(lot: read.LotRecall) -> list[dict[str, Any]]:
    codes: dict[str, dict[Status, list[str]]] = defaultdict(lambda: defaultdict(list))
    lost: dict[str, list[str]] = defaultdict(list)
    texts = lot.texts
    for unit in lot.recall.units:
        text = texts[unit.code]
        codes[unit.site_id][unit.status].append(text)
        if unit.lost:
            lost[unit.site_id].append(text)
    said: dict[str, int] = {}
    for fact in lot.recall.acknowledged:
        said.setdefault(fact.site_id, fact.t_ms)
    return [
        {
            "site_id": site_id,
            "units": {status.value: len(there[status]) for status in sorted(there)},
            "codes": {status.value: sorted(there[status]) for status in sorted(there)},
            "lost": sorted(lost.get(site_id, ())),
            "acknowledged_at": time_of(said[site_id]) if site_id in said else None,
        }
        for site_id, there in sorted(codes.items())
    ]


def _given(who: Principal, sites: Sites, found: read.LotRecall) -> list[dict[str, Any]]:
    places = {dose.site_id for dose in found.recall.doses}
    seen = {site_id for site_id in places if _seen(who, sites, site_id)}
    people = who.role in CLINICAL
    named = {site_id for site_id in seen if people and in_region(who, sites, site_id)}
    return [
        {
            "code": text,
            "site_id": dose.site_id,
            "given_at": time_of(dose.t_ms),
            "recipient": dose.recipient if dose.site_id in named else "",
            "fact_id": dose.fact_id,
            "after_recall": found.recall.is_after(dose),
        }
        for dose in found.recall.doses
        if dose.site_id in seen and (text := found.texts.get(dose.code)) is not None
    ]


def _order(fact: Fact) -> dict[str, Any]:
    more = fact.more
    return {
        "fact_id": fact.fact_id,
        "position": fact.position,
        "site_id": fact.site_id,
        "issued_at": time_of(fact.t_ms),
        **{name: more.get(name, "") for name in ("recall_class", "issued_by", "notice_no")},
        "reason": fact.reason,
    }


def _line(line: Any, found: read.LotBalance) -> dict[str, Any]:
    return asdict(line) | {"unexplained": [found.texts[code] for code in line.unexplained]}
