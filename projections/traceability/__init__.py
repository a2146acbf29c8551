"""Read model of custody: facts, stays in packs, the present of each code, and answers."""

from projections.traceability.answers import (
    CodeCustody,
    LotCustody,
    custody_of_code,
    custody_of_lot,
    lot,
    lot_codes,
    lot_holds,
    lot_named,
    lots,
    products,
    stock,
)
from projections.traceability.follow import PROJECTION, apply

__all__ = [
    "PROJECTION",
    "CodeCustody",
    "LotCustody",
    "apply",
    "custody_of_code",
    "custody_of_lot",
    "lot",
    "lot_codes",
    "lot_holds",
    "lot_named",
    "lots",
    "products",
    "stock",
]
