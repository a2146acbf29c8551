"""Read an EPCIS 2.0 document into facts: dict in, events with their times and ids out.

CBV words are taken bare, as URN and as URL. Codes and places written as a web address of the
owner (`https://…/code/<20 digits>`, `…/org/<id>`) are reduced to their last part. A fact is not
judged here: what is wrong with it shows in the read models. Refused is what cannot be read:
Invalid epcis_not_a_document, epcis_unsupported_step, epcis_missing_field, epcis_bad_time, bad_code,
bad_lot_id, not_a_pseudonym, parent_in_codes; of a document with `event_index` (from 0) and
`event_id`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from domain.shared.errors import Invalid
from domain.traceability.codes import canonical, gtin_check_digit, product_of
from domain.traceability.events import (
    CodesCommissioned,
    DoseAdministered,
    DosesWasted,
    FactWithdrawn,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    HoldPlaced,
    HoldReleased,
    PacksAggregated,
    PacksDisaggregated,
    PutAway,
    VialOpened,
)
from domain.traceability.facts import LEVEL_MAX, FactEvent
from domain.traceability.lots import completed
from domain.traceability.pseudonyms import checked_pseudonym

Json = Mapping[str, Any]

_SGTIN = re.compile(r"urn:epc:id:sgtin:([0-9]+)\.([0-9])([0-9]*)\.(.+)")
_LGTIN = re.compile(r"urn:epc:class:lgtin:([0-9]+)\.([0-9])([0-9]*)\.(.+)")
_LINK_LOT = re.compile(r"/01/([0-9]{8,14})/10/([^/?]+)")
_SGLN = re.compile(r"urn:epc:id:sgln:([0-9]+)\.([0-9]*)\.(.+)")
_TRANSFERS = frozenset({"possessing_party", "owning_party", "location"})


class Captured(NamedTuple):
    """One event read out of a document; a declared error is a FactWithdrawn at its declaration."""

    event: FactEvent | FactWithdrawn
    occurred_at: datetime
    fact_id: str
    event_index: int = 0  # its place in the document, from 0


def read_document(document: Json) -> list[Captured]:
    """Return what an EPCISDocument states, in its order."""
    body = document.get("epcisBody")
    events = body.get("eventList") if isinstance(body, Mapping) else None
    if document.get("type") != "EPCISDocument" or not isinstance(events, list):
        raise Invalid("epcis_not_a_document")
    return [
        captured._replace(event_index=index)
        for index, event in enumerate(events)
        for captured in _located(index, event)
    ]


def _located(index: int, event: object) -> list[Captured]:
    """Read one event; a refusal names its place in the document and its id."""
    try:
        return read_event(_object(event, "eventList"))
    except Invalid as error:
        event_id = _plain(event.get("eventID")) if isinstance(event, Mapping) else ""
        raise Invalid(error.code, **error.facts, event_index=index, event_id=event_id) from error


def read_event(event: Json) -> list[Captured]:
    """Return the facts of one EPCIS event: one, unless it speaks of several products or lots."""
    event_id = _plain(event.get("eventID")) or _content_id(event)
    step = _step(event)
    facts = list(_READERS[step](_Particulars(event, event_id)))
    if not facts:
        raise Invalid("epcis_missing_field", field="epcList")
    declared = event.get("errorDeclaration")
    if declared is None:
        occurred_at = _time(event, "eventTime")
        return [Captured(fact, occurred_at, fact.fact_id) for fact in facts]
    return [_withdrawn(fact, _object(declared, "errorDeclaration")) for fact in facts]


def word(value: object) -> str:
    """Return the bare word of a CBV term: `shipping` of `urn:…:bizstep:shipping` or of its URL."""
    last = re.split(r"[:/#]", str(value or ""))[-1]
    return re.sub(r"^[A-Za-z]+-", "", last)


class _Particulars:
    """An EPCIS event, asked in our terms."""

    def __init__(self, event: Json, fact_id: str) -> None:
        self.event = event
        self.fact_id = fact_id
        self.site_id = _last(event.get("readPoint")) or _last(event.get("bizLocation"))
        self.codes = _codes(event, "epcList")
        self.disposition = word(event.get("disposition"))

    def own(self, name: str, default: Any = "") -> Any:
        """Return an extension of the event by its name without prefix."""
        return _extension(self.event, name, default)

    def text(self, name: str) -> str:
        return _plain(self.own(name))

    def person(self, name: str) -> str:
        return checked_pseudonym(self.text(name), name)

    def number(self, name: str, highest: int = 2**31 - 1) -> int | None:
        value = self.own(name, None)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if 0 <= value <= highest else None

    def party(self, field: str, key: str) -> str:
        """Return the first source or destination that says who or where."""
        for item in _objects(self.event, field):
            if word(item.get("type")) in _TRANSFERS:
                return _last(item.get(key))
        return ""

    def bill(self) -> str:
        found = [_last(t.get("bizTransaction")) for t in _objects(self.event, "bizTransactionList")]
        return found[0] if found else ""

    def transport(self) -> dict[str, Any]:
        """Return device and temperatures: of the first sensor element that has a temperature."""
        for element in _objects(self.event, "sensorElementList"):
            for report in _objects(element, "sensorReport"):
                if word(report.get("type")) == "Temperature":
                    return _temperatures(report, element)
        return {}

    def where(self) -> dict[str, Any]:
        return {"fact_id": self.fact_id, "site_id": self.site_id}

    def lots(self) -> list[str]:
        found = [_lot(_plain(q.get("epcClass"))) for q in _objects(self.event, "quantityList")]
        return [lot for lot in found if lot]


def _commissioning(p: _Particulars) -> Iterator[FactEvent]:
    master = _object(p.event.get("ilmd", {}), "ilmd")
    lot = _plain(_extension(master, "lotNumber", ""))
    expiry = _extension(master, "itemExpirationDate", None)
    by_product: dict[str, list[str]] = {}
    for code in p.codes:
        by_product.setdefault(product_of(code), []).append(code)
    for n, codes in enumerate(by_product.values()):
        yield CodesCommissioned(
            fact_id=_part(p.fact_id, n),
            site_id=p.site_id,
            lot_id=completed(lot, codes[:1], "lotNumber") if lot else "",
            expires_on=_date(expiry),
            level=p.number("level", LEVEL_MAX) or None,
            codes=tuple(codes),
        )


def _packing(p: _Particulars) -> Iterator[FactEvent]:
    children = _codes(p.event, "childEPCs")
    yield PacksAggregated(**p.where(), parent=_parent(p.event, children), codes=children)


def _unpacking(p: _Particulars) -> Iterator[FactEvent]:
    children = _codes(p.event, "childEPCs")
    yield PacksDisaggregated(**p.where(), parent=_parent(p.event, children), codes=children)


def _shipping(p: _Particulars) -> Iterator[FactEvent]:
    to_site_id = p.party("destinationList", "destination")
    if p.disposition == "returned" or word(p.event.get("bizStep")) == "returning":
        yield GoodsReturned(
            **p.where(),
            to_site_id=to_site_id,
            bill_no=p.bill(),
            reason=p.text("reason"),
            codes=p.codes,
        )
        return
    sensed = p.transport()
    yield GoodsDispatched(
        **p.where(),
        to_site_id=to_site_id,
        bill_no=p.bill(),
        vehicle_id=_last(p.own("vehicle")),
        device_id=sensed.get("device_id", ""),
        temperature_c=sensed.get("temperature_c"),
        codes=p.codes,
    )


def _receiving(p: _Particulars) -> Iterator[FactEvent]:
    yield GoodsReceived(
        **p.where(),
        from_site_id=p.party("sourceList", "source"),
        bill_no=p.bill(),
        unit_id=_last(p.own("unit")),
        vehicle_id=_last(p.own("vehicle")),
        accepted=p.disposition != "non_conformant",
        reason=p.text("reason"),
        codes=p.codes,
        **p.transport(),
    )


def _storing(p: _Particulars) -> Iterator[FactEvent]:
    unit = _last(p.own("unit")) or _last(p.event.get("bizLocation")) or p.site_id
    yield PutAway(**p.where(), unit_id=unit, codes=p.codes)


def _opening(p: _Particulars) -> Iterator[FactEvent]:
    yield VialOpened(**p.where(), unit_id=_last(p.own("unit")), codes=p.codes)


def _dispensing(p: _Particulars) -> Iterator[FactEvent]:
    yield DoseAdministered(
        **p.where(),
        unit_id=_last(p.own("unit")),
        recipient=p.person("recipient"),
        dose_number=p.number("doseNumber"),
        vaccinator=p.person("vaccinator"),
        body_site=p.text("site"),
        route=p.text("route"),
        codes=p.codes,
    )


def _destroying(p: _Particulars) -> Iterator[FactEvent]:
    doses, reason = p.number("dosesDiscarded"), p.text("reason")
    if doses is not None:
        yield DosesWasted(
            **p.where(),
            doses=doses,
            opened=bool(p.own("opened", False)),
            reason=reason,
            codes=p.codes,
        )
        return
    yield GoodsDestroyed(
        **p.where(),
        executed_by=p.person("executer"),
        supervised_by=p.person("supervisor"),
        reason=reason,
        codes=p.codes,
    )


def _holding(p: _Particulars) -> Iterator[FactEvent]:
    recall, reason = p.disposition == "recalled", p.text("reason")
    for n, (lot_id, codes) in enumerate(_scopes(p)):
        yield HoldPlaced(
            fact_id=_part(p.fact_id, n),
            site_id=p.site_id,
            codes=codes,
            lot_id=lot_id,
            recall=recall,
            reason=reason,
        )


def _releasing(p: _Particulars) -> Iterator[FactEvent]:
    recall = "recalled" in _unset(p.event)
    for n, (lot_id, codes) in enumerate(_scopes(p)):
        yield HoldReleased(
            fact_id=_part(p.fact_id, n),
            site_id=p.site_id,
            codes=codes,
            lot_id=lot_id,
            recall=recall,
            reason=p.text("reason"),
        )


_READERS: dict[str, Callable[[_Particulars], Iterator[FactEvent]]] = {
    "commissioning": _commissioning,
    "packing": _packing,
    "unpacking": _unpacking,
    "shipping": _shipping,
    "returning": _shipping,
    "receiving": _receiving,
    "accepting": _receiving,
    "storing": _storing,
    "opening": _opening,
    "dispensing": _dispensing,
    "destroying": _destroying,
    "holding": _holding,
    "releasing": _releasing,
}


def _step(event: Json) -> str:
    step = word(event.get("bizStep"))
    if word(event.get("disposition")) == "container_open":
        return "opening"
    if step == "inspecting" and _unset(event):
        return "releasing"  # a quality decision that takes the mark off again
    kind = "AggregationEvent" if step in {"packing", "unpacking"} else "ObjectEvent"
    if step not in _READERS or event.get("type") != kind:
        supported = ", ".join(sorted(_READERS))
        kind = str(event.get("type"))
        raise Invalid("epcis_unsupported_step", type=kind, step=step, supported=supported)
    return step


def _unset(event: Json) -> list[str]:
    """Return the lasting marks that an event takes off."""
    marks = _object(event.get("persistentDisposition", {}), "persistentDisposition")
    return [word(mark) for mark in _list(marks, "unset")]


def _scopes(p: _Particulars) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a hold binds: the codes, and each lot, as facts of their own."""
    scopes: list[tuple[str, tuple[str, ...]]] = [(lot, ()) for lot in p.lots()]
    return [("", p.codes), *scopes] if p.codes else scopes


