"""Events of traceability: products, lots, and physical facts about codes.

A physical fact is recorded whatever is wrong with it (what happened must be on record); its
`occurred_at` is the envelope's. `fact_id` is the EPCIS eventID, the caller's own id, or derived
from scanner and sequence; no two facts have the same. `site_id` is where it happened, `unit_id` the
cold unit there. Codes are full code strings (20 digits, or a GS1 element string / digital link).
People are pseudonyms (pseudonyms.py), never named. `manual`: typed by hand, nothing was scanned.
`bill_type` and other words of fixed sets stand in particulars.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRegistered(Event):
    """A vaccine product; `product_id` is the 7-digit product part of its codes, or a GTIN-14."""

    TOPIC: ClassVar[str] = "traceability.ProductRegistered"
    product_id: str
    name: str
    name_en: str = ""
    specification: str = ""
    holder: str  # marketing authorisation holder, name
    doses_per_vial: int
    temperature_c_min: float
    temperature_c_max: float
    freeze_sensitive: bool
    opened_limit_min: int | None = None
    middle_pack_size: int = 10  # small packs in a middle pack
    case_size: int = 10  # middle packs in a case
    trade_name: str = ""
    form: str = ""  # dosage form, e.g. 注射剂
    approval_no: str = ""
    producer: str = ""  # who makes it, where that is not the holder
    programme: bool | None = None  # of the national immunization programme; None = not said


@dataclass(frozen=True, slots=True, kw_only=True)
class LotReleased(Event):
    """A lot with its release number; `lot_id` = product_id + "." + lot_number."""

    TOPIC: ClassVar[str] = "traceability.LotReleased"
    lot_id: str
    product_id: str
    lot_number: str
    produced_on: date | None = None
    expires_on: date
    lot_release_no: str = ""
    quantity: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Packs of one level on a bill or in a count: how many there should be and how many are."""

    level: int  # 1 = smallest pack
    due: int
    actual: int
    reason: str = ""  # of the difference


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesCommissioned(Event):
    """Codes came into being on packs of one level of one lot (level 1 = smallest pack)."""

    TOPIC: ClassVar[str] = "traceability.CodesCommissioned"
    fact_id: str
    site_id: str
    unit_id: str = ""
    lot_id: str
    expires_on: date | None = None  # as printed on the packs
    level: int | None = None
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacksAggregated(Event):
    """Children were put into a parent."""

    TOPIC: ClassVar[str] = "traceability.PacksAggregated"
    fact_id: str
    site_id: str
    unit_id: str = ""
    parent: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacksDisaggregated(Event):
    """Children were taken out of a parent; no children named = all of them."""

    TOPIC: ClassVar[str] = "traceability.PacksDisaggregated"
    fact_id: str
    site_id: str
    unit_id: str = ""
    parent: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsDispatched(Event):
    """Packs left a site on a bill; `vehicle_id` is the cold unit they ride in."""

    TOPIC: ClassVar[str] = "traceability.GoodsDispatched"
    fact_id: str
    site_id: str
    to_site_id: str
    bill_no: str
    vehicle_id: str = ""
    device_id: str = ""
    temperature_c: float | None = None  # at departure
    bill_type: str = ""
    departed_at: datetime | None = None
    expected_at: datetime | None = None  # when they are to arrive
    ambient_c: float | None = None
    carrier: str = ""
    distributor: str = ""
    handed_over_by: str = ""
    taken_over_by: str = ""
    quantities: tuple[Quantity, ...] = ()
    manual: bool = False
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsReceived(Event):
    """Packs arrived at a site on a bill, with the temperatures of the transport where known."""

    TOPIC: ClassVar[str] = "traceability.GoodsReceived"
    fact_id: str
    site_id: str
    from_site_id: str = ""
    bill_no: str
    unit_id: str = ""
    vehicle_id: str = ""
    device_id: str = ""
    temperature_c: float | None = None  # at arrival
    transport_c_min: float | None = None
    transport_c_max: float | None = None
    accepted: bool = True
    reason: str = ""
    bill_type: str = ""
    departed_at: datetime | None = None
    departed_c: float | None = None
    arrived_at: datetime | None = None
    ambient_c: float | None = None
    carrier: str = ""
    distributor: str = ""
    handed_over_by: str = ""
    taken_over_by: str = ""
    quantities: tuple[Quantity, ...] = ()  # due and received, with the discrepancies
    manual: bool = False
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAway(Event):
    """Packs were put into a cold unit of the site."""

    TOPIC: ClassVar[str] = "traceability.PutAway"
    fact_id: str
    site_id: str
    unit_id: str
    shelf: str = ""
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VialOpened(Event):
    """A multi-dose vial was opened; its deadline runs from here."""

    TOPIC: ClassVar[str] = "traceability.VialOpened"
    fact_id: str
    site_id: str
    unit_id: str = ""
    manual: bool = False
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseAdministered(Event):
    """A dose of this code was given. `recipient` is a pseudonym, never personal data."""

    TOPIC: ClassVar[str] = "traceability.DoseAdministered"
    fact_id: str
    site_id: str
    unit_id: str = ""
    codes: tuple[str, ...]
    recipient: str = ""
    dose_number: int | None = None  # n-th dose out of this vial
    vaccinator: str = ""
    body_site: str = ""  # where on the body, e.g. 左上臂三角肌
    route: str = ""  # e.g. 肌内注射
    series_dose: int | None = None  # n-th dose of the person's series (剂次)
    series_doses: int | None = None  # doses in that series
    dose_ml: float | None = None
    funding: str = ""  # programme | private, see particulars.py
    manual: bool = False
    parent: str = ""  # the pack it was taken from, where that was scanned too


