"""A scan as a person or a device states it: step, codes and fields in, the event out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from domain.shared.errors import Invalid
from domain.shared.ids import checked_name
from domain.shared.text import checked_text
from domain.traceability.codes import canonical, product_of
from domain.traceability.events import (
    CodesCommissioned,
    CodesFound,
    CodesMissing,
    DoseAdministered,
    DosesWasted,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    GoodsSampled,
    HoldCondemned,
    HoldPlaced,
    HoldReleased,
    PacksAggregated,
    PacksDisaggregated,
    PutAway,
    Quantity,
    RecallAcknowledged,
    StockAdjusted,
    StockCounted,
    VialOpened,
)
from domain.traceability.facts import LEVEL_MAX, FactEvent
from domain.traceability.lots import PRODUCT_ID, completed
from domain.traceability.particulars import (
    BILL_TYPES,
    CAUSES,
    FUNDINGS,
    RECALL_CLASSES,
    fits_vial,
)
from domain.traceability.pseudonyms import checked_note, checked_pseudonym

_Reader = Callable[[str, object], object]

# Codes in one scan; a scanner sends a pallet as several.
SCAN_CODES_MAX = 10_000
# °C; no probe reads beyond it (and NaN is not within it).
CELSIUS_ABS_MAX = 200.0
# Millilitres; the largest dose in use is 1 ml, beyond it is a typo.
DOSE_ML_MAX = 10.0


def fact_from_scan(
    step: str, *, fact_id: str, site_id: str, codes: Sequence[str], fields: Mapping[str, object]
) -> FactEvent:
    """Return the fact that a scan states; `fields` as named on the wire, None = not given.

    A bare lot number is completed with the product of the codes. Invalid: unknown_step,
    unknown_field (or one this step has no use for), missing_field (with `field`; `codes` where none
    is given), bad_field, bad_code, bad_name, bad_text, bad_lot_id, not_a_pseudonym,
    names_a_person, parent_in_codes.
    """
    cls, required = _STEPS.get(step, (None, ()))
    if cls is None:
        raise Invalid("unknown_step", field="step", value=step)
    given = {name: value for name, value in fields.items() if value is not None}
    scoped = any(given.get(name) for name in _INSTEAD_OF_CODES.get(step, ()))
    counted = {"codes": len(codes) or scoped or None, **given}
    for name in required:
        if counted.get(name) is None:
            raise Invalid("missing_field", field=name, step=step)
    if len(codes) > SCAN_CODES_MAX:
        raise Invalid("too_many_codes", field="codes", max=SCAN_CODES_MAX)
    found = tuple(dict.fromkeys(canonical(code) for code in codes))
    site_id = checked_name(site_id, "site_id")
    attributes = _attributes(cls, step, given)
    if attributes.get("parent") in found:
        raise Invalid("parent_in_codes", field="parent", value=attributes["parent"])
    if attributes.get("lot_id"):
        attributes["lot_id"] = completed(attributes["lot_id"], found)
    if not fits_vial(attributes.get("cause", ""), opened=attributes.get("opened", False)):
        raise Invalid("bad_field", field="cause")
    return cls(fact_id=fact_id, site_id=site_id, codes=found, **attributes)


def _attributes(cls: type[FactEvent], step: str, given: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in given.items():
        attribute, reader = _WIRE.get(name, ("", _text))
        if attribute not in cls.__dataclass_fields__:
            raise Invalid("unknown_field", field=name, step=step)
        values[attribute] = reader(name, value)
        if values[attribute] is None:
            raise Invalid("bad_field", field=name)
    return values


def particulars(cls: type[FactEvent], given: Mapping[str, object]) -> dict[str, Any]:
    """Return what fields, named as on the wire, say of an event; what it has no use for is left."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        attribute, reader = _WIRE.get(name, ("", _text))
        told = reader(name, value) if attribute in cls.__dataclass_fields__ else None
        if told is not None:
            found[attribute] = told
    return found


def products_of(fact: FactEvent) -> dict[str, str]:
    """Return the products of a fact's codes, each with one of the codes."""
    found: dict[str, str] = {}
    for code in (*fact.codes, *filter(None, [getattr(fact, "parent", "")])):
        found.setdefault(product_of(code), code)
    return found


def _text(name: str, value: object) -> str | None:
    return checked_text(value, name, required=False) if isinstance(value, str) else None


def _note(name: str, value: object) -> str | None:
    return checked_note(value, name) if isinstance(value, str) else None


def _person(name: str, value: object) -> str | None:
    return checked_pseudonym(value, name) if isinstance(value, str) else None


def _name(name: str, value: object) -> str | None:
    return checked_name(value, name) if isinstance(value, str) else None


def _code(_name: str, value: object) -> str | None:
    return canonical(value) if isinstance(value, str) else None


def _product(_name: str, value: object) -> str | None:
    return value if isinstance(value, str) and PRODUCT_ID.fullmatch(value) else None


