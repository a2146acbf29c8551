"""Facts that a caller states or declares wrong: found by id, held to region, time and authority.

What happened is recorded whatever is wrong with it; who may say so is checked (ADR 0010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from api.auth import Principal
from api.commands import state_of
from api.deps import Deps
from api.messages import message
from domain.alerting.policy import SOURCE
from domain.cold_chain import model as cold_chain
from domain.registry import model as registry
from domain.shared.errors import Conflict, Invalid, NotAllowed
from domain.shared.ids import WHOLE_COUNTRY, stream_id
from domain.shared.roles import Role
from domain.traceability import model
from domain.traceability.events import (
    CodesCommissioned,
    DosesWasted,
    FactWithdrawn,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    HoldReleased,
    PacksAggregated,
    RecallAcknowledged,
    StockCounted,
)
from domain.traceability.facts import FactEvent, binds_lot
from domain.traceability.particulars import BILLS_IN, BILLS_OF_HELD, BILLS_OUT
from domain.traceability.progress import ZONE
from domain.traceability.scan import products_of
from projections import traceability as read
from store.envelope import Meta

# Who may hold, recall or release a whole lot, or lift a recall.
LOT_HOLDERS = frozenset({Role.ADMIN, Role.CDC, Role.REGULATOR})
# Versions of a scanner's stream: boot * 2^40 + seq, boot below 2^22.
SEQ_COUNT, VERSION_COUNT = 2**40, 2**62


class Told(NamedTuple):
    """A recorded fact."""

    event: FactEvent
    meta: Meta


class Caution(BaseModel):
    """Something in an accepted fact that may be a slip: it is recorded as it was said."""

    model_config = ConfigDict(extra="forbid")

    code: str
    field: str
    value: str
    title_zh: str
    title_en: str


def streams_of(event: FactEvent) -> set[UUID]:
    """Return the streams that are looked at before a fact is recorded: to read them at once."""
    found = {model.scan_stream(event.fact_id), registry.site_stream(event.site_id)}
    found |= {model.product_stream(product_id) for product_id in products_of(event)}
    for attribute, stream in _NAMED:
        named = getattr(event, attribute, "")
        found |= {stream(named)} if named else set()
    return found


def site_region(deps: Deps, site_id: str) -> str | None:
    """Return the region of a site, None when it is not registered."""
    site = state_of(deps, registry.site_stream(site_id), registry.evolve_site)
    return None if site is None else site.region_code


def told(deps: Deps, fact_id: str) -> tuple[Told | None, bool]:
    """Return the fact of an id (None = there is none yet) and whether it was withdrawn."""
    envelopes = [*deps.stream(model.scan_stream(fact_id))]
    declared = [e.event for e in envelopes if isinstance(e.event, FactWithdrawn)]
    scanned = model.SCANNER_FACT.fullmatch(fact_id)
    if scanned:
        # By MQTT: the scanner's own stream, at the version that boot and sequence make.
        version = int(scanned[2]) * SEQ_COUNT + int(scanned[3])
        stream = stream_id("traceability.scanner", scanned[1])
        if version < VERSION_COUNT:
            envelopes += deps.ledger.stream(stream, after_version=version - 1)[:1]
    for envelope in envelopes:
        event = envelope.event
        if isinstance(event, FactEvent) and event.fact_id == fact_id:
            gone = any(found.of_site == event.site_id for found in declared)
            return Told(event, envelope.meta), gone
    return None, False


def require_authority(deps: Deps, who: Principal, event: FactEvent) -> None:
    """Refuse to bind a whole lot or to lift a recall without authority: NotAllowed.

    A hold of a lot is released by one whose region covers every place that holds it. A regulator
    does nothing else.
    """
    if not binds_lot(event):
        if who.role is Role.REGULATOR:
            raise NotAllowed("not_permitted", role=who.role.value)
        return
    if who.role not in LOT_HOLDERS:
        raise NotAllowed("not_permitted", role=who.role.value)
    lot_id = getattr(event, "lot_id", "")
    if isinstance(event, HoldReleased) and lot_id:
        with deps.pool.connection() as conn:
            placed = read.lot_holds(conn, lot_id)
        for site_id in sorted({fact.site_id for fact in placed}):
            who.require_region(site_region(deps, site_id) or WHOLE_COUNTRY)


def require_withdrawable(deps: Deps, who: Principal, fact_id: str) -> Told | None:
    """Return the fact that a caller wants to withdraw; None when it is not known (yet).

    NotFound("unknown_fact") for one out of region. What an alert holds is released by an
    assessment alone: Conflict("held_by_alert").
    """
    found, _ = told(deps, fact_id)
    if found is not None:
        who.require_seen(found.meta.region_code, "unknown_fact", fact_id=fact_id)
        require_authority(deps, who, found.event)
        if found.meta.source == SOURCE:
            raise Conflict("held_by_alert", fact_id=fact_id)
    return found


def registered_products(deps: Deps, event: FactEvent) -> list[model.Product]:
    """Return the products of a fact's codes; Invalid("unregistered_code") when one is missing.

    Codes of products that nobody registered are misread more often than new.
    """
    found = []
    for product_id, code in products_of(event).items():
        stream = model.product_stream(product_id)
        product = state_of(deps, stream, model.evolve_product)
        if product is None:
            raise Invalid("unregistered_code", field="codes", value=code, product_id=product_id)
        found.append(product)
    return found


def lot_known(deps: Deps, lot_id: str) -> bool:
    """Tell whether a lot was released, or codes were said to be of it."""
    if deps.stream(model.lot_stream(lot_id)):
        return True
    with deps.pool.connection() as conn:
        return read.lot_named(conn, lot_id)


_PLACES = (("to_site_id", "to"), ("from_site_id", "from"))
_UNITS = (("unit_id", "unit"), ("vehicle_id", "vehicle"))
# What else a fact may name, and the stream of it.
_NAMED = (
    *((attribute, registry.site_stream) for attribute, _ in _PLACES),
    *((attribute, cold_chain.unit_stream) for attribute, _ in _UNITS),
    ("lot_id", model.lot_stream),
    ("recall_id", model.scan_stream),
)


def cautions(
    deps: Deps, event: FactEvent, products: Sequence[model.Product] = ()
) -> list[dict[str, str]]:
    """Return what may be a slip in a fact: unknown places, units, lots; numbers that do not fit."""
    found: list[dict[str, str]] = []
    for attribute, field in _PLACES:
        site_id = getattr(event, attribute, "")
        if site_id and site_region(deps, site_id) is None:
            found.append(caution("unknown_site", field, site_id))
    for attribute, field in _UNITS:
        unit_id = getattr(event, attribute, "")
        found += _unit_cautions(deps, unit_id, field, products) if unit_id else []
    return found + _own_cautions(deps, event, products)


def _own_cautions(
    deps: Deps, event: FactEvent, products: Sequence[model.Product]
) -> list[dict[str, str]]:
    """Return what may be a slip in what only facts of one kind say."""
    match event:
        case GoodsReceived():
            return _receipt_cautions(event)
        case GoodsDispatched() | GoodsReturned():
            return _dispatch_cautions(deps, event)
        case StockCounted():
            return _count_cautions(event)
        case DosesWasted() | PacksAggregated():
            return _size_cautions(event, products)
        case CodesCommissioned() if not lot_known(deps, event.lot_id):
            return [caution("unknown_lot", "lot", event.lot_id, lot_id=event.lot_id)]
        case RecallAcknowledged() if not _is_recall(deps, event.recall_id):
            return [caution("unknown_recall", "recall_id", event.recall_id)]
    return []


def _unit_cautions(
    deps: Deps, unit_id: str, field: str, products: Sequence[model.Product]
) -> list[dict[str, str]]:
    """Return a caution for a unit nobody knows, or whose limits are not within a product's."""
    unit = state_of(deps, cold_chain.unit_stream(unit_id), cold_chain.evolve_unit)
    if unit is None:
        return [caution("unknown_unit", field, unit_id)]
    stream = cold_chain.profile_stream(unit.profile_id)
    limits = state_of(deps, stream, cold_chain.evolve_profile)
    if limits is None:
        return []
    low, high = limits.temperature_c_min, limits.temperature_c_max
    return [
        caution("unit_unfit", field, unit_id, low=low, high=high, product_id=product.product_id)
        for product in products
        if low < product.temperature_c_min or high > product.temperature_c_max
    ]