def _part(fact_id: str, n: int) -> str:
    return f"{fact_id}#{n + 1}" if n else fact_id


def _withdrawn(fact: FactEvent, declared: Json) -> Captured:
    declared_at = _time(declared, "declarationTime")
    corrective = _list(declared, "correctiveEventIDs")
    event = FactWithdrawn(
        fact_id=fact.fact_id,
        site_id=fact.site_id,
        reason=word(declared.get("reason")),
        declared_at=declared_at,
        corrective_fact_ids=tuple(map(_plain, corrective)),
    )
    return Captured(event, declared_at, fact.fact_id)


def _content_id(event: Json) -> str:
    """Name an event without an id by its content, so that the same again is the same."""
    text = json.dumps(event, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _time(found: Json, field: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(found.get(field, "")))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid("epcis_bad_time", field=field) from error
    raise Invalid("epcis_bad_time", field=field)


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None  # what was printed stays in the document


def _object(value: object, field: str) -> Json:
    if not isinstance(value, Mapping):
        raise Invalid("epcis_missing_field", field=field)
    return value


def _objects(found: Json, field: str) -> list[Json]:
    return [_object(item, field) for item in _list(found, field)]


def _list(found: Json, field: str) -> Sequence[Any]:
    items = found.get(field, [])
    if not isinstance(items, list):
        raise Invalid("epcis_missing_field", field=field)
    return items


def _parent(event: Json, children: Sequence[str]) -> str:
    if not event.get("parentID"):
        raise Invalid("epcis_missing_field", field="parentID")
    parent = _code(str(event["parentID"]))
    if parent in children:
        raise Invalid("parent_in_codes", field="parentID", value=parent)
    return parent


def _codes(event: Json, field: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_code(str(epc)) for epc in _list(event, field)))


