"""What an alert means for goods over HTTP: lots, codes and doses that it affected, and decisions.

Who covers the alert's region sees all of it; others what was found at places of their region, so
that those who were sent affected goods find them here. Nothing is released but by an assessment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Literal
from uuid import uuid4

import psycopg
from fastapi import Path, Query, Response
from pydantic import Field

from api import bindings
from api.alert_shown import READERS
from api.auth import Principal, permission
from api.bindings import Bound
from api.commands import CallOf, Receipt, VersionOf, receipt, state_of
from api.custody_scope import CLINICAL, in_region, oversees
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import Body, Items, Moment, Note, Text
from domain.alerting import consequence, model, policy
from domain.alerting.events import AlertFired, StockAssessed
from domain.shared.decide import fold
from domain.shared.errors import NotFound
from domain.shared.ids import WHOLE_COUNTRY
from domain.shared.roles import Role
from domain.traceability import model as goods
from domain.traceability.codes import canonical, code_key, product_of
from domain.traceability.custody import Product
from domain.traceability.events import HoldCondemned, HoldReleased
from domain.traceability.pseudonyms import PSEUDONYM_PATTERN
from projections import alerting_stock as read
from projections import traceability as custody
from projections.shared import org_tree
from store.commands import Answer, Command, Outcome, answered, execute

router = module_router("alerting")

_ALERT_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# Codes or lots named in one assessment; without any, all that waits is meant.
NAMED_MAX = 10_000

Connection = psycopg.Connection[Any]
AlertId = Annotated[str, Path(pattern=_ALERT_ID)]
Person = Annotated[str, Field(pattern=PSEUDONYM_PATTERN, examples=["Q-1"])]
OtherAlert = Annotated[str, Field(pattern=_ALERT_ID)]
Decision = Literal["release", "condemn", "keep"]
Method = Literal[
    "shake_test", "maker_advice", "stability_data", "rules", "inspection", "not_exposed"
]


class May(StrEnum):
    """Permissions of this part."""

    READ = "alerting.read_stock"
    ASSESS = "alerting.assess_stock"


class Sums(Body):
    """Smallest packs by what became of them; `doses` were left in those affected.

    `waiting`: held until a person decides; `cleared`: not there after all, counted in no other sum
    but those of decisions.
    """

    units: int
    doses: int
    waiting: int
    released: int
    condemned: int
    cleared: int


class Total(Sums):
    """The sums of all lots."""

    lots: int


class AffectedLot(Sums):
    """One lot; its id is empty for packs of which nobody said it."""

    lot_id: str
    product_id: str


class Decided(Body):
    """One assessment; persons and grounds stand there for those whose business they are.

    `units`: those found at places that the caller sees. `still_held`: codes that it did not free,
    though they were meant: condemned ones, and those that people hold for other reasons.
    """

    position: int
    assessed_at: Moment
    decision: Decision
    units: int
    method: Method
    grounds: str
    decision_no: str
    executed_by: str
    supervised_by: str
    also: list[str]
    fact_ids: list[str]
    still_held: list[str]


class AlertStock(Body):
    """A page of lots with the sums of all; `ended_at` null while the alert lasts.

    A withdrawn alert releases nothing: what it held waits for its assessment.
    """

    alert_id: str
    severity: str
    started_at: Moment
    ended_at: Moment | None
    withdrawn: bool
    total: Total
    assessments: list[Decided]
    items: list[AffectedLot]
    next: str | None


class AffectedCode(Body):
    """A smallest pack: what was found then, and how it stands now.

    `reason`: why it is held for this alert (freeze, heat); empty where it is not. `held`: whether
    any hold binds it now. `doses`: left when it was found.
    """

    code: str
    lot_id: str
    product_id: str
    doses: int
    found_at: Moment
    found_at_site: str
    reason: str
    hold_id: str
    cleared: bool
    decision: str
    status: str
    site_id: str
    unit_id: str
    doses_left: int | None
    held: bool


class AssessmentIn(Body):
    """A quality decision on affected goods: on these codes or lots, or on all that wait.

    `release` and `condemn` need two different persons. `also`: other alerts because of which some
    of them are held: a release names them all.
    """

    decision: Decision
    method: Method
    grounds: Annotated[Text, Field(examples=["摇晃试验阴性，温度记录与厂家意见附后"])]
    executer: Person
    supervisor: Person | None = None
    decision_no: Note = ""
    codes: Annotated[list[Text], Field(min_length=1, max_length=NAMED_MAX)] | None = None
    lots: Annotated[list[Text], Field(min_length=1, max_length=NAMED_MAX)] | None = None
    also: (
        Annotated[list[Annotated[str, Field(pattern=_ALERT_ID)]], Field(max_length=100)] | None
    ) = None


class AssessmentReceipt(Receipt):
    """What an assessment did; `still_held`: the codes that were meant and that it did not free."""

    still_held: list[str]


Reader = Annotated[Principal, permission(May.READ, *READERS)]


@router.get("/alerts/{alert_id}/stock", response_model=AlertStock)
def read_alert_stock(alert_id: AlertId, who: Reader, deps: DepsOf, page: PageOf) -> Response:
    """Return the lots that an alert affected over its whole time, wherever they are now."""
    case = _case(deps, alert_id)
    after = page.after_key(str, str) or ("", "")
    with deps.pool.connection() as conn:
        sites = _visible(conn, who, case)
        lots = read.lots(conn, alert_id, sites=sites, after=after, limit=page.limit + 1)
        total = read.total(conn, alert_id, sites)
        decided = read.assessments(conn, alert_id, sites)
    extent = consequence.extent_of(case.alert)
    answer = page.answer(
        [asdict(lot) for lot in lots],
        lambda lot: [lot["lot_id"], lot["product_id"]],
        alert_id=alert_id,
        severity=case.fired.severity,
        started_at=extent.started_at,
        ended_at=extent.ended_at,
        withdrawn=case.alert.withdrawn,
        total=asdict(total),
        assessments=[_decided(who, case, one) for one in decided],
    )
    answer.headers["ETag"] = f'"{case.version}"'
    return answer


@router.get("/alerts/{alert_id}/stock/codes", response_model=Items[AffectedCode])
def list_alert_codes(
    *,
    alert_id: AlertId,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    lot: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List the smallest packs that an alert affected, with where and how each is now."""
    case = _case(deps, alert_id)
    with deps.pool.connection() as conn:
        sites = _visible(conn, who, case)
        asked: dict[str, Any] = {"lot_id": lot, "sites": sites, "after": page.after_text()}
        found = read.units(conn, alert_id, **asked, limit=page.limit + 1)
        now = _standing(deps, conn, who, [unit.code for unit in found])
    rows = [asdict(unit) | now[unit.code] for unit in found]
    return page.answer(rows, lambda row: [row["code"]])


