"""The pre-injection check over HTTP, doses with their observation, and AEFI after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID, uuid4

from fastapi import Path, Query, Response
from pydantic import Field

from api import facts
from api.auth import Principal, permission
from api.commands import CallOf, Receipt
from api.custody_scope import CLINICAL
from api.deps import Deps, DepsOf
from api.messages import message
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Day, Items, Name, NameAsked, NameInPath, Note, RegionAsked
from api.vials import vials_of
from domain.registry import model as registry
from domain.shared.decide import decide, fold
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.pseudonyms import PSEUDONYM_PATTERN
from domain.shared.roles import Role
from domain.traceability import model as goods
from domain.traceability.codes import INPUT_LENGTH_MAX, canonical, product_of
from domain.traceability.events import DoseAdministered
from domain.vaccination import model, rules
from domain.vaccination.checks import (
    Given,
    Person,
    Verdict,
    Vial,
    judge_person,
    judge_vial,
    opened_until,
)
from domain.vaccination.events import DueItem, InjectionChecked
from projections import vaccination as read
from store.envelope import Meta

router = module_router("vaccination")

# Who works at a clinic.
CLINIC_STAFF = (
    Role.CLINIC,
    Role.HOSPITAL,
    Role.DOCTOR,
    Role.NURSE,
    Role.VACCINATOR,
    Role.VILLAGE_DOCTOR,
    Role.HIS,
)
PRODUCT_PATTERN = r"^(8[0-9]{6}|[0-9]{14})$"
FACT_PATTERN = r"^[A-Za-z0-9_.:#-]{1,200}$"
S = TypeVar("S")
BEGINNING = datetime.fromisoformat("2015-01-01T00:00:00+00:00")


class May(StrEnum):
    """Permissions around the injection itself."""

    CHECK = "vaccination.check"
    READ_DOSES = "vaccination.read_doses"
    OBSERVE = "vaccination.observe"


ProductId = Annotated[str, Field(pattern=PRODUCT_PATTERN, examples=["8474354"])]
Pseudonym = Annotated[str, Field(pattern=PSEUDONYM_PATTERN, examples=["R-4f2a"])]
SeriesDose = Annotated[int, Field(ge=1, le=rules.SERIES_DOSE_MAX)]
FactInPath = Annotated[str, Path(pattern=FACT_PATTERN)]


class DueIn(Body):
    """A dose that a person is due: one of these products, within these days (inclusive)."""

    product_ids: Annotated[list[ProductId], Field(min_length=1, max_length=50)]
    series_dose: SeriesDose
    not_before: Day
    not_after: Day | None = None
    interval_days_min: Annotated[int, Field(ge=0, le=rules.INTERVAL_DAYS_MAX)] = 0

    def item(self) -> DueItem:
        """Return it as the domain has it."""
        fields = self.model_dump()
        return DueItem(**fields | {"product_ids": tuple(fields["product_ids"])})


class CheckIn(Body):
    """A code about to be injected, and into whom (a pseudonym).

    `visit_id` names the visit with its consent and answers. `due` is what the caller knows the
    person to be due; without it, the list that was registered counts. `check_id`, the caller's own
    or made here, becomes the `fact_id` of the dose.
    """

    check_id: Name | None = None
    code: Annotated[
        str,
        Field(min_length=1, max_length=INPUT_LENGTH_MAX, examples=["84743540181360010008"]),
    ]
    site: Annotated[Name, Field(examples=["dwk-cdc"])]
    recipient: Pseudonym
    visit_id: Name | None = None
    product_id: ProductId | None = None
    series_dose: SeriesDose | None = None
    due: Annotated[list[DueIn], Field(max_length=rules.DUE_ITEMS_MAX)] | None = None


class Finding(Body):
    """A reason or a caution, and what to do about it."""

    code: str
    title_zh: str
    title_en: str
    todo_zh: str
    todo_en: str


class VialOut(Body):
    """What is known of the code; `use_by`: until when an opened vial may be used."""

    code: str
    product_id: str
    lot_id: str
    status: str
    site_id: str
    expires_on: date | None
    doses_per_vial: int
    doses_given: int
    doses_wasted: int
    opened_at: datetime | None
    use_by: datetime | None


class CheckReceipt(Receipt):
    """The answer: may it be given; if not, every reason why, each with what to do."""

    check_id: str
    may: bool
    reasons: list[Finding]
    cautions: list[Finding]
    vial: VialOut


class Check(Body):
    """A check as it was answered; `as_of`: the ledger position of what was known."""

    check_id: str
    site_id: str
    code: str
    recipient: str = ""
    product_id: str
    lot_id: str
    series_dose: int | None
    visit_id: str
    may: bool
    reasons: list[str]
    cautions: list[str]
    as_of: int
    checked_at: datetime


class Dose(Body):
    """A dose that was given. `may`: what its check said, null without one; `late_h`: told so late.

    `recipient` is left out for those whose business it is not.
    """

    fact_id: str
    site_id: str
    region_code: str
    codes: list[str]
    recipient: str = ""
    series_dose: int | None
    given_at: datetime
    late_h: float
    may: bool | None
    due_at: datetime
    ended_at: datetime | None
    overdue: bool
    reaction: bool | None
    reason: str


class ObservationEndIn(Body):
    """The person leaves; before the 30 minutes are over only with a reason."""

    reaction: bool
    reason: Note = ""


@router.post("/vaccination/checks", status_code=201, response_model=CheckReceipt)
def check_injection(
    body: CheckIn,
    who: Annotated[Principal, permission(May.CHECK, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Say whether this code may be injected into this person now; the answer is kept."""
    deps, now = call.deps, call.deps.clock.now()
    code, check_id = canonical(body.code), body.check_id or uuid4().hex
    as_of = deps.ledger.last_position()
    known = _Known(deps, body, code, check_id)
    region = known.region(who)
    with deps.pool.connection() as conn:
        (vial,) = vials_of(deps, conn, [code], now, known.streams)
        given = read.given(conn, body.recipient)
    verdict = judge_vial(vial, site_id=body.site, at=now)
    judge_person(verdict, vial, known.person(given), at=now)
    checked = InjectionChecked(
        check_id=check_id,
        site_id=body.site,
        code=code,
        recipient=body.recipient,
        product_id=vial.product_id,
        lot_id=vial.lot_id,
        series_dose=known.series_dose,
        visit_id=body.visit_id or "",
        may=verdict.may,
        reasons=tuple(reason.value for reason in verdict.reasons),
        cautions=tuple(caution.value for caution in verdict.cautions),
        as_of=as_of,
        checked_at=now,
    )
    if known.earlier is not None:
        _require_same(known.earlier, checked)
        checked = known.earlier
    return call.run(
        model.check_stream(check_id),
        decide(model.evolve_check, None, model.record_check, checked=checked),
        location=f"{PREFIX}/vaccination/checks/{check_id}",
        meta=call.meta(region_code=region),
        more=_told(checked, vial),
    )


