"""Kinds of exception: how bad each is, whether it blocks the goods, and when it must be settled.

The names are permanent: they stand in the tables, in the API and at the command line.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What can be wrong between the goods and what is on record about them."""

    PRODUCT_WITHOUT_DATA = "PRODUCT_WITHOUT_DATA"
    DATA_WITHOUT_PRODUCT = "DATA_WITHOUT_PRODUCT"
    SHIPMENT_OVERDUE = "SHIPMENT_OVERDUE"
    DATA_ERROR = "DATA_ERROR"
    DAMAGED = "DAMAGED"
    QUANTITY_MISMATCH = "QUANTITY_MISMATCH"
    TEMPERATURE_MISSING = "TEMPERATURE_MISSING"
    THERMAL_EXCURSION = "THERMAL_EXCURSION"
    USE_AFTER_EXCURSION = "USE_AFTER_EXCURSION"
    EXPIRED = "EXPIRED"
    EXPIRED_USE = "EXPIRED_USE"
    RECALLED = "RECALLED"
    RECALLED_USE = "RECALLED_USE"
    WRONG_DESTINATION = "WRONG_DESTINATION"
    ALREADY_USED = "ALREADY_USED"
    DOSES_EXCEED_VIAL = "DOSES_EXCEED_VIAL"
    OPEN_VIAL_OVERRUN = "OPEN_VIAL_OVERRUN"
    UNKNOWN_CODE = "UNKNOWN_CODE"
    IMPOSSIBLE_JOURNEY = "IMPOSSIBLE_JOURNEY"
    LATE_CAPTURE = "LATE_CAPTURE"
    HIERARCHY_BROKEN = "HIERARCHY_BROKEN"
    MASS_IMBALANCE = "MASS_IMBALANCE"
    UNEXPLAINED_UNIT = "UNEXPLAINED_UNIT"
    CODE_MISSING_ON_RECORD = "CODE_MISSING_ON_RECORD"
    ILLEGAL_STATE = "ILLEGAL_STATE"
    ERROR_DECLARED = "ERROR_DECLARED"


class Severity(StrEnum):
    """How bad an exception is."""

    CRITICAL = "critical"  # somebody may have been given what must not be given
    MAJOR = "major"  # goods may not be used until it is settled, or are not where they should be
    MINOR = "minor"  # the record is not as it should be


class Rule(NamedTuple):
    """`blocking`: the goods may not be used while it is open. `due_h`: hours to settle it.

    `grace_h`: hours that it must have stood before it opens: until then it may settle itself.
    """

    severity: Severity
    blocking: bool
    due_h: int
    grace_h: int = 0


_CRITICAL = Rule(Severity.CRITICAL, blocking=True, due_h=24)
_HOLDS = Rule(Severity.MAJOR, blocking=True, due_h=72)
_MAJOR = Rule(Severity.MAJOR, blocking=False, due_h=72)
_MINOR = Rule(Severity.MINOR, blocking=False, due_h=7 * 24)

RULES: dict[Kind, Rule] = {
    Kind.PRODUCT_WITHOUT_DATA: _HOLDS,
    Kind.DATA_WITHOUT_PRODUCT: _MAJOR,
    Kind.SHIPMENT_OVERDUE: Rule(Severity.MAJOR, blocking=False, due_h=24),
    Kind.DATA_ERROR: _HOLDS,
    Kind.DAMAGED: _HOLDS,
    Kind.QUANTITY_MISMATCH: _MAJOR,
    Kind.TEMPERATURE_MISSING: _HOLDS,
    Kind.THERMAL_EXCURSION: Rule(Severity.MAJOR, blocking=True, due_h=24),
    Kind.USE_AFTER_EXCURSION: _CRITICAL,
    Kind.EXPIRED: _HOLDS,
    Kind.EXPIRED_USE: _CRITICAL,
    Kind.RECALLED: Rule(Severity.CRITICAL, blocking=True, due_h=24),
    Kind.RECALLED_USE: _CRITICAL,
    Kind.WRONG_DESTINATION: _HOLDS,
    Kind.ALREADY_USED: _CRITICAL,
    Kind.DOSES_EXCEED_VIAL: _CRITICAL,
    Kind.OPEN_VIAL_OVERRUN: _CRITICAL,
    Kind.UNKNOWN_CODE: _CRITICAL,
    Kind.IMPOSSIBLE_JOURNEY: _HOLDS,
    Kind.LATE_CAPTURE: _MINOR,
    Kind.HIERARCHY_BROKEN: _MINOR,
    Kind.MASS_IMBALANCE: _MAJOR,
    Kind.UNEXPLAINED_UNIT: _MAJOR._replace(grace_h=72),
    Kind.CODE_MISSING_ON_RECORD: _MAJOR,
    Kind.ILLEGAL_STATE: _MAJOR,
    Kind.ERROR_DECLARED: _MINOR,
}

# What gives way where a more telling kind names the same code and fact.
_GENERAL = frozenset(
    {Kind.ILLEGAL_STATE, Kind.MASS_IMBALANCE, Kind.QUANTITY_MISMATCH, Kind.DATA_ERROR}
)
# What is wrong with the telling alone says nothing of the goods.
_OF_GOODS = frozenset(Kind) - {Kind.LATE_CAPTURE, Kind.ERROR_DECLARED, Kind.UNEXPLAINED_UNIT}
# The kinds that each gives way to; what only the balance shows, to all that say more.
YIELDS: dict[Kind, frozenset[Kind]] = {
    **dict.fromkeys(_GENERAL, _OF_GOODS - _GENERAL),
    Kind.UNEXPLAINED_UNIT: _OF_GOODS,
}
