"""Read model of custody: facts, stays in packs, the present of each code, and answers."""

from projections.traceability.answers import (
    CodeCustody,
    LotCustody,
    custody_of_code,
    custody_of_lot,
    earlier_lot,
    lot,
    lot_codes,
    lot_holds,
    lot_named,
    lots,
    products,
    steps_of_lot,
    stock,
)
from projections.traceability.follow import PROJECTION, apply
from projections.traceability.fresh import book_of, codes_at, exposures
from projections.traceability.quick import (
    chain_asking,
    chain_rows,
    custody_now,
    known_now,
    steps_now,
)
from projections.traceability.views import step_name, time_of

__all__ = [
    "PROJECTION",
    "CodeCustody",
    "LotCustody",
    "apply",
    "book_of",
    "chain_asking",
    "chain_rows",
    "codes_at",
    "custody_now",
    "custody_of_code",
    "custody_of_lot",
    "earlier_lot",
    "exposures",
    "known_now",
    "lot",
    "lot_codes",
    "lot_holds",
    "lot_named",
    "lots",
    "products",
    "step_name",
    "steps_now",
    "steps_of_lot",
    "stock",
    "time_of",
]
