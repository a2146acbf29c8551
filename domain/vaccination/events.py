"""Events of vaccination. People are pseudonyms (domain/shared/pseudonyms.py), never named.

The dose itself is the fact `traceability.DoseAdministered`; its `fact_id` is the `check_id` of the
check before it. Money is whole fen, stock whole smallest packs (`units`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A contra-indication question; what "yes" means: stop | caution. No products = all."""

    question_id: str
    zh: str
    en: str
    yes: str
    product_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueItem:
    """A dose that a person is due: one of these products, not before and not after these days.

    `interval_days_min`: since the last dose of any of these products.
    """

    product_ids: tuple[str, ...]
    series_dose: int
    not_before: date
    not_after: date | None = None
    interval_days_min: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So many units of a product, of one lot where `lot_id` is given."""

    product_id: str
    units: int
    lot_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionListPublished(Event):
    """The next version of a list of contra-indication questions."""

    TOPIC: ClassVar[str] = "vaccination.QuestionListPublished"
    list_id: str
    version: int
    questions: tuple[Question, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueListSet(Event):
    """What a person is due; `site_id` is the clinic that looks after them."""

    TOPIC: ClassVar[str] = "vaccination.DueListSet"
    recipient: str
    site_id: str
    items: tuple[DueItem, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequested(Event):
    """A clinic asks for a child of another clinic."""

    TOPIC: ClassVar[str] = "vaccination.TransferRequested"
    transfer_id: str
    recipient: str
    from_site_id: str
    from_region_code: str
    to_site_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAccepted(Event):
    """The clinic left has let the child go; from now on the other looks after it."""

    TOPIC: ClassVar[str] = "vaccination.TransferAccepted"
    transfer_id: str
    recipient: str
    to_site_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferDeclined(Event):
    """The child stays with its clinic, for a reason."""

    TOPIC: ClassVar[str] = "vaccination.TransferDeclined"
    transfer_id: str
    recipient: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitOpened(Event):
    """A person came to a clinic for a dose of a product."""

    TOPIC: ClassVar[str] = "vaccination.VisitOpened"
    visit_id: str
    site_id: str
    recipient: str
    product_id: str
    series_dose: int
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentDecided(Event):
    """The person or the guardian has read `form_version` and agreed, or not."""

    TOPIC: ClassVar[str] = "vaccination.ConsentDecided"
    visit_id: str
    given: bool
    by: str  # self | guardian
    form_version: str
    reason: str = ""
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningAnswered(Event):
    """The contra-indication questions were answered; `yes`: the questions answered so."""

    TOPIC: ClassVar[str] = "vaccination.ScreeningAnswered"
    visit_id: str
    list_id: str
    list_version: int
    yes: tuple[str, ...]
    stops: tuple[str, ...]
    cautions: tuple[str, ...]
    answered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionChecked(Event):
    """A code was checked before an injection; `as_of`: ledger position of what was known."""

    TOPIC: ClassVar[str] = "vaccination.InjectionChecked"
    check_id: str
    site_id: str
    code: str
    recipient: str
    product_id: str
    lot_id: str
    series_dose: int | None
    visit_id: str
    may: bool
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    as_of: int
    checked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseNotGiven(Event):
    """A planned dose was not given; cause: one of the list in rules.py.

    `check_id`: the check before it, `code`: the vial that was at hand; empty without one.
    """

    TOPIC: ClassVar[str] = "vaccination.DoseNotGiven"
    not_given_id: str
    site_id: str
    recipient: str
    product_id: str
    series_dose: int | None
    visit_id: str = ""
    check_id: str = ""
    code: str = ""
    cause: str
    note: str = ""
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NotGivenWithdrawn(Event):
    """That a dose was not given was told wrongly."""

    TOPIC: ClassVar[str] = "vaccination.NotGivenWithdrawn"
    not_given_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationEnded(Event):
    """A person was let go after a dose; before `due_at` with the reason why."""

    TOPIC: ClassVar[str] = "vaccination.ObservationEnded"
    fact_id: str
    site_id: str
    due_at: datetime
    ended_at: datetime
    reaction: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AefiReported(Event):
    """A suspected adverse event after the dose of fact `fact_id`."""

    TOPIC: ClassVar[str] = "vaccination.AefiReported"
    aefi_id: str
    fact_id: str
    site_id: str
    code: str
    product_id: str
    lot_id: str
    recipient: str
    onset_at: datetime
    serious: bool
    signs: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AefiFollowedUp(Event):
    """How it went on; outcome: recovering | recovered | sequelae | died | unknown."""

    TOPIC: ClassVar[str] = "vaccination.AefiFollowedUp"
    aefi_id: str
    followed_at: datetime
    serious: bool
    outcome: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AefiClassified(Event):
    """What the experts found the cause to be: the report is closed."""

    TOPIC: ClassVar[str] = "vaccination.AefiClassified"
    aefi_id: str
    cause: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AefiCounted(Event):
    """A report counts for its lot (or became serious); kept in the lot's own stream."""

    TOPIC: ClassVar[str] = "vaccination.AefiCounted"
    lot_id: str
    aefi_id: str
    onset_at: datetime
    serious: bool
    region_code: str
    fact_id: str = ""  # the dose; empty in those of the first months