@router.post("/alerts/{alert_id}/assessments", response_model=AssessmentReceipt)
def assess_alert_stock(
    alert_id: AlertId,
    body: AssessmentIn,
    version: VersionOf,
    who: Annotated[Principal, permission(May.ASSESS, Role.CDC)],
    call: CallOf,
) -> Response:
    """Release or condemn goods that an alert holds, or keep them held, by a person's decision.

    If-Match names the ETag of the goods as they were read: what was found since is looked at first.
    A release ends what alerts hold, and nothing that people hold for other reasons.
    """
    location, ledger = f"{PREFIX}/alerts/{alert_id}/stock", call.deps.ledger
    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        kept = [e.still_held for e in outcome.events if isinstance(e, StockAssessed)]
        return receipt(outcome, location, telemetry, {"still_held": [*chain(*kept)]})

    idempotency = call.idempotency(answer)
    earlier = answered(ledger, idempotency) if idempotency else None
    if earlier is not None:
        return call.answered(earlier, answer)
    case = _case(call.deps, alert_id)
    assessed, facts = _judged(call.deps, who, case, body)
    command = Command(
        consequence.stock_stream(alert_id),
        lambda _: [assessed],
        call.meta(region_code=case.fired.region_code, reason=body.grounds),
        expected_version=version,
        claims=[(goods.scan_stream(fact.fact_id), fact) for fact in facts],
        idempotency=idempotency,
    )
    return call.answered(execute(ledger, command), answer)


def _judged(
    deps: Deps, who: Principal, case: _Case, body: AssessmentIn
) -> tuple[StockAssessed, list[HoldReleased | HoldCondemned]]:
    """Return what persons decided, with the quality decisions that follow."""
    alert_id = case.fired.alert_id
    codes = None if body.codes is None else [canonical(code) for code in body.codes]
    with deps.pool.connection() as conn:
        _visible(conn, who, case)
        meant = consequence.select(case.stock, codes=codes, lots=body.lots)
        bound = bindings.bound(conn, case.stock.waiting)
        all_meant = codes is None and body.lots is None
        meant = _within(conn, who, bound, meant, all_meant=all_meant)
        release = body.decision == consequence.RELEASE
        chosen = bindings.not_condemned(bound, meant, all_meant=all_meant) if release else meant
        others = read.held_too(conn, alert_id, chosen)
    named = bindings.named(bound, chosen, case.fired.site_id, release=release)
    (assessed,) = consequence.assess(
        case.stock,
        alert=case.alert,
        said=consequence.Assessment(
            decision=body.decision,
            grounds=body.grounds,
            method=body.method,
            executed_by=body.executer,
            supervised_by=body.supervisor or "",
            decision_no=body.decision_no,
            also=tuple(body.also or ()),
        ),
        codes=chosen,
        fact_ids=[uuid4().hex for _ in named] if body.decision != consequence.KEEP else (),
        held_too={other: _case(deps, other).lasts for other in others},
        still_held=[code for code in meant if bound[code].stays] if release else (),
    )
    return assessed, policy.decisions_of(assessed, named)


