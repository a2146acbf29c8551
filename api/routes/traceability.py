"""Products, lots, scans and custody over HTTP."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Path, Query, Response
from pydantic import Field

from api import captures, custody, exceptions, facts, lot_chain, lot_custody, recalls, thermal
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, state_of, versioned
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Day, Items, Moment, Name, Note, Text
from api.stocktaking import against_book
from domain.shared.decide import decide
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.roles import Role
from domain.traceability import model
from domain.traceability.events import CodesCommissioned
from domain.traceability.facts import LEVEL_MAX, STEP_OF, FactEvent, signed_by_two
from domain.traceability.lots import LOT_NUMBER_PATTERN, LOT_PATTERN, lot_id_of
from domain.traceability.particulars import BILL_TYPES, CAUSES
from domain.traceability.scan import (
    CELSIUS_ABS_MAX,
    DOSE_ML_MAX,
    SCAN_CODES_MAX,
    STEPS,
    fact_from_scan,
    has_reason,
)
from domain.traceability.times import check_time, check_told_late
from projections import traceability as read

router = module_router("traceability")

SCANNERS = (
    Role.CDC,
    Role.CLINIC,
    Role.COURIER,
    Role.GATEWAY,
    Role.HOSPITAL,
    Role.NURSE,
    Role.PLATFORM,
    Role.STORE_KEEPER,
    Role.SUPPLIER,
    Role.VACCINATOR,
)
# Keys of programs: what they send late was written in time.
MACHINES = frozenset({Role.GATEWAY, Role.PLATFORM})
BILL_TYPE_LIST, CAUSE_LIST = tuple(sorted(BILL_TYPES)), tuple(sorted(CAUSES))
PRODUCT_PATTERN = r"^(8[0-9]{6}|[0-9]{14})$"
FACT_PATTERN = r"^[A-Za-z0-9_.:#-]{1,200}$"


class May(StrEnum):
    """Permissions of this module."""

    READ = "traceability.read"
    REGISTER = "traceability.register"
    RELEASE = "traceability.release_lot"
    SCAN = "traceability.scan"
    WITHDRAW = "traceability.withdraw"


ProductId = Annotated[str, Field(pattern=PRODUCT_PATTERN, examples=["8474354"])]
CelsiusTold = Annotated[float, Field(ge=-CELSIUS_ABS_MAX, le=CELSIUS_ABS_MAX)]
Celsius = Annotated[float, Field(ge=model.STORAGE_C_MIN, le=model.STORAGE_C_MAX)]
PackSize = Annotated[int, Field(ge=1, le=model.PACK_SIZE_MAX)]


class ProductIn(Body):
    """A vaccine product under the 7-digit product part of its codes, or its GTIN-14."""

    product_id: ProductId
    name: Annotated[Text, Field(examples=["示例灭活疫苗"])]
    name_en: Note = ""
    specification: Note = ""
    holder: Annotated[Text, Field(examples=["示例生物制品有限公司"])]
    doses_per_vial: int = Field(ge=1, le=model.DOSES_PER_VIAL_MAX)
    temperature_c_min: Annotated[Celsius, Field(examples=[2.0])]
    temperature_c_max: Annotated[Celsius, Field(examples=[8.0])]
    freeze_sensitive: bool
    opened_limit_min: Annotated[int | None, Field(ge=1, le=model.OPENED_LIMIT_MIN_MAX)] = None
    middle_pack_size: PackSize = 10
    case_size: PackSize = 10
    trade_name: Note = ""
    form: Annotated[Note, Field(examples=["注射剂"])] = ""
    approval_no: Annotated[Note, Field(examples=["国药准字S20260001"])] = ""
    producer: Annotated[Note, Field(description="Who makes it, if not the holder.")] = ""
    programme: Annotated[
        bool | None, Field(description="Whether it is of the national immunization programme.")
    ] = None


class Product(ProductIn):
    """A registered product; it never changes."""


class LotIn(Body):
    """A lot with its release number (批签发)."""

    product_id: ProductId
    lot_number: Annotated[str, Field(pattern=LOT_NUMBER_PATTERN, examples=["A2026573"])]
    produced_on: Day | None = None
    expires_on: Day
    lot_release_no: Note = ""
    quantity: Annotated[int | None, Field(ge=1, le=10**9)] = None


class Lot(LotIn):
    """A released lot; `lot_id` = product_id + "." + lot_number. It never changes."""

    lot_id: str


class QuantityIn(Body):
    """Packs of one level on a bill or in a count: how many were due, how many there are.

    A count of a lot or of a product may leave out what is due: it is read off the book.
    """

    level: int = Field(ge=1, le=LEVEL_MAX)
    due: int | None = Field(default=None, ge=0, lt=2**31)
    actual: int = Field(ge=0, lt=2**31)
    reason: Note = ""


class ScanIn(Body):
    """A scan, with the same fields as a scanner's MQTT message and the site where it happened.

    Which fields a step needs: commissioning lot; packing and unpacking parent; shipping to, bill;
    receiving bill; storing unit; wasting, holding, condemning, releasing and losing reason;
    cycle_counting codes, quantities or complete; adjusting lot, units, reason; acknowledging
    recall_id. What a person tells more than 72 hours later needs a reason whatever the step. `lot`
    is a lot id, or the number alone where codes are given. People are pseudonyms. To release,
    condemn and destroy takes two persons, `executer` and `supervisor`. To hold, recall, condemn or
    release a whole lot (`lot`), and to order or lift a recall (`recall`), is for disease control
    and the regulator.
    """

    site: Annotated[Name, Field(examples=["dwk-cdc"])]
    fact_id: Annotated[
        str | None,
        Field(pattern=FACT_PATTERN, description="The caller's own id: the same is one fact."),
    ] = None
    at: Moment
    step: Literal[STEPS]  # type: ignore[valid-type]  # the list of steps stands in the domain
    codes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=512)]],
        Field(max_length=SCAN_CODES_MAX, examples=[["84743540181360010008"]]),
    ]
    lot: Note | None = None
    product: Note | None = None
    expiry: Day | None = None
    level: Annotated[int | None, Field(ge=1, le=9)] = None
    parent: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    to: Name | None = None
    sender: Annotated[Name | None, Field(alias="from")] = None
    bill: Note | None = None
    vehicle: Name | None = None
    unit: Name | None = None
    device: Name | None = None
    temp: CelsiusTold | None = None
    tmin: CelsiusTold | None = None
    tmax: CelsiusTold | None = None
    accepted: bool | None = None
    recipient: Note | None = None
    dose: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    vaccinator: Note | None = None
    doses: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    opened: bool | None = None
    recall: bool | None = None
    reason: Note | None = None
    executer: Note | None = None
    supervisor: Note | None = None
    bill_type: Annotated[Literal[BILL_TYPE_LIST] | None, Field(examples=["107"])] = None  # type: ignore[valid-type]  # the list stands in the domain
    departed: Moment | None = None
    departed_temp: CelsiusTold | None = None
    expected: Annotated[
        Moment | None, Field(description="When a shipment is to arrive; unsaid: in 72 hours.")
    ] = None
    arrived: Moment | None = None
    ambient: CelsiusTold | None = None
    carrier: Note | None = None
    distributor: Note | None = None
    handed_by: Note | None = None
    taken_by: Note | None = None
    quantities: Annotated[list[QuantityIn] | None, Field(max_length=LEVEL_MAX)] = None
    complete: bool | None = None
    units: Annotated[int | None, Field(ge=-(2**31), lt=2**31)] = None
    shelf: Note | None = None
    body_site: Note | None = None
    route: Note | None = None
    series_dose: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    series_doses: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    dose_ml: Annotated[float | None, Field(gt=0, le=DOSE_ML_MAX)] = None
    funding: Literal["programme", "private"] | None = None
    manual: bool | None = None
    cause: Annotated[Literal[CAUSE_LIST] | None, Field(examples=["broken"])] = None  # type: ignore[valid-type]  # the list stands in the domain
    stolen: bool | None = None
    recall_id: Note | None = None
    recall_class: Literal["1", "2", "3"] | None = None
    issuer: Name | None = None
    notice: Note | None = None
    decision: Note | None = None

    @property
    def uncounted(self) -> set[int]:
        """Return the levels of a count of which the book is to say what is due."""
        lines = self.quantities or [] if self.step == "cycle_counting" else []
        return {line.level for line in lines if line.due is None}

    def fact(self, fact_id: str) -> FactEvent:
        """Return the fact that the scan states; Invalid as the domain says."""
        about = {"site", "fact_id", "at", "step", "codes"}
        if not has_reason(self.step):
            about.add("reason")  # why it is told late: kept with the event, not in it
        fields = self.model_dump(by_alias=True, exclude=about)
        for line in fields["quantities"] or () if self.uncounted else ():
            line["due"] = line["due"] or 0
        return fact_from_scan(
            self.step, fact_id=fact_id, site_id=self.site, codes=self.codes, fields=fields
        )


class ScanReceipt(Receipt):
    """The receipt of a scan; `warnings`: what may be a slip. It is recorded as it was said."""

    warnings: list[facts.Caution]


class Fact(Body):
    """A fact as a person or a scanner stated it."""

    fact_id: str
    step: str
    site_id: Name
    codes: list[str]
    occurred_at: datetime
    recorded_at: datetime
    withdrawn: bool


class WithdrawalIn(Body):
    """Why an earlier fact is declared wrong, and which facts stand in its place."""

    site: Name
    reason: Text
    corrective_fact_ids: Annotated[
        list[Annotated[str, Field(pattern=FACT_PATTERN)]],
        Field(max_length=100, default_factory=list),
    ]


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.GATEWAY)]
FactInPath = Annotated[str, Path(pattern=FACT_PATTERN)]


@router.post("/products", status_code=201, response_model=Receipt)
def register_product(
    body: ProductIn,
    who: Annotated[Principal, permission(May.REGISTER, Role.STEWARD, Role.PLATFORM)],
    call: CallOf,
) -> Response:
    """Register a product, for all regions; the same particulars again change nothing."""
    who.require_country()
    return call.run(
        model.product_stream(body.product_id),
        decide(model.evolve_product, None, model.register_product, **body.model_dump()),
        location=f"{PREFIX}/products/{body.product_id}",
        meta=call.meta(),
    )


@router.get("/products/{product_id}", response_model=Product)
def read_product(
    product_id: Annotated[str, Path(pattern=PRODUCT_PATTERN)], _who: Reader, deps: DepsOf
) -> Response:
    """Return one product."""
    stream = model.product_stream(product_id)
    found, version = versioned(deps.ledger, stream, model.evolve_product)
    if found is None:
        raise NotFound("unknown_product", product_id=product_id)
    return json_answer(found, headers={"ETag": f'"{version}"'})


@router.get("/products", response_model=Items[Product])
def list_products(_who: Reader, deps: DepsOf, page: PageOf) -> Response:
    """List the registered products, by id; they are the same for every region."""
    with deps.pool.connection() as conn:
        rows = read.products(conn, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row["product_id"]])


@router.post("/lots", status_code=201, response_model=Receipt)
def release_lot(
    body: LotIn,
    who: Annotated[Principal, permission(May.RELEASE, Role.STEWARD, Role.PLATFORM, Role.SUPPLIER)],
    call: CallOf,
) -> Response:
    """Register a released lot of a product, for all regions."""
    who.require_country()
    lot_id = lot_id_of(body.product_id, body.lot_number)
    stream = model.product_stream(body.product_id)
    product = state_of(call.deps.ledger, stream, model.evolve_product)
    fields: dict[str, Any] = body.model_dump()
    return call.run(
        model.lot_stream(lot_id),
        decide(model.evolve_lot, None, model.release_lot, product=product, **fields),
        location=f"{PREFIX}/lots/{lot_id}",
        meta=call.meta(),
    )


@router.get("/lots/{lot_id}", response_model=Lot)
def read_lot(
    lot_id: Annotated[str, Path(pattern=LOT_PATTERN)], _who: Reader, deps: DepsOf
) -> Response:
    """Return one lot."""
    found, version = versioned(deps.ledger, model.lot_stream(lot_id), model.evolve_lot)
    if found is None:
        raise NotFound("unknown_lot", lot_id=lot_id)
    return json_answer(found, headers={"ETag": f'"{version}"'})


@router.get("/lots", response_model=Items[Lot])
def list_lots(
    _who: Reader,
    deps: DepsOf,
    page: PageOf,
    product_id: Annotated[str | None, Query(pattern=PRODUCT_PATTERN)] = None,
) -> Response:
    """List the released lots, by id."""
    with deps.pool.connection() as conn:
        rows = read.lots(conn, product_id=product_id, after=page.after_text(), limit=page.limit + 1)
    return page.answer(rows, lambda row: [row["lot_id"]])


@router.post("/scans", status_code=201, response_model=ScanReceipt)
def record_scan(
    body: ScanIn,
    who: Annotated[Principal, permission(May.SCAN, Role.REGULATOR, *SCANNERS)],
    call: CallOf,
) -> Response:
    """Record what happened to codes at a site; the same fact again changes nothing."""
    fact_id = model.checked_fact_id(body.fact_id) if body.fact_id else uuid4().hex
    fact = body.fact(fact_id)
    deps = call.deps.knowing(facts.streams_of(fact))
    region = _site_region(deps, who, body.site)
    _check_time(deps, who, body, fact_id)
    fact = against_book(deps, fact, body.at, body.uncounted)
    facts.require_authority(deps, who, fact)
    if who.role not in MACHINES and not signed_by_two(fact):
        raise Invalid("two_persons", field="supervisor")
    products = facts.registered_products(deps, fact)
    if not isinstance(fact, CodesCommissioned):
        _require_lot(deps, getattr(fact, "lot_id", ""))
        _require_product(deps, getattr(fact, "product_id", ""))
    stream = model.scan_stream(fact_id)
    return call.run(
        stream,
        decide(model.evolve_scan, model.Scan(), model.record, fact=fact),
        location=f"{PREFIX}/scans/{fact_id}",
        meta=call.meta(region_code=region, occurred_at=body.at, reason=body.reason or ""),
        known=deps.stream(stream),
        more={"warnings": facts.cautions(deps, fact, products)},
    )


def _check_time(deps: Deps, who: Principal, body: ScanIn, fact_id: str) -> None:
    """Refuse a time that cannot be, a late one without a reason, and another one than told."""
    known, _ = facts.told(deps, fact_id)
    if known is not None:
        if known.meta.occurred_at != body.at:
            raise Conflict("already_registered", differs=["at"])
        return
    now = deps.clock.now()
    check_time(body.at, now, "at")
    if who.role not in MACHINES:
        check_told_late(body.at, now, body.reason or "", "at")


def _require_lot(deps: Deps, lot_id: str) -> None:
    """Refuse what is said of a lot that nobody knows: it would do nothing."""
    if lot_id and not facts.lot_known(deps, lot_id):
        raise Invalid("unknown_lot", field="lot", lot_id=lot_id)


def _require_product(deps: Deps, product_id: str) -> None:
    if product_id and not deps.stream(model.product_stream(product_id)):
        raise Invalid("unknown_product", field="product", value=product_id)


@router.get("/scans/{fact_id}", response_model=Fact)
def read_scan(fact_id: FactInPath, who: Reader, deps: DepsOf) -> Response:
    """Return a fact that a person or a scanner stated."""
    told, withdrawn = facts.told(deps, fact_id)
    if told is None:
        raise NotFound("unknown_fact", fact_id=fact_id)
    meta = told.meta
    who.require_seen(meta.region_code, "unknown_fact", fact_id=fact_id)
    return json_answer(
        {
            "fact_id": fact_id,
            "step": STEP_OF[type(told.event)].name.lower(),
            "site_id": told.event.site_id,
            "codes": told.event.codes,
            "occurred_at": meta.occurred_at,
            "recorded_at": meta.recorded_at,
            "withdrawn": withdrawn,
        }
    )


@router.post("/scans/{fact_id}/withdrawal", status_code=201, response_model=Receipt)
def withdraw_fact(
    fact_id: FactInPath,
    body: WithdrawalIn,
    who: Annotated[Principal, permission(May.WITHDRAW, Role.REGULATOR, *SCANNERS)],
    call: CallOf,
) -> Response:
    """Declare an earlier fact wrong; it stays visible for any `as_of` before this."""
    region = _site_region(call.deps, who, body.site)
    known = facts.require_withdrawable(call.deps, who, fact_id)
    if known is None:
        raise NotFound("unknown_fact", fact_id=fact_id)
    decision = decide(
        model.evolve_scan,
        model.Scan(),
        model.withdraw,
        fact_id=fact_id,
        site_id=body.site,
        reason=body.reason,
        declared_at=call.deps.clock.now(),
        corrective_fact_ids=body.corrective_fact_ids,
        fact_site_id=known.event.site_id,
    )
    return call.run(
        model.scan_stream(fact_id),
        decision,
        location=f"{PREFIX}/scans/{fact_id}",
        meta=call.meta(region_code=region, reason=body.reason),
    )


def _site_region(deps: Deps, who: Principal, site_id: str) -> str:
    """Return the region of the site that a scan names; Invalid("unknown_site") without one."""
    region = facts.site_region(deps, site_id)
    if region is None:
        raise Invalid("unknown_site", field="site", site_id=site_id)
    return who.require_region(region)


for part in (captures, custody, lot_custody, exceptions, lot_chain, recalls, thermal):
    router.routes.extend(part.router.routes)