class _Known:
    """What the ledger holds about a question, read at once: site, product, person, visit, check.

    Invalid("unknown_visit") for a visit that there is not.
    """

    def __init__(self, deps: Deps, asked: CheckIn, code: str, check_id: str) -> None:
        self._asked = asked
        visit = model.visit_stream(asked.visit_id) if asked.visit_id else None
        person = model.person_stream(asked.recipient)
        check = model.check_stream(check_id)
        site = registry.site_stream(asked.site)
        product = goods.product_stream(product_of(code))
        wanted = {site, product, person, check} | ({visit} if visit else set())
        self.streams = deps.ledger.streams(wanted)
        self.earlier = self._fold(check, model.evolve_check, None)
        self._site = self._fold(site, registry.evolve_site, None)
        self._due = self._fold(person, model.evolve_person, model.Person()).items
        self._visit = self._fold(visit, model.evolve_visit, None) if visit else None
        if visit and self._visit is None:
            raise Invalid("unknown_visit", field="visit_id")

    def _fold(self, stream: UUID, evolve: Callable[[S, Any], S], initial: S) -> S:
        return fold(evolve, initial, (envelope.event for envelope in self.streams[stream]))

    def region(self, who: Principal) -> str:
        """Return the region of the site, which the caller's grant must cover."""
        if self._site is None:
            raise Invalid("unknown_site", field="site", site_id=self._asked.site)
        return who.require_region(self._site.region_code)

    @property
    def series_dose(self) -> int | None:
        """Return which dose of the schedule is meant, None when nobody said."""
        planned = self._visit.opened.series_dose if self._visit else None
        return self._asked.series_dose or planned

    def person(self, given: Iterable[tuple[list[str], int | None, datetime]]) -> Person:
        """Return what is known of the person, who was given these doses (codes, number, time)."""
        asked, visit = self._asked, self._visit
        due = self._due if asked.due is None else [each.item() for each in asked.due]
        screening = visit.screening if visit else None
        return Person(
            recipient=asked.recipient,
            planned_for=visit.opened.recipient if visit else "",
            product_id=asked.product_id or (visit.opened.product_id if visit else ""),
            series_dose=self.series_dose,
            consent=visit.consent.given if visit and visit.consent else None,
            screened_at=screening.answered_at if screening else None,
            stops=screening.stops if screening else (),
            cautions=screening.cautions if screening else (),
            due=due,
            given=[
                Given(product_id=product_of(code), series_dose=number, given_at=at)
                for codes, number, at in given
                for code in codes
            ],
        )


