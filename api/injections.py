"""The pre-injection check over HTTP, doses with their observation, and AEFI after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID, uuid4

import psycopg
from fastapi import Response
from pydantic import Field

from api import facts
from api.auth import Principal, permission
from api.commands import CallOf, Receipt, receipt
from api.custody_scope import CLINICAL
from api.deps import Deps, DepsOf
from api.messages import message
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Day, Name, NameInPath
from api.vials import vials_of
from domain.registry import model as registry
from domain.shared.decide import decide, fold
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.pseudonyms import PSEUDONYM_PATTERN
from domain.shared.roles import Role
from domain.traceability import model as goods
from domain.traceability.codes import INPUT_LENGTH_MAX, canonical, product_of
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
from store.commands import Answer, Command, Outcome, execute

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
S = TypeVar("S")


class May(StrEnum):
    """Permissions around the injection itself."""

    CHECK = "vaccination.check"
    READ_DOSES = "vaccination.read_doses"
    OBSERVE = "vaccination.observe"


ProductId = Annotated[str, Field(pattern=PRODUCT_PATTERN, examples=["8474354"])]
Pseudonym = Annotated[str, Field(pattern=PSEUDONYM_PATTERN, examples=["R-4f2a"])]
SeriesDose = Annotated[int, Field(ge=1, le=rules.SERIES_DOSE_MAX)]


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


class DoseScan(Body):
    """The scan that records this dose once it is given, but for `at` and who gave it where."""

    step: str
    site: str
    fact_id: str
    codes: list[str]
    recipient: str
    series_dose: int | None


class CheckReceipt(Receipt):
    """The answer: may it be given; if not, every reason why, each with what to do.

    `dose` is to be completed and sent to `/scans` once the dose is given.
    """

    check_id: str
    may: bool
    reasons: list[Finding]
    cautions: list[Finding]
    vial: VialOut
    dose: DoseScan


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


@router.post("/vaccination/checks", status_code=201, response_model=CheckReceipt)
def check_injection(
    body: CheckIn,
    who: Annotated[Principal, permission(May.CHECK, *CLINIC_STAFF)],
    call: CallOf,
) -> Response:
    """Say whether this code may be injected into this person now; the answer is kept.

    A "may" keeps the dose for the person for some minutes: another's check says so.
    """
    deps = call.deps
    code, check_id = canonical(body.code), body.check_id or uuid4().hex
    telemetry = deps.telemetry.last_position()
    with deps.pool.connection() as conn, read.alone(conn, code):
        known = _Known(deps, body, code, check_id)
        region = known.region(who)
        checked, vial = _judged(deps, conn, known)
        if known.earlier is not None:
            _require_same(known.earlier, checked)
            checked = known.earlier

        def answer(outcome: Outcome) -> Answer:
            location = f"{PREFIX}/vaccination/checks/{check_id}"
            return receipt(outcome, location, telemetry, _told(checked, vial))

        command = Command(
            model.check_stream(check_id),
            decide(model.evolve_check, None, model.record_check, checked=checked),
            call.meta(region_code=region),
            idempotency=call.idempotency(answer),
        )
        outcome = execute(deps.ledger, command)
    return call.answered(outcome, answer)


def _judged(
    deps: Deps, conn: psycopg.Connection[Any], known: _Known
) -> tuple[InjectionChecked, Vial]:
    """Return the answer to a check as of now, and what is known of the vial."""
    asked, now = known.asked, deps.clock.now()
    since = now - timedelta(minutes=rules.rules_at(now).reserved_min)
    (vial,) = vials_of(deps, conn, [known.code], now, known.streams)
    before = read.before(conn, asked.recipient, known.code, since)
    verdict = judge_vial(vial, site_id=asked.site, at=now)
    judge_person(verdict, vial, known.person(before), at=now)
    checked = InjectionChecked(
        check_id=known.check_id,
        site_id=asked.site,
        code=known.code,
        recipient=asked.recipient,
        product_id=vial.product_id,
        lot_id=vial.lot_id,
        series_dose=known.series_dose,
        visit_id=asked.visit_id or "",
        may=verdict.may,
        reasons=tuple(reason.value for reason in verdict.reasons),
        cautions=tuple(caution.value for caution in verdict.cautions),
        as_of=known.as_of,
        checked_at=now,
    )
    return checked, vial


class _Known:
    """What the ledger holds about a question, read at once: site, product, person, visit, check.

    Invalid("unknown_visit") for a visit that there is not.
    """

    def __init__(self, deps: Deps, asked: CheckIn, code: str, check_id: str) -> None:
        self.asked, self.code, self.check_id = asked, code, check_id
        self.as_of = deps.ledger.last_position()
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
            raise Invalid("unknown_site", field="site", site_id=self.asked.site)
        return who.require_region(self._site.region_code)

    @property
    def series_dose(self) -> int | None:
        """Return which dose of the schedule is meant, None when nobody said."""
        planned = self._visit.opened.series_dose if self._visit else None
        return self.asked.series_dose or planned

    def person(self, before: read.Before) -> Person:
        """Return what is known of the person, and of others who wait for this vial."""
        asked, visit, registered = self.asked, self._visit, self._due
        due = registered if asked.due is None else [each.item() for each in asked.due]
        differs = registered is not None and due is not None and [*due] != [*registered]
        own = [check for check in before.open if check.recipient == asked.recipient]
        others = {check.recipient for check in before.open if check.code == self.code}
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
                for codes, number, at in before.given
                for code in codes
            ],
            due_differs=differs,
            others=len(others - {asked.recipient}),
            checked_another=any(
                check.code != self.code and check.product_id == product_of(self.code)
                for check in own
            ),
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
        "dose": {
            "step": "dispensing",
            "site": checked.site_id,
            "fact_id": checked.check_id,
            "codes": [checked.code],
            "recipient": checked.recipient,
            "series_dose": checked.series_dose,
        },
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