def _size_cautions(
    event: DosesWasted | PacksAggregated, products: Sequence[model.Product]
) -> list[dict[str, str]]:
    """Return a caution for more doses than a vial has, or more packs than go into one."""
    if isinstance(event, PacksAggregated):
        code, field, told = "more_than_pack", "codes", len(event.codes)
        sizes = [max(product.middle_pack_size, product.case_size) for product in products]
    else:
        code, field, told = "more_doses_than_vial", "doses", event.doses or 0
        sizes = [product.doses_per_vial for product in products]
    most = max(sizes, default=told)
    return [caution(code, field, str(told), max=most)] if told > most else []


def _dispatch_cautions(deps: Deps, event: GoodsDispatched | GoodsReturned) -> list[dict[str, str]]:
    found = []
    if event.bill_type in BILLS_IN:
        found.append(caution("bill_of_other_way", "bill_type", event.bill_type))
    if isinstance(event, GoodsDispatched) and event.bill_type not in BILLS_OF_HELD:
        today = deps.clock.now().astimezone(ZONE).date()
        with deps.pool.connection() as conn:
            lot_id = read.earlier_lot(conn, event.site_id, event.codes, today)
        if lot_id:
            found.append(caution("earlier_lot_first", "codes", lot_id))
    return found


def _is_recall(deps: Deps, fact_id: str) -> bool:
    known, withdrawn = told(deps, fact_id)
    return known is not None and not withdrawn and getattr(known.event, "recall", False)


def _receipt_cautions(event: GoodsReceived) -> list[dict[str, str]]:
    found = []
    if event.bill_type in BILLS_OUT:
        found.append(caution("bill_of_other_way", "bill_type", event.bill_type))
    told = (event.temperature_c, event.transport_c_min, event.transport_c_max)
    if event.accepted and all(value is None for value in told):
        found.append(caution("no_temperature", "temp", ""))
    differing = [str(q.level) for q in event.quantities if q.due != q.actual]
    if differing:
        found.append(caution("quantity_differs", "quantities", ", ".join(differing)))
    return found


def _count_cautions(event: StockCounted) -> list[dict[str, str]]:
    """Return a caution for each level of which another number was found than should be there."""
    return [
        caution("count_differs", "quantities", str(q.actual), due=q.due, level=q.level)
        for q in event.quantities
        if q.due != q.actual
    ]


def caution(code: str, field: str, value: str, **facts: object) -> dict[str, str]:
    """Return a Caution in both languages."""
    zh, en = message(code, {"value": value, **facts})
    return {"code": code, "field": field, "value": value, "title_zh": zh, "title_en": en}