@router.get("/vaccination/checks/{check_id}", response_model=Check)
def read_check(
    check_id: NameInPath,
    who: Annotated[Principal, permission(May.READ_DOSES, Role.CDC, *CLINIC_STAFF)],
    deps: DepsOf,
) -> Response:
    """Return one check as it was answered, and the ledger position of what was known then."""
    history = deps.ledger.stream(model.check_stream(check_id))
    if not history:
        raise NotFound("unknown_check", check_id=check_id)
    who.require_seen(history[0].meta.region_code, "unknown_check", check_id=check_id)
    checked = cast(InjectionChecked, history[0].event)
    return json_answer(without_people(who, asdict(checked)), headers={"ETag": '"1"'})


def _require_same(earlier: InjectionChecked, now: InjectionChecked) -> None:
    """Refuse another question under the id of a check: the first answer stands."""
    names = ("site_id", "code", "recipient", "visit_id")
    differing = [name for name in names if getattr(earlier, name) != getattr(now, name)]
    if differing:
        raise Conflict("already_registered", differs=differing)


def _told(checked: InjectionChecked, vial: Vial) -> dict[str, object]:
    shown = {name: getattr(vial, name) for name in VialOut.model_fields if name != "use_by"}
    return {
        "check_id": checked.check_id,
        "may": checked.may,
        "reasons": findings(checked.reasons),
        "cautions": findings(checked.cautions),
        "vial": {**shown, "use_by": opened_until(vial)},
    }


def findings(codes: Iterable[str]) -> list[dict[str, str]]:
    """Return reasons or cautions in both languages, with what to do."""
    found = []
    for code in codes:
        title, todo = message(f"check_{code}", {}), message(f"check_{code}_todo", {})
        found.append(
            {
                "code": code,
                "title_zh": title[0],
                "title_en": title[1],
                "todo_zh": todo[0],
                "todo_en": todo[1],
            }
        )
    return found


