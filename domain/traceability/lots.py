"""Lot ids: product and lot number, since a number is unique within its product only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from domain.shared.errors import Invalid
from domain.traceability.codes import product_of

_NUMBER = r"[^\s/?#%\x00-\x1f\x7f-\x9f]{1,20}"
LOT_NUMBER_PATTERN = rf"^{_NUMBER}$"
_PRODUCT = r"(8[0-9]{6}|[0-9]{14})"
LOT_PATTERN = rf"^{_PRODUCT}\.{_NUMBER}$"
PRODUCT_ID = re.compile(_PRODUCT)
_number, _lot = re.compile(LOT_NUMBER_PATTERN), re.compile(LOT_PATTERN)


def lot_id_of(product_id: str, lot_number: str) -> str:
    """Return the id of a lot."""
    return f"{product_id}.{lot_number}"


def completed(value: str, codes: Iterable[str], field: str = "lot") -> str:
    """Return a lot id: as it stands, or a bare lot number with the one product of the codes.

    Invalid("bad_lot_id") when it is neither, or the codes are of several products, or of none.
    """
    if _lot.fullmatch(value):
        return value
    products = {product_of(code) for code in codes}
    if len(products) == 1 and _number.fullmatch(value):
        return lot_id_of(products.pop(), value)
    raise Invalid("bad_lot_id", field=field, value=value[:64])