@dataclass(frozen=True, slots=True)
class _Case:
    """An alert with its goods, as their streams tell them; `version`: of that of the goods."""

    fired: AlertFired
    alert: model.Alert
    stock: consequence.Stock
    version: int

    @property
    def lasts(self) -> bool:
        """Tell whether it still affects goods."""
        return self.alert.status is model.Status.FIRING


def _case(deps: Deps, alert_id: str) -> _Case:
    """Return an alert by a threshold; NotFound("unknown_alert") when there is none."""
    episode, stream = model.episode_stream(alert_id), consequence.stock_stream(alert_id)
    told = deps.ledger.streams([episode, stream])
    # Any uuid may be asked for, that of another stream as well.
    first = told[episode][0].event if told[episode] else None
    alert = None
    if isinstance(first, AlertFired):
        alert = fold(model.evolve, None, (each.event for each in told[episode]))
    if alert is None or not isinstance(first, AlertFired):
        raise NotFound("unknown_alert")
    stock = fold(consequence.evolve, consequence.Stock(), (e.event for e in told[stream]))
    return _Case(first, alert, stock, len(told[stream]))


def _visible(conn: Connection, who: Principal, case: _Case) -> list[str] | None:
    """Return the sites whose goods the caller sees, None for all; NotFound where it is none."""
    if who.covers(case.fired.region_code):
        return None
    names = org_tree.names(conn, read.sites(conn, case.fired.alert_id))
    found = [site_id for site_id, name in names.items() if who.covers(name.region)]
    if not found:
        raise NotFound("unknown_alert")
    return found


def _decided(who: Principal, case: _Case, one: read.Assessment) -> dict[str, Any]:
    shown = asdict(one)
    del shown["alert_id"]
    ours = who.covers(case.fired.region_code)
    if who.role not in CLINICAL or not ours:
        shown |= {"executed_by": "", "supervised_by": ""}
    if not ours:
        shown |= {"grounds": "", "decision_no": "", "also": [], "fact_ids": [], "still_held": []}
    return shown


def _standing(
    deps: Deps, conn: Connection, who: Principal, codes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return where and how codes are now; where only as far as the caller sees that."""
    by_product: dict[str, list[str]] = defaultdict(list)
    for code in codes:
        by_product[product_of(code)].append(code)
    found: dict[str, dict[str, Any]] = {}
    for product_id, named in by_product.items():
        product = state_of(deps.ledger, goods.product_stream(product_id), goods.evolve_product)
        limits = Product(product.doses_per_vial) if product else Product()
        book = custody.book_of(conn, named, limits)
        for code in named:
            state = book.state(code_key(code))
            found[code] = {
                "status": state.status.value,
                "site_id": state.site_id,
                "unit_id": state.unit_id,
                "doses_left": state.doses_left,
                "held": state.held,
            }
    sites = org_tree.names(conn, {row["site_id"] for row in found.values()})
    for row in found.values():
        if not (oversees(who) or in_region(who, sites, row["site_id"])):
            row |= {"site_id": "", "unit_id": ""}
    return found


def _within(
    conn: Connection,
    who: Principal,
    bound: Mapping[str, Bound],
    codes: Sequence[str],
    *,
    all_meant: bool,
) -> list[str]:
    """Return codes that are where the caller may decide; of all that are meant, those of them.

    NotAllowed("out_of_scope") for codes named that are elsewhere, and where none is left.
    """
    names = org_tree.names(conn, {bound[code].site_id for code in codes})
    regions = {site_id: name.region for site_id, name in names.items()}
    region = {code: regions.get(bound[code].site_id, WHOLE_COUNTRY) for code in codes}
    found = [code for code in codes if who.covers(region[code])]
    if len(found) < len(codes) and not (all_meant and found):
        who.require_region(next(region[c] for c in codes if not who.covers(region[c])))
    return found
