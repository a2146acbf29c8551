"""Products, lots and scans: what may be registered, and which fact a scan states.

What happened physically is never refused for being wrong (an expired, recalled or unknown code):
it is recorded and flagged by the read models. Refused is only what cannot be read as a fact.

Codes of refusals: bad_code, bad_product, bad_lot, bad_text, unknown_step, unknown_field,
missing_field, bad_field, reserved_fact_id (Invalid); already_registered, already_withdrawn
(Conflict).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from domain.shared.decide import register
from domain.shared.errors import Conflict, Invalid
from domain.shared.events import Event
from domain.shared.ids import checked_name, stream_id
from domain.shared.text import checked_text
from domain.traceability.codes import valid_gtin
from domain.traceability.events import (
    FactWithdrawn,
    LotReleased,
    ProductRegistered,
)
from domain.traceability.facts import FactEvent
from domain.traceability.lots import lot_id_of
from domain.traceability.pseudonyms import checked_note, names_person

# Doses; the largest vials in use hold 20, beyond it is a typo.
DOSES_PER_VIAL_MAX = 100
# Packs in the next larger pack.
PACK_SIZE_MAX = 1000
# °C: from ultra-cold storage to what no vaccine is kept above.
STORAGE_C_MIN, STORAGE_C_MAX = -90.0, 40.0
# Minutes an opened vial may be used: 28 days, the longest any policy allows (WHO multi-dose).
OPENED_LIMIT_MIN_MAX = 28 * 24 * 60

# The id of a fact that a scanner told by MQTT: its name, boot count and sequence number.
SCANNER_FACT = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,7})\.([0-9]{1,13})")

Product = ProductRegistered
Lot = LotReleased


@dataclass(frozen=True, slots=True)
class Scan:
    """What one stream of a fact holds: the fact, and what was declared about this id."""

    fact: FactEvent | None = None
    declared: tuple[FactWithdrawn, ...] = ()

    def withdrawn(self, site_id: str) -> FactWithdrawn | None:
        """Return the first declaration that holds for a fact of this id at a site."""
        return next((found for found in self.declared if found.of_site == site_id), None)


def product_stream(product_id: str) -> UUID:
    """Return the stream of a product."""
    return stream_id("traceability.product", product_id)


def lot_stream(lot_id: str) -> UUID:
    """Return the stream of a lot."""
    return stream_id("traceability.lot", lot_id)


def scan_stream(fact_id: str) -> UUID:
    """Return the stream of one fact given by a person or a document, and of its withdrawals."""
    return stream_id("traceability.scan", fact_id)


def capture_stream(sha256: str) -> UUID:
    """Return the stream of one document as received."""
    return stream_id("traceability.capture", sha256)


def checked_fact_id(fact_id: str) -> str:
    """Return an id that a caller chose; Invalid("reserved_fact_id") for one of a scanner's form.

    A scanner's facts are named by its own numbers: nobody else may take those names. Nor is a fact
    named by a person's number: Invalid("names_a_person").
    """
    if names_person(fact_id):
        raise Invalid("names_a_person", field="fact_id")
    if SCANNER_FACT.fullmatch(fact_id):
        raise Invalid("reserved_fact_id", field="fact_id", value=fact_id)
    return fact_id


def evolve_product(_state: Product | None, event: ProductRegistered) -> Product | None:
    """Return the product after `event`."""
    return event


def evolve_lot(_state: Lot | None, event: LotReleased) -> Lot | None:
    """Return the lot after `event`."""
    return event


def evolve_scan(state: Scan, event: FactEvent | FactWithdrawn) -> Scan:
    """Return the fact after `event`."""
    if isinstance(event, FactWithdrawn):
        return Scan(state.fact, (*state.declared, event))
    return Scan(event, state.declared)


def register_product(
    state: Product | None,
    *,
    product_id: str,
    name: str,
    holder: str,
    doses_per_vial: int,
    temperature_c_min: float,
    temperature_c_max: float,
    freeze_sensitive: bool,
    name_en: str = "",
    specification: str = "",
    opened_limit_min: int | None = None,
    middle_pack_size: int = 10,
    case_size: int = 10,
    trade_name: str = "",
    form: str = "",
    approval_no: str = "",
    producer: str = "",
    programme: bool | None = None,
) -> list[Event]:
    """Register a product under the 7-digit product part of its codes, or its GTIN-14."""
    if not ((product_id.isascii() and product_id.isdigit()) and _product_id(product_id)):
        raise Invalid("bad_product", field="product_id", value=product_id)
    _bounded(doses_per_vial, 1, DOSES_PER_VIAL_MAX, "doses_per_vial")
    _bounded(middle_pack_size, 1, PACK_SIZE_MAX, "middle_pack_size")
    _bounded(case_size, 1, PACK_SIZE_MAX, "case_size")
    _bounded(temperature_c_min, STORAGE_C_MIN, STORAGE_C_MAX, "temperature_c_min")
    _bounded(temperature_c_max, temperature_c_min, STORAGE_C_MAX, "temperature_c_max")
    if opened_limit_min is not None:
        _bounded(opened_limit_min, 1, OPENED_LIMIT_MIN_MAX, "opened_limit_min")
    return register(
        state,
        ProductRegistered(
            product_id=product_id,
            name=checked_text(name, "name"),
            name_en=checked_text(name_en, "name_en", required=False),
            specification=checked_text(specification, "specification", required=False),
            holder=checked_text(holder, "holder"),
            doses_per_vial=doses_per_vial,
            temperature_c_min=temperature_c_min,
            temperature_c_max=temperature_c_max,
            freeze_sensitive=freeze_sensitive,
            opened_limit_min=opened_limit_min,
            middle_pack_size=middle_pack_size,
            case_size=case_size,
            trade_name=checked_text(trade_name, "trade_name", required=False),
            form=checked_text(form, "form", required=False),
            approval_no=checked_text(approval_no, "approval_no", required=False),
            producer=checked_text(producer, "producer", required=False),
            programme=programme,
        ),
    )


def release_lot(
    state: Lot | None,
    *,
    product: Product | None,
    product_id: str,
    lot_number: str,
    expires_on: date,
    produced_on: date | None = None,
    lot_release_no: str = "",
    quantity: int | None = None,
) -> list[Event]:
    """Release a lot of a registered `product` (None = there is none of this id)."""
    if product is None:
        raise Invalid("unknown_product", field="product_id", value=product_id)
    if produced_on is not None and produced_on >= expires_on:
        raise Invalid("bad_lot", field="expires_on", value=expires_on.isoformat())
    if quantity is not None:
        _bounded(quantity, 1, 10**9, "quantity")
    number = checked_text(lot_number, "lot_number", length_max=20)
    return register(
        state,
        LotReleased(
            lot_id=lot_id_of(product_id, number),
            product_id=product_id,
            lot_number=number,
            produced_on=produced_on,
            expires_on=expires_on,
            lot_release_no=checked_text(lot_release_no, "lot_release_no", required=False),
            quantity=quantity,
        ),
    )


def record(state: Scan, *, fact: FactEvent) -> list[Event]:
    """Record what happened; the same again is a no-op, another fact under the id a Conflict."""
    return list(register(state.fact, fact))


def withdraw(
    state: Scan,
    *,
    fact_id: str,
    site_id: str,
    reason: str,
    declared_at: datetime,
    corrective_fact_ids: Sequence[str] = (),
    fact_site_id: str = "",
) -> list[Event]:
    """Declare the fact of this id at `fact_site_id` (empty = at `site_id`) wrong."""
    wanted = FactWithdrawn(
        fact_id=fact_id,
        site_id=checked_name(site_id, "site_id"),
        reason=checked_note(reason, "reason", required=True),
        declared_at=declared_at,
        corrective_fact_ids=tuple(corrective_fact_ids),
        fact_site_id=fact_site_id,
    )
    known = state.withdrawn(wanted.of_site)
    if known == wanted:
        return []
    if known is not None:
        raise Conflict("already_withdrawn", fact_id=fact_id)
    return [wanted]


def _product_id(value: str) -> bool:
    return (len(value) == 7 and value[0] == "8") or valid_gtin(value)


def _bounded(value: float, low: float, high: float, field: str) -> None:
    if not low <= value <= high:
        raise Invalid("bad_field", field=field, min=low, max=high)
