"""Decode a scanner's message into the physical fact it tells.

`{"v":1,"boot":3,"seq":17,"ts":ms,"step":"receiving","codes":["8…"],…}`; the steps are those of CBV,
each with fields of its own (domain/traceability/scan.py). A fact is recorded whatever it says about
stock: only a message that cannot be read, that names people, whose codes belong to no registered
product, or that would bind a whole lot, is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from domain.shared.errors import Invalid
from domain.traceability.facts import FactEvent, binds_lot
from domain.traceability.scan import fact_from_scan, products_of
from ingest.refusals import Refused
from ingest.wire import Boot, Ms, Seq, check_clock, unpacked


class _Head(msgspec.Struct):
    """What every scan has; all other fields are the step's own."""

    seq: Seq
    ts: Ms
    step: str
    codes: list[str] = []
    boot: Boot = 0
    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Scan:
    """A decoded scan: the scanner's own numbers, when it happened, and the fact."""

    boot: int
    seq: int
    ts_ms: int
    event: FactEvent


def decode(scanner_id: str, site_id: str, payload: bytes, now_ms: int) -> Scan:
    """Return the fact told by a message of this scanner at this site, or raise Refused."""
    body = unpacked(payload)
    try:
        head, fields = _decode_head(body), _decode_any(body)
    except msgspec.ValidationError as error:
        raise Refused("bad_field", text=error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    check_clock(head.ts, now_ms)
    own = {name: value for name, value in fields.items() if name not in _Head.__struct_fields__}
    fact_id = f"{scanner_id}.{head.boot}.{head.seq}"
    try:
        fact = fact_from_scan(
            head.step, fact_id=fact_id, site_id=site_id, codes=head.codes, fields=own
        )
    except Invalid as error:
        raise _refusal(error) from error
    if binds_lot(fact):
        raise Refused("binds_lot")
    return Scan(head.boot, head.seq, head.ts, fact)


def check_products(scan: Scan, known: Collection[str]) -> None:
    """Raise Refused("unknown_code") for a code whose product is not among the known ones."""
    for product, code in products_of(scan.event).items():
        if product not in known:
            raise Refused("unknown_code", value=code, product=product)


def _refusal(error: Invalid) -> Refused:
    if error.code == "bad_code":
        return Refused("bad_code", value=error.facts["value"], text=error.facts["reason"])
    if error.code in {"not_a_pseudonym", "names_a_person", "parent_in_codes"}:
        return Refused(error.code, **error.facts)
    return Refused("bad_field", text=error)