@dataclass(frozen=True, slots=True, kw_only=True)
class DosesWasted(Event):
    """Doses of these codes can no longer be given; None = all that were left."""

    TOPIC: ClassVar[str] = "traceability.DosesWasted"
    fact_id: str
    site_id: str
    unit_id: str = ""
    codes: tuple[str, ...]
    doses: int | None = None
    opened: bool = False
    cause: str = ""  # one of the sets in particulars.py
    manual: bool = False
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPlaced(Event):
    """Codes, or a whole lot, may not be used or moved until released; a recall is such a hold."""

    TOPIC: ClassVar[str] = "traceability.HoldPlaced"
    fact_id: str
    site_id: str
    codes: tuple[str, ...] = ()
    lot_id: str = ""
    recall: bool = False
    recall_class: str = ""  # 1 (gravest) to 3
    issued_by: str = ""  # who ordered the recall: an organisation
    notice_no: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased(Event):
    """A hold ended by a quality decision of two persons; a recall only where `recall` says so."""

    TOPIC: ClassVar[str] = "traceability.HoldReleased"
    fact_id: str
    site_id: str
    codes: tuple[str, ...] = ()
    lot_id: str = ""
    recall: bool = False
    executed_by: str = ""
    supervised_by: str = ""
    decision_no: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCondemned(Event):
    """A quality decision that what is held must be destroyed: no release follows."""

    TOPIC: ClassVar[str] = "traceability.HoldCondemned"
    fact_id: str
    site_id: str
    codes: tuple[str, ...] = ()
    lot_id: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    decision_no: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAcknowledged(Event):
    """A holder knows of a recall and tells what it has of it; `recall_id` is that fact's id."""

    TOPIC: ClassVar[str] = "traceability.RecallAcknowledged"
    fact_id: str
    site_id: str
    recall_id: str
    lot_id: str = ""
    codes: tuple[str, ...] = ()
    units: int | None = None  # smallest packs on hand
    executed_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCounted(Event):
    """What was found in a unit or a site, against what should be there.

    `complete`: all there is was counted, of the lot or product where one is named; what has its
    place there and was not found is not there. `book_position`: of the ledger, when the numbers due
    were read off the book; None = whoever counted told them.
    """

    TOPIC: ClassVar[str] = "traceability.StockCounted"
    fact_id: str
    site_id: str
    unit_id: str = ""
    lot_id: str = ""
    product_id: str = ""  # of all its lots together, where no lot is named
    codes: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    book_position: int | None = None
    complete: bool = False
    executed_by: str = ""
    supervised_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockAdjusted(Event):
    """The books of a lot at a site were corrected by smallest packs whose codes nobody knows."""

    TOPIC: ClassVar[str] = "traceability.StockAdjusted"
    fact_id: str
    site_id: str
    unit_id: str = ""
    lot_id: str
    codes: tuple[str, ...] = ()
    units: int
    bill_no: str = ""
    bill_type: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsSampled(Event):
    """Packs were taken out of stock for testing: they are not used any more."""

    TOPIC: ClassVar[str] = "traceability.GoodsSampled"
    fact_id: str
    site_id: str
    unit_id: str = ""
    to_site_id: str = ""  # the laboratory
    bill_no: str = ""
    bill_type: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    reason: str = ""
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesMissing(Event):
    """Packs that should be at a site, or arrived there on a bill, cannot be found."""

    TOPIC: ClassVar[str] = "traceability.CodesMissing"
    fact_id: str
    site_id: str
    unit_id: str = ""
    bill_no: str = ""
    stolen: bool = False
    reason: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesFound(Event):
    """Packs that were missing are there again."""

    TOPIC: ClassVar[str] = "traceability.CodesFound"
    fact_id: str
    site_id: str
    unit_id: str = ""
    reason: str = ""
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsReturned(Event):
    """Packs went back towards their supplier on a bill."""

    TOPIC: ClassVar[str] = "traceability.GoodsReturned"
    fact_id: str
    site_id: str
    to_site_id: str = ""
    bill_no: str = ""
    bill_type: str = ""
    vehicle_id: str = ""
    device_id: str = ""
    temperature_c: float | None = None  # at departure
    departed_at: datetime | None = None
    expected_at: datetime | None = None
    carrier: str = ""
    distributor: str = ""
    handed_over_by: str = ""
    taken_over_by: str = ""
    quantities: tuple[Quantity, ...] = ()
    reason: str = ""
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsDestroyed(Event):
    """Packs were destroyed: an end that only a withdrawal reopens."""

    TOPIC: ClassVar[str] = "traceability.GoodsDestroyed"
    fact_id: str
    site_id: str
    unit_id: str = ""
    bill_no: str = ""
    bill_type: str = ""
    executed_by: str = ""
    supervised_by: str = ""
    reason: str = ""
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactWithdrawn(Event):
    """A fact is declared wrong; it stays visible for any `as_of` before this.

    The declaration may be known before the fact is. It holds for the fact of this id at
    `fact_site_id`, for no other: so nobody can withdraw what happened out of their region.
    """

    TOPIC: ClassVar[str] = "traceability.FactWithdrawn"
    fact_id: str  # of the fact withdrawn
    site_id: str  # where it was declared
    fact_site_id: str = ""  # where the fact happened; empty = at `site_id`
    reason: str
    declared_at: datetime
    corrective_fact_ids: tuple[str, ...] = ()

    @property
    def of_site(self) -> str:
        """Return where the fact happened that is declared wrong."""
        return self.fact_site_id or self.site_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureStored(Event):
    """An EPCIS document, or single event, as received; each fact read out of it has a stream.

    `event_count` of its events were new with it: those at `indexes` (from 0), with the CBV 2.0 hash
    (hex) and the region of each; all of them where none are named. One document is stored again
    when more of it is taken.
    """

    TOPIC: ClassVar[str] = "traceability.CaptureStored"
    sha256: str
    document: bytes
    event_count: int
    indexes: tuple[int, ...] = ()
    hashes: tuple[str, ...] = ()
    region_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionClosed(Event):
    """A person (the envelope's actor) settled an exception; facts that add to it reopen it."""

    TOPIC: ClassVar[str] = "traceability.ExceptionClosed"
    case_id: str
    kind: str
    codes: tuple[str, ...]
    fact_ids: tuple[str, ...]
    resolution: str  # one of the set in cases.py
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionAssigned(Event):
    """An exception was given to another organisation to settle."""

    TOPIC: ClassVar[str] = "traceability.ExceptionAssigned"
    case_id: str
    kind: str
    org_code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentOverdue(Event):
    """The time is over in which a shipment should have arrived, and no receipt of it is known."""

    TOPIC: ClassVar[str] = "traceability.ShipmentOverdue"
    fact_id: str  # of the shipment
    bill_no: str
    expected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcursionConfirmed(Event):
    """A device read outside the limits of its unit, from the first bad reading to the last.

    Stream = device and start; told again when the end moved on. `site_id` empty: a vehicle.
    """

    TOPIC: ClassVar[str] = "traceability.ExcursionConfirmed"
    device_id: str
    unit_id: str
    site_id: str = ""
    started_at: datetime
    ended_at: datetime
    limit_c: float
    peak_c: float