def _code(epc: str) -> str:
    sgtin = _SGTIN.fullmatch(epc)
    return f"(01){_gtin(sgtin)}(21){sgtin[4]}" if sgtin else canonical(epc)


def _gtin(urn: re.Match[str]) -> str:
    digits = urn[2] + urn[1] + urn[3]
    return digits + gtin_check_digit(digits)


def _lot(epc_class: str) -> str:
    """Return the lot id of a class: ours (…/lot/<product>/<lot>), a digital link, or a URN."""
    parts = epc_class.split("/")
    if lgtin := _LGTIN.fullmatch(epc_class):
        lot_id = f"{_gtin(lgtin)}.{lgtin[4]}"
    elif link := _LINK_LOT.search(epc_class):
        lot_id = f"{link[1].zfill(14)}.{link[2]}"
    elif len(parts) > 2 and parts[-3] == "lot":
        lot_id = f"{parts[-2]}.{parts[-1]}"
    else:
        return ""
    return completed(lot_id, (), "epcClass")


def _last(value: object) -> str:
    """Return the last part of an address or a URN, or of the `id` of an object.

    A GS1 place (SGLN) is given as its GLN of 13 digits.
    """
    found = _plain(value.get("id", "") if isinstance(value, Mapping) else value)
    if sgln := _SGLN.fullmatch(found):
        digits = sgln[1] + sgln[2]
        return digits + gtin_check_digit(digits)
    return re.split(r"[/#:]" if found.startswith("urn:") else r"[/#]", found.rstrip("/"))[-1]


def _plain(value: object) -> str:
    """Return a text without what no table can keep: NUL and lone surrogates."""
    text = "" if value is None else str(value)
    return "".join(c for c in text if c != "\0" and not "\ud800" <= c <= "\udfff")


def _extension(found: Json, name: str, default: Any) -> Any:
    for key, value in found.items():
        if re.split(r"[:/#]", key)[-1] == name:
            return value
    return default


def _temperatures(report: Json, element: Json) -> dict[str, Any]:
    metadata = _object(element.get("sensorMetadata", {}), "sensorMetadata")
    device = report.get("deviceID") or metadata.get("deviceID")
    names = {
        "temperature_c": "value",
        "transport_c_min": "minValue",
        "transport_c_max": "maxValue",
    }
    found = {ours: _celsius(report, theirs) for ours, theirs in names.items()}
    return {"device_id": _last(device), **found}


def _celsius(report: Json, field: str) -> float | None:
    value = report.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    match report.get("uom"):
        case "FAH":
            return round((value - 32) / 1.8, 3)
        case "KEL":
            return round(value - 273.15, 3)
        case _:
            return float(value)