@dataclass(frozen=True, slots=True, kw_only=True)
class AefiClusterFound(Event):
    """Reports of one lot within `window_days` have reached the limit of the rule of that day."""

    TOPIC: ClassVar[str] = "vaccination.AefiClusterFound"
    cluster_id: str
    lot_id: str
    aefi_ids: tuple[str, ...]
    region_codes: tuple[str, ...]
    serious: int
    first_onset_at: datetime
    last_onset_at: datetime
    limit: int
    window_days: int
    rule_from: date


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLimitSet(Event):
    """A site shall keep from `units_min` to `units_max` smallest packs of a product."""

    TOPIC: ClassVar[str] = "vaccination.StockLimitSet"
    site_id: str
    product_id: str
    units_min: int
    units_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequisitionAsked(Event):
    """A site asks another for stock (要货)."""

    TOPIC: ClassVar[str] = "vaccination.RequisitionAsked"
    requisition_id: str
    site_id: str
    supplier_id: str
    supplier_region_code: str
    lines: tuple[Line, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequisitionApproved(Event):
    """The supplier allots lots; the goods go out on `bill_no`."""

    TOPIC: ClassVar[str] = "vaccination.RequisitionApproved"
    requisition_id: str
    bill_no: str
    allotted: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BillNumberTaken(Event):
    """The claim that keeps the number of a dispatch bill unique."""

    TOPIC: ClassVar[str] = "vaccination.BillNumberTaken"
    bill_no: str
    requisition_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequisitionDeclined(Event):
    """The supplier sends nothing, for a reason."""

    TOPIC: ClassVar[str] = "vaccination.RequisitionDeclined"
    requisition_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSet(Event):
    """What a dose of a non-programme vaccine costs in a region, from a day on; `basis`: by whom."""

    TOPIC: ClassVar[str] = "vaccination.PriceSet"
    product_id: str
    region_code: str
    price_fen: int
    service_fen: int
    valid_from: date
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRaised(Event):
    """A dose of a non-programme vaccine is to be paid for."""

    TOPIC: ClassVar[str] = "vaccination.ChargeRaised"
    charge_id: str
    site_id: str
    recipient: str
    product_id: str
    amount_fen: int
    price_from: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePaid(Event):
    """The payment system has the money; `reference` is its own number."""

    TOPIC: ClassVar[str] = "vaccination.ChargePaid"
    charge_id: str
    amount_fen: int
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeCancelled(Event):
    """Nothing need be paid any more: it never was."""

    TOPIC: ClassVar[str] = "vaccination.ChargeCancelled"
    charge_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAsked(Event):
    """What was paid shall be given back, for a reason."""

    TOPIC: ClassVar[str] = "vaccination.RefundAsked"
    charge_id: str
    amount_fen: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRefunded(Event):
    """The payment system has given the money back; `refund_reference` is its own number."""

    TOPIC: ClassVar[str] = "vaccination.ChargeRefunded"
    charge_id: str
    amount_fen: int
    refund_reference: str
