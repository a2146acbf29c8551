"""Decode a scanner's message into the physical fact it tells: one step, its codes, its particulars.

`{"v":1,"boot":3,"seq":17,"ts":ms,"step":"receiving","codes":["8…"],…}`; the steps are those of CBV,
each with fields of its own. A fact is recorded whatever it says about stock: only a message that
cannot be read, or whose codes belong to no registered product, is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Annotated

import msgspec

from domain.shared.errors import Invalid
from domain.shared.events import Event
from domain.shared.ids import NAME_PATTERN
from domain.traceability import events as facts
from domain.traceability.codes import parse
from ingest.refusals import Refused
from ingest.wire import Boot, Ms, Seq, check_clock, unpacked

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Text = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Celsius = Annotated[float, msgspec.Meta(ge=-200, le=200)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Codes = Annotated[list[str], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Scan:
    """A decoded scan. `products` are those of all its codes: product -> a code of it."""

    boot: int
    seq: int
    ts_ms: int
    event: Event
    products: dict[str, str]


def decode(scanner_id: str, site_id: str, payload: bytes, now_ms: int) -> Scan:
    """Return the fact told by a message of this scanner at this site, or raise Refused."""
    body = unpacked(payload)
    try:
        step = _decode(body)
    except msgspec.ValidationError as error:
        raise Refused("bad_field", text=error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    check_clock(step.ts, now_ms)
    products: dict[str, str] = {}
    for name in ("codes", "parent"):
        given = getattr(step, name, None)
        if given:
            setattr(step, name, _canonical(given, products))
    fact_id = f"{scanner_id}.{step.boot}.{step.seq}"
    return Scan(step.boot, step.seq, step.ts, step.fact(fact_id, site_id), products)


def check_products(scan: Scan, known: Collection[str]) -> None:
    """Raise Refused("unknown_code") for a code whose product is not among the known ones."""
    for product, code in scan.products.items():
        if product not in known:
            raise Refused("unknown_code", value=code, product=product)


def _canonical(given: str | list[str], products: dict[str, str]) -> str | list[str]:
    if isinstance(given, list):
        texts = [str(_canonical(code, products)) for code in given]
        return list(dict.fromkeys(texts))  # one pack seen twice in one scan is one pack
    try:
        code = parse(given)
    except Invalid as error:
        raise Refused("bad_code", value=given, text=error.facts.get("reason")) from error
    products.setdefault(code.product_id, code.text)
    return code.text


class _Step(msgspec.Struct, kw_only=True, tag_field="step"):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    boot: Boot = 0
    seq: Seq
    ts: Ms
    codes: Codes

    def fact(self, fact_id: str, site_id: str) -> Event:
        raise NotImplementedError


class _Commissioning(_Step, kw_only=True, tag="commissioning"):
    lot: Text
    level: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    expiry: date | None = None
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.CodesCommissioned(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            lot_id=self.lot,
            expires_on=self.expiry,
            level=self.level,
            codes=tuple(self.codes),
        )


class _Packing(_Step, kw_only=True, tag="packing"):
    parent: str
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.PacksAggregated(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            parent=self.parent,
            codes=tuple(self.codes),
        )


class _Unpacking(_Step, kw_only=True, tag="unpacking"):
    parent: str
    codes: list[str] = []  # none = all that the parent holds
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.PacksDisaggregated(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            parent=self.parent,
            codes=tuple(self.codes),
        )


class _Shipping(_Step, kw_only=True, tag="shipping"):
    to: Name
    bill: Text
    vehicle: Name | None = None
    device: Name | None = None
    temp: Celsius | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.GoodsDispatched(
            fact_id=fact_id,
            site_id=site_id,
            to_site_id=self.to,
            bill_no=self.bill,
            vehicle_id=self.vehicle or "",
            device_id=self.device or "",
            temperature_c=self.temp,
            codes=tuple(self.codes),
        )


class _Receiving(_Step, kw_only=True, tag="receiving"):
    bill: Text
    sender: Name | None = msgspec.field(name="from", default=None)
    unit: Name | None = None
    vehicle: Name | None = None
    device: Name | None = None
    temp: Celsius | None = None
    tmin: Celsius | None = None
    tmax: Celsius | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.GoodsReceived(
            fact_id=fact_id,
            site_id=site_id,
            from_site_id=self.sender or "",
            bill_no=self.bill,
            unit_id=self.unit or "",
            vehicle_id=self.vehicle or "",
            device_id=self.device or "",
            temperature_c=self.temp,
            transport_c_min=self.tmin,
            transport_c_max=self.tmax,
            codes=tuple(self.codes),
        )


class _Storing(_Step, kw_only=True, tag="storing"):
    unit: Name

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.PutAway(
            fact_id=fact_id, site_id=site_id, unit_id=self.unit, codes=tuple(self.codes)
        )


class _Opening(_Step, kw_only=True, tag="opening"):
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.VialOpened(
            fact_id=fact_id, site_id=site_id, unit_id=self.unit or "", codes=tuple(self.codes)
        )


class _Dispensing(_Step, kw_only=True, tag="dispensing"):
    unit: Name | None = None
    parent: str | None = None
    recipient: Text | None = None
    dose: Count | None = None
    vaccinator: Text | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.DoseAdministered(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            codes=tuple(self.codes),
            recipient=self.recipient or "",
            dose_number=self.dose,
            vaccinator=self.vaccinator or "",
            parent=self.parent or "",
        )


class _Wasting(_Step, kw_only=True, tag="wasting"):
    reason: Text
    doses: Count | None = None
    opened: bool = False
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.DosesWasted(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            codes=tuple(self.codes),
            doses=self.doses,
            opened=self.opened,
            reason=self.reason,
        )


class _Holding(_Step, kw_only=True, tag="holding"):
    reason: Text

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.HoldPlaced(
            fact_id=fact_id, site_id=site_id, codes=tuple(self.codes), reason=self.reason
        )


class _Releasing(_Step, kw_only=True, tag="releasing"):
    reason: Text

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.HoldReleased(
            fact_id=fact_id, site_id=site_id, codes=tuple(self.codes), reason=self.reason
        )


class _Returning(_Step, kw_only=True, tag="returning"):
    to: Name | None = None
    bill: Text | None = None
    reason: Text | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.GoodsReturned(
            fact_id=fact_id,
            site_id=site_id,
            to_site_id=self.to or "",
            bill_no=self.bill or "",
            reason=self.reason or "",
            codes=tuple(self.codes),
        )


class _Destroying(_Step, kw_only=True, tag="destroying"):
    executer: Text | None = None
    supervisor: Text | None = None
    reason: Text | None = None
    unit: Name | None = None

    def fact(self, fact_id: str, site_id: str) -> Event:
        return facts.GoodsDestroyed(
            fact_id=fact_id,
            site_id=site_id,
            unit_id=self.unit or "",
            executed_by=self.executer or "",
            supervised_by=self.supervisor or "",
            reason=self.reason or "",
            codes=tuple(self.codes),
        )


_decode = msgspec.json.Decoder(
    _Commissioning
    | _Packing
    | _Unpacking
    | _Shipping
    | _Receiving
    | _Storing
    | _Opening
    | _Dispensing
    | _Wasting
    | _Holding
    | _Releasing
    | _Returning
    | _Destroying
).decode
