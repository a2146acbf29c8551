"""May this dose be given: every reason why not, from what is known of the vial and the person.

A reason forbids; a caution is shown and forbids nothing. The same judgement of the vial is made
by the server and, off a signed snapshot, without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from domain.vaccination.events import DueItem
from domain.vaccination.rules import day_of, rules_at


class Reason(StrEnum):
    """Why a dose may not be given. The texts stand in api/texts under "check_" + the name."""

    UNKNOWN_CODE = "unknown_code"
    UNKNOWN_PRODUCT = "unknown_product"
    NOT_A_VIAL = "not_a_vial"
    USED = "used"
    DESTROYED = "destroyed"
    NOT_RECEIVED = "not_received"
    WRONG_PLACE = "wrong_place"
    RECALLED = "recalled"
    CONDEMNED = "condemned"
    HELD = "held"
    EXPIRED = "expired"
    OPENED_TOO_LONG = "opened_too_long"
    EXCURSION = "excursion"
    SNAPSHOT_OLD = "snapshot_old"
    OTHER_PERSON = "other_person"
    NOT_PLANNED = "not_planned"
    NOT_DUE = "not_due"
    TOO_EARLY = "too_early"
    TOO_LATE = "too_late"
    INTERVAL = "interval"
    ALREADY_GIVEN = "already_given"
    RESERVED = "reserved"
    CONSENT_MISSING = "consent_missing"
    CONSENT_REFUSED = "consent_refused"
    SCREENING_MISSING = "screening_missing"
    SCREENING_OLD = "screening_old"
    CONTRAINDICATED = "contraindicated"


class Caution(StrEnum):
    """What the person who injects must know."""

    EXPIRY_UNKNOWN = "expiry_unknown"
    MINOR_EXCURSION = "minor_excursion"
    DUE_UNKNOWN = "due_unknown"
    DUE_DIFFERS = "due_differs"
    CHECKED_ANOTHER = "checked_another"
    PRECAUTION = "precaution"
    PERSON_UNCHECKED = "person_unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vial:
    """What is known of a code at a moment. `status`: where it stands in its life, by name.

    `excursion`: none | minor | grave, of all its stays since the last quality decision.
    """

    code: str
    known: bool = False
    product_id: str = ""
    product_known: bool = False
    level: int = 1
    lot_id: str = ""
    expires_on: date | None = None
    status: str = "unknown"
    site_id: str = ""
    doses_per_vial: int = 1
    doses_given: int = 0
    doses_wasted: int = 0
    opened_at: datetime | None = None
    opened_limit_min: int | None = None
    held: bool = False
    recalled: bool = False
    condemned: bool = False
    excursion: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A dose that a person got before."""

    product_id: str
    series_dose: int | None
    given_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is known of the person in front of the vaccinator and of what was planned.

    `due` None: nobody told. `consent` None: not asked. `planned_for`: whose visit it is, empty
    without one. Times None: not answered. `due_differs`: from the list that is registered.
    `others`: how many other persons' open checks keep a dose of the vial; `checked_another`: an
    open check of this person's keeps another vial of the product.
    """

    recipient: str
    planned_for: str = ""
    product_id: str = ""
    series_dose: int | None = None
    consent: bool | None = None
    screened_at: datetime | None = None
    stops: Sequence[str] = ()
    cautions: Sequence[str] = ()
    due: Sequence[DueItem] | None = None
    given: Sequence[Given] = ()
    due_differs: bool = False
    others: int = 0
    checked_another: bool = False


@dataclass(slots=True)
class Verdict:
    """All reasons and cautions, in the order they are looked for."""

    reasons: list[Reason] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)

    @property
    def may(self) -> bool:
        """Tell whether nothing forbids the dose."""
        return not self.reasons

    def refuse(self, reason: Reason, when: bool = True) -> None:
        """Add a reason when something is so."""
        if when and reason not in self.reasons:
            self.reasons.append(reason)

    def warn(self, caution: Caution, when: bool) -> None:
        """Add a caution when something is so."""
        if when:
            self.cautions.append(caution)


# Where a code stands when it may be used: "held" is told as such.
_AT_HAND = frozenset({"in_stock", "opened", "held"})
_SPENT = frozenset({"used", "wasted", "sampled"})
_COMING = frozenset({"in_transit", "commissioned", "returned"})


def judge_vial(vial: Vial, *, site_id: str, at: datetime) -> Verdict:
    """Judge a code at a site and a moment."""
    found = Verdict()
    if not vial.known:
        found.refuse(Reason.UNKNOWN_CODE)
        return found
    found.refuse(Reason.UNKNOWN_PRODUCT, not vial.product_known)
    found.refuse(Reason.NOT_A_VIAL, vial.level > 1)
    found.refuse(Reason.USED, vial.status in _SPENT or _doses_left(vial) <= 0)
    found.refuse(Reason.DESTROYED, vial.status == "destroyed")
    here = vial.site_id == site_id
    found.refuse(Reason.NOT_RECEIVED, here and vial.status in _COMING)
    lost = vial.status not in _AT_HAND | _SPENT | _COMING | {"destroyed"}
    found.refuse(Reason.WRONG_PLACE, not here or lost)
    found.refuse(Reason.RECALLED, vial.recalled)
    found.refuse(Reason.CONDEMNED, vial.condemned)
    found.refuse(Reason.HELD, vial.held and not (vial.recalled or vial.condemned))
    expired = vial.expires_on is not None and day_of(at) > vial.expires_on
    found.refuse(Reason.EXPIRED, expired)
    found.warn(Caution.EXPIRY_UNKNOWN, vial.expires_on is None)
    deadline = opened_until(vial)
    found.refuse(Reason.OPENED_TOO_LONG, deadline is not None and at > deadline)
    found.refuse(Reason.EXCURSION, vial.excursion == "grave")
    found.warn(Caution.MINOR_EXCURSION, vial.excursion == "minor")
    return found


def opened_until(vial: Vial) -> datetime | None:
    """Return when an opened vial may no longer be used; None unopened, or without a limit."""
    if vial.opened_at is None or vial.opened_limit_min is None:
        return None
    return vial.opened_at + timedelta(minutes=vial.opened_limit_min)


def judge_person(found: Verdict, vial: Vial, person: Person, *, at: datetime) -> None:
    """Add to a verdict what the person, their consent and their schedule say."""
    found.refuse(Reason.OTHER_PERSON, person.planned_for not in {"", person.recipient})
    found.refuse(Reason.NOT_PLANNED, person.product_id not in {"", vial.product_id})
    found.refuse(Reason.CONSENT_MISSING, person.consent is None)
    found.refuse(Reason.CONSENT_REFUSED, person.consent is False)
    _screening(found, person, at)
    if person.due is None:
        found.warn(Caution.DUE_UNKNOWN, True)
        found.refuse(Reason.ALREADY_GIVEN, _repeated(vial, person, day_of(at)))
    else:
        _schedule(found, vial, person, person.due, day_of(at))
    found.warn(Caution.DUE_DIFFERS, person.due_differs)
    found.refuse(Reason.RESERVED, 0 < _doses_left(vial) <= person.others)
    found.warn(Caution.CHECKED_ANOTHER, person.checked_another)


def _doses_left(vial: Vial) -> int:
    return vial.doses_per_vial - vial.doses_given - vial.doses_wasted


def _repeated(vial: Vial, person: Person, today: date) -> bool:
    """Tell whether the person got this product today, or its dose of this number on any day."""
    return any(
        day_of(dose.given_at) == today or dose.series_dose == (person.series_dose or 0)
        for dose in person.given
        if dose.product_id == vial.product_id
    )


def _screening(found: Verdict, person: Person, at: datetime) -> None:
    found.refuse(Reason.SCREENING_MISSING, person.screened_at is None)
    if person.screened_at is not None:
        age = at - person.screened_at
        found.refuse(Reason.SCREENING_OLD, age > timedelta(hours=rules_at(at).screening_h))
    found.refuse(Reason.CONTRAINDICATED, bool(person.stops))
    found.warn(Caution.PRECAUTION, bool(person.cautions))


def _schedule(
    found: Verdict, vial: Vial, person: Person, due: Sequence[DueItem], today: date
) -> None:
    items = [item for item in due if vial.product_id in item.product_ids]
    if person.series_dose is not None:
        items = [item for item in items if item.series_dose == person.series_dose]
    if not items:
        found.refuse(Reason.NOT_DUE)
        return
    item = min(items, key=lambda item: item.series_dose)
    before = [dose for dose in person.given if dose.product_id in item.product_ids]
    again = any(
        dose.series_dose == item.series_dose
        or (dose.series_dose is None and day_of(dose.given_at) == today)
        for dose in before
    )
    found.refuse(Reason.ALREADY_GIVEN, again)
    found.refuse(Reason.TOO_EARLY, today < item.not_before)
    found.refuse(Reason.TOO_LATE, item.not_after is not None and today > item.not_after)
    last = max((day_of(dose.given_at) for dose in before), default=None)
    if last is not None:
        found.refuse(Reason.INTERVAL, (today - last).days < item.interval_days_min)
