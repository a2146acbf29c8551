"""Units of measure: what is measured in one is compared with what is measured in another.

Codes of UN/CEFACT Recommendation 20. A unit that stands here is turned into the base of its kind;
any other is a kind of its own.
"""

from __future__ import annotations

# unit -> (base unit, factor, offset): value in the base = (value + offset) * factor.
_BASES = {
    "CEL": ("CEL", 1.0, 0.0),
    "KEL": ("CEL", 1.0, -273.15),
    "FAH": ("CEL", 5 / 9, -32.0),
    "P1": ("P1", 1.0, 0.0),
}
# Digits after the point that survive the conversion there and back.
_DIGITS = 6


def comparable(value: float, uom: str, *, of_difference: bool = False) -> tuple[float, str]:
    """Return a value in the base unit of its kind, and that unit.

    A difference (a standard deviation) has no offset: 1 KEL is 1 CEL.
    """
    base, factor, offset = _BASES.get(uom, (uom, 1.0, 0.0))
    return round((value + (0.0 if of_difference else offset)) * factor, _DIGITS), base
