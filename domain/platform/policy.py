"""Which facts of traceability the platform must be told, and in which fields.

Field names are those of the open interface of the national platform as published; those marked
there as required are always sent, empty where we do not know. People stay pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.platform.uploads import INJECTION, Kind, Upload, key_of, local, parts
from domain.shared.events import Event
from domain.traceability.events import (
    DoseAdministered,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    GoodsSampled,
    Quantity,
)

# What a fact is as a bill where nobody said: supply in and out, return, destruction, sampling.
_USUAL: dict[type[Event], str] = {
    GoodsReceived: "107",
    GoodsDispatched: "209",
    GoodsReturned: "202",
    GoodsDestroyed: "205",
    GoodsSampled: "206",
}
# "Other" among the platform's kinds of papers of a person: a pseudonym is none of the rest.
_PSEUDONYM = "9"
TOLD = (*(cls.TOPIC for cls in _USUAL), DoseAdministered.TOPIC)


@dataclass(slots=True)
class _Bill:
    """What differs between the kinds of bill."""

    fields: dict[str, Any] = field(default_factory=dict)
    parties: dict[str, str] = field(default_factory=dict)


def uploads_of(event: Event, occurred_at: datetime) -> list[Upload]:
    """Return the calls that tell of a fact; none for facts the platform does not ask for."""
    match event:
        case DoseAdministered():
            return [_injection(event, occurred_at)]
        case GoodsReceived():
            return [*_bills(event, _received(event), occurred_at), *_transport(event, occurred_at)]
        case GoodsDispatched() | GoodsReturned():
            return list(_bills(event, _sent(event), occurred_at))
        case GoodsDestroyed():
            return list(_bills(event, _destroyed(event), occurred_at))
        case GoodsSampled():
            return list(_bills(event, _sampled(event), occurred_at))
        case _:
            return []


def _bills(event: Any, bill: _Bill, at: datetime) -> Iterator[Upload]:
    bill_type = event.bill_type or _USUAL[type(event)]
    for number, codes in parts(event.codes):
        key = key_of(Kind.BILL, event.fact_id, event.site_id, str(number))
        code = f"{event.bill_no or 'none'}-{key[:12]}"
        fields = {
            "bill_code": code,
            "bill_type": bill_type,
            "bill_time": local(at),
            "from_bill_code": event.bill_no,
            "order_code": event.bill_no,
            "trace_codes": list(codes),
            "xt_is_check": "0",
            "qu_receivable": "",
            "from_person": "",
            "to_person": "",
            **bill.fields,
        }
        yield Upload(
            upload_id=key,
            kind=Kind.BILL,
            bill_type=bill_type,
            bill_code=code,
            fact_id=event.fact_id,
            site_id=event.site_id,
            occurred_at=at,
            fields=fields,
            parties={"owner": event.site_id, **bill.parties},
        )


def _due(quantities: tuple[Quantity, ...], codes: tuple[str, ...]) -> str:
    """Return how many packs there should have been: as said, else those scanned."""
    return str(sum(q.due for q in quantities) if quantities else len(codes))


def _received(event: GoodsReceived) -> _Bill:
    said = {
        "qu_receivable": _due(event.quantities, event.codes),
        "xt_is_check": "1",
        "xt_check_code": "1" if event.accepted else "2",
        "xt_check_code_desc": event.reason,
        "warehouse_id": event.unit_id,
        "distributor": event.distributor,
        "from_person": event.handed_over_by,
        "to_person": event.taken_over_by,
    }
    return _Bill(said, {"from": event.from_site_id, "to": event.site_id})


def _sent(event: GoodsDispatched | GoodsReturned) -> _Bill:
    said = {
        "qu_receivable": _due(event.quantities, event.codes),
        "distributor": event.distributor,
        "from_person": event.handed_over_by,
        "to_person": event.taken_over_by,
    }
    if isinstance(event, GoodsReturned):
        said |= {"return_reason": event.reason}
    return _Bill(said, {"from": event.site_id, "to": event.to_site_id})


def _destroyed(event: GoodsDestroyed) -> _Bill:
    said = {
        "destroy_reason": event.reason,
        "executer_id": event.executed_by,
        "superviser_id": event.supervised_by,
        "warehouse_id": event.unit_id,
    }
    return _Bill(said, {"from": event.site_id})


def _sampled(event: GoodsSampled) -> _Bill:
    said = {"from_person": event.executed_by, "warehouse_id": event.unit_id}
    return _Bill(said, {"from": event.site_id, "to": event.to_site_id})


def _transport(event: GoodsReceived, at: datetime) -> Iterator[Upload]:
    """Yield the temperatures of a transport, where the receipt tells any."""
    arrived = event.arrived_at or at
    moments = (
        ("departure", event.departed_at, event.departed_c),
        ("minimum", None, event.transport_c_min),
        ("maximum", None, event.transport_c_max),
        ("arrival", arrived, event.temperature_c),
    )
    content = [
        {"what": what, "time": local(moment), "temperature": value}
        for what, moment, value in moments
        if value is not None
    ]
    if not content:
        return
    key = key_of(Kind.TRANSPORT, event.fact_id, event.site_id)
    yield Upload(
        upload_id=key,
        kind=Kind.TRANSPORT,
        bill_code=f"{event.bill_no or 'none'}-{key[:12]}",
        fact_id=event.fact_id,
        site_id=event.site_id,
        occurred_at=at,
        fields={
            "bill_code": f"{event.bill_no or 'none'}-{key[:12]}",
            "from_bill_code": event.bill_no,
            "transport_company": event.carrier or event.distributor,
            "equi_code": event.device_id or event.vehicle_id,
            "equi_name": event.vehicle_id or event.device_id,
            "content": content,
        },
        parties={"owner": event.site_id},
    )


def _injection(event: DoseAdministered, at: datetime) -> Upload:
    key = key_of(Kind.INJECTION, event.fact_id, event.site_id)
    return Upload(
        upload_id=key,
        kind=Kind.INJECTION,
        bill_type=INJECTION,
        bill_code=key,
        fact_id=event.fact_id,
        site_id=event.site_id,
        occurred_at=at,
        fields={
            "bill_code": key,
            "bill_type": INJECTION,
            "bill_time": local(at),
            "trace_codes": list(event.codes),
            "person_id_type": _PSEUDONYM,
            "person_id": event.recipient,
            "doctor": event.vaccinator,
            "dose_no": "" if event.series_dose is None else str(event.series_dose),
        },
        parties={"owner": event.site_id},
    )