def verdict_told(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as it is shown."""
    return {
        "may": verdict.may,
        "reasons": findings(verdict.reasons),
        "cautions": findings(verdict.cautions),
    }


def person_of(deps: Deps, recipient: str) -> model.Person:
    """Return what is known of a person."""
    history = deps.ledger.stream(model.person_stream(recipient))
    return fold(model.evolve_person, model.Person(), (e.event for e in history))


@router.get("/vaccination/doses", response_model=Items[Dose])
def list_doses(
    *,
    who: Annotated[Principal, permission(May.READ_DOSES, Role.CDC, *CLINIC_STAFF)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    site_id: NameAsked = None,
    observed: Annotated[
        bool | None, Query(description="true: those whose observation has not ended")
    ] = None,
) -> Response:
    """List doses of the caller's region by time, with the observation after each."""
    key = page.after_key(str, str)
    after = (datetime.fromisoformat(key[0]), key[1]) if key else (BEGINNING, "")
    asked: dict[str, Any] = {"region": who.narrowed(region), "site_id": site_id}
    with deps.pool.connection() as conn:
        found = read.doses(conn, **asked, observed=observed, after=after, limit=page.limit + 1)
    now = deps.clock.now()
    rows = [without_people(who, _dose(dose, now)) for dose in found]
    return page.answer(rows, lambda row: [row["given_at"].isoformat(), row["fact_id"]])


def _dose(dose: read.Dose, now: datetime) -> dict[str, Any]:
    shown = asdict(dose)
    late = shown.pop("recorded_at") - dose.given_at
    return {
        **shown,
        "late_h": round(max(0.0, late.total_seconds() / 3600), 2),
        "overdue": dose.ended_at is None and now > dose.due_at,
    }


@router.post(
    "/vaccination/doses/{fact_id}/observation-end", status_code=201, response_model=Receipt
)
def end_observation(
    fact_id: FactInPath,
    body: ObservationEndIn,
    who: Annotated[Principal, permission(May.OBSERVE, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Let a person go after a dose."""
    dose, meta = dose_of(call.deps, who, fact_id)
    return call.run(
        model.observation_stream(fact_id),
        decide(
            model.evolve_observation,
            None,
            model.end_observation,
            fact_id=fact_id,
            site_id=dose.site_id,
            given_at=meta.occurred_at,
            ended_at=call.deps.clock.now(),
            **body.model_dump(),
        ),
        location=f"{PREFIX}/vaccination/doses/{fact_id}/observation-end",
        meta=call.meta(region_code=meta.region_code),
    )


def dose_of(deps: Deps, who: Principal, fact_id: str) -> tuple[DoseAdministered, Meta]:
    """Return a dose of the caller's region; NotFound("unknown_dose") for any other."""
    told, withdrawn = facts.told(deps, fact_id)
    if told is None or withdrawn or not isinstance(told.event, DoseAdministered):
        raise NotFound("unknown_dose", fact_id=fact_id)
    who.require_seen(told.meta.region_code, "unknown_dose", fact_id=fact_id)
    return told.event, told.meta


def without_people(who: Principal, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the caller may see it: the pseudonym is for CDC and clinical roles."""
    return {k: v for k, v in row.items() if k != "recipient" or who.role in CLINICAL}


def site_region(deps: Deps, who: Principal, site_id: str, field: str = "site") -> str:
    """Return the region of a site in the caller's region; Invalid("unknown_site") without one."""
    region = facts.site_region(deps, site_id)
    if region is None:
        raise Invalid("unknown_site", field=field, site_id=site_id)
    return who.require_region(region)


def shown_record(who: Principal, record: read.Record) -> dict[str, Any]:
    """Return a record as it is listed."""
    about = {
        "state": record.state,
        "region_code": record.region_code,
        "changed_at": record.changed_at,
        "version": record.version,
    }
    return without_people(who, {**record.body, **about})


def list_records(
    deps: Deps,
    who: Principal,
    page: PageOf,
    kind: str,
    *,
    region: str | None,
    site_id: str | None,
    state: str | None,
) -> Response:
    """Answer one page of the records of a kind in the caller's region, by id."""
    asked: dict[str, Any] = {"region": who.narrowed(region), "site_id": site_id, "state": state}
    with deps.pool.connection() as conn:
        found = read.records(conn, kind, **asked, after=page.after_text(), limit=page.limit + 1)
    ids = [record.id for record in found]
    rows = [shown_record(who, record) for record in found]
    last = {id(row): key for row, key in zip(rows, ids, strict=True)}
    return page.answer(rows, lambda row: [last[id(row)]])