def _number(_name: str, value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -CELSIUS_ABS_MAX <= value <= CELSIUS_ABS_MAX else None


def _count(_name: str, value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**31 else None


def _level(name: str, value: object) -> int | None:
    level = _count(name, value)
    return level if level is not None and 1 <= level <= LEVEL_MAX else None


def _millilitres(_name: str, value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= DOSE_ML_MAX else None


def _change(_name: str, value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**31) <= value < 2**31 else None


def _one_of(words: Collection[str]) -> _Reader:
    def read(_name: str, value: object) -> str | None:
        return value if isinstance(value, str) and value in words else None

    return read


def _moment(_name: str, value: object) -> datetime | None:
    """Read a time: a datetime or a text with its offset, or ms since 1970; None for others."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        return found.astimezone(UTC) if isinstance(found, datetime) and found.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None


def _quantities(name: str, value: object) -> tuple[Quantity, ...] | None:
    if not isinstance(value, list) or len(value) > LEVEL_MAX:
        return None
    found = tuple(quantity for item in value if (quantity := _quantity(name, item)))
    return found if len(found) == len(value) else None


def _quantity(name: str, value: object) -> Quantity | None:
    if not isinstance(value, Mapping) or not value.keys() <= Quantity.__dataclass_fields__.keys():
        return None
    level, reason = _level(name, value.get("level")), _note(name, value.get("reason", ""))
    due, actual = _count(name, value.get("due")), _count(name, value.get("actual"))
    if level is None or reason is None or due is None or actual is None:
        return None
    return Quantity(level=level, due=due, actual=actual, reason=reason)


def _flag(_name: str, value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(_name: str, value: object) -> date | None:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


# Field of a scan as it stands on the wire -> attribute of the event, and how to read it.
_WIRE: dict[str, tuple[str, _Reader]] = {
    "lot": ("lot_id", _text),
    "product": ("product_id", _product),
    "expiry": ("expires_on", _date),
    "level": ("level", _level),
    "parent": ("parent", _code),
    "to": ("to_site_id", _name),
    "from": ("from_site_id", _name),
    "bill": ("bill_no", _text),
    "vehicle": ("vehicle_id", _name),
    "unit": ("unit_id", _name),
    "device": ("device_id", _name),
    "temp": ("temperature_c", _number),
    "tmin": ("transport_c_min", _number),
    "tmax": ("transport_c_max", _number),
    "accepted": ("accepted", _flag),
    "recipient": ("recipient", _person),
    "dose": ("dose_number", _count),
    "vaccinator": ("vaccinator", _person),
    "doses": ("doses", _count),
    "opened": ("opened", _flag),
    "reason": ("reason", _note),
    "executer": ("executed_by", _person),
    "supervisor": ("supervised_by", _person),
    "recall": ("recall", _flag),
    "bill_type": ("bill_type", _one_of(BILL_TYPES)),
    "departed": ("departed_at", _moment),
    "departed_temp": ("departed_c", _number),
    "expected": ("expected_at", _moment),
    "arrived": ("arrived_at", _moment),
    "ambient": ("ambient_c", _number),
    "carrier": ("carrier", _note),
    "distributor": ("distributor", _note),
    "handed_by": ("handed_over_by", _person),
    "taken_by": ("taken_over_by", _person),
    "quantities": ("quantities", _quantities),
    "complete": ("complete", _flag),
    "units": ("units", _change),
    "shelf": ("shelf", _note),
    "body_site": ("body_site", _note),
    "route": ("route", _note),
    "series_dose": ("series_dose", _count),
    "series_doses": ("series_doses", _count),
    "dose_ml": ("dose_ml", _millilitres),
    "funding": ("funding", _one_of(FUNDINGS)),
    "manual": ("manual", _flag),
    "cause": ("cause", _one_of(CAUSES)),
    "stolen": ("stolen", _flag),
    "recall_id": ("recall_id", _text),
    "recall_class": ("recall_class", _one_of(RECALL_CLASSES)),
    "issuer": ("issued_by", _name),
    "notice": ("notice_no", _text),
    "decision": ("decision_no", _text),
}
# Step (a CBV word where there is one) -> event, fields that must be given.
_STEPS: dict[str, tuple[type[FactEvent], tuple[str, ...]]] = {
    "commissioning": (CodesCommissioned, ("codes", "lot")),
    "packing": (PacksAggregated, ("codes", "parent")),
    "unpacking": (PacksDisaggregated, ("parent",)),
    "shipping": (GoodsDispatched, ("codes", "to", "bill")),
    "receiving": (GoodsReceived, ("codes", "bill")),
    "storing": (PutAway, ("codes", "unit")),
    "opening": (VialOpened, ("codes",)),
    "dispensing": (DoseAdministered, ("codes",)),
    "wasting": (DosesWasted, ("codes", "reason")),
    "holding": (HoldPlaced, ("codes", "reason")),
    "releasing": (HoldReleased, ("codes", "reason")),
    "returning": (GoodsReturned, ("codes",)),
    "destroying": (GoodsDestroyed, ("codes",)),
    "sampling": (GoodsSampled, ("codes",)),
    "cycle_counting": (StockCounted, ("codes",)),
    "adjusting": (StockAdjusted, ("lot", "units", "reason")),
    "losing": (CodesMissing, ("codes", "reason")),
    "finding": (CodesFound, ("codes",)),
    "condemning": (HoldCondemned, ("codes", "reason")),
    "acknowledging": (RecallAcknowledged, ("recall_id", "codes")),
}
# A hold may bind a whole lot instead of codes; a count may tell numbers, or that nothing is there.
_INSTEAD_OF_CODES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("holding", "condemning", "releasing", "acknowledging"), ("lot",)),
    "cycle_counting": ("quantities", "complete"),
}
STEPS = tuple(_STEPS)


def has_reason(step: str) -> bool:
    """Tell whether the fact of a step holds a reason of its own."""
    return "reason" in _STEPS[step][0].__dataclass_fields__
