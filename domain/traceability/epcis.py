"""Read an EPCIS 2.0 event into facts: dict in, events with their times and ids out.

CBV words are taken bare, as URN and as URL. Codes and places written as a web address of the
owner (`https://…/code/<20 digits>`, `…/org/<id>`) are reduced to their last part. A fact is not
judged here: what is wrong with it shows in the read models. Refused is what cannot be read:
Invalid epcis_unsupported_step (it says nothing of custody), epcis_missing_field, epcis_bad_time,
bad_code, bad_lot_id, bad_name, bad_text, not_a_pseudonym, names_a_person, parent_in_codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from domain.shared.errors import Invalid
from domain.traceability.codes import product_of
from domain.traceability.epcis_fields import (
    Json,
    as_list,
    as_object,
    codes_of,
    day,
    extension,
    last_part,
    lot_of,
    objects,
    parent_of,
    plain,
    temperatures,
    time,
    word,
)
from domain.traceability.events import (
    CodesCommissioned,
    CodesFound,
    CodesMissing,
    DoseAdministered,
    DosesWasted,
    FactWithdrawn,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    GoodsSampled,
    HoldPlaced,
    HoldReleased,
    PacksAggregated,
    PacksDisaggregated,
    PutAway,
    StockCounted,
    VialOpened,
)
from domain.traceability.facts import LEVEL_MAX, FactEvent
from domain.traceability.lots import completed
from domain.traceability.pseudonyms import checked_pseudonym, names_person
from domain.traceability.scan import particulars

_TRANSFERS = frozenset({"possessing_party", "owning_party", "location"})
# Extensions that name people: pseudonyms, in whatever event they stand.
_PEOPLE = ("recipient", "vaccinator", "executer", "supervisor", "handed_by", "taken_by")
# Extensions that hold numbers of things and papers, as long as a person's.
_NUMBERS = frozenset({"lotNumber", "bill", "notice", "decision", "countryOfOrigin"})
# Extensions that say more of a fact, under the names they have in a scan.
_MORE = frozenset(
    {
        *("bill_type", "departed", "departed_temp", "arrived", "ambient", "carrier", "distributor"),
        *("handed_by", "taken_by", "quantities", "complete", "shelf", "series_dose", "manual"),
        *("series_doses", "dose_ml", "funding", "cause", "recall_class", "issuer", "notice"),
        *("decision",),
    }
)
_LOST = frozenset({"unknown", "stolen"})
# What JSON holds that holds nothing itself.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class Captured(NamedTuple):
    """One fact read out of an event; a declared error is a FactWithdrawn at its declaration."""

    event: FactEvent | FactWithdrawn
    occurred_at: datetime
    fact_id: str


def read_event(event: Json) -> list[Captured]:
    """Return the facts of one EPCIS event: one, unless it speaks of several products or lots."""
    event_id = plain(event.get("eventID"))
    facts = [
        _with_more(fact, event) for fact in _READERS[_step(event)](_Particulars(event, event_id))
    ]
    if not facts:
        raise Invalid("epcis_missing_field", field="epcList")
    declared = event.get("errorDeclaration")
    if declared is None:
        occurred_at = time(event, "eventTime")
        return [Captured(fact, occurred_at, fact.fact_id) for fact in facts]
    return [_withdrawn(fact, as_object(declared, "errorDeclaration")) for fact in facts]


def site_of(event: Json) -> str:
    """Return the site where an event happened, empty when it names none."""
    return last_part(event.get("readPoint")) or last_part(event.get("bizLocation"))


def time_of(event: Json) -> datetime:
    """Return when an event happened, or was declared wrong."""
    declared = event.get("errorDeclaration")
    if declared is None:
        return time(event, "eventTime")
    return time(as_object(declared, "errorDeclaration"), "declarationTime")


def check_people(event: Json) -> None:
    """Refuse an event that names people otherwise than by pseudonyms: Invalid.

    Its id and what others put into it, at any depth, hold nobody's mobile or identity number.
    """
    for key, value in event.items():
        _, colon, name = key.rpartition(":")
        if colon and name in _PEOPLE:
            checked_pseudonym(plain(value), name)
    if names_person(plain(event.get("eventID"))):
        raise Invalid("names_a_person", field="eventID")
    for name, text in _extended(event):
        if names_person(text):
            raise Invalid("names_a_person", field=name)


def _extended(event: Json) -> Iterator[tuple[str, str]]:
    """Yield the plain values of all extensions as texts, each with the name it stands under."""
    waiting: list[tuple[str, object]] = [("", event)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, list):
            # What stands under no extension, most of an event, says nothing by itself.
            waiting += [(name, item) for item in value if name or type(item) not in _PLAIN]
        elif isinstance(value, dict):
            for key, below in value.items():
                local = key.rpartition(":")[2] if ":" in key else name
                said = local or type(below) not in _PLAIN
                if said and local not in _NUMBERS and key != "@context":
                    waiting.append((local, below))
        else:
            yield name, f"{value:.0f}" if isinstance(value, float) else str(value)


def _with_more(fact: FactEvent, event: Json) -> FactEvent:
    given = {key.rpartition(":")[2]: value for key, value in event.items() if ":" in key}
    more = particulars(type(fact), {name: given[name] for name in _MORE & given.keys()})
    return replace(fact, **more) if more else fact


class _Particulars:
    """An EPCIS event, asked in our terms."""

    def __init__(self, event: Json, fact_id: str) -> None:
        self.event = event
        self.fact_id = fact_id
        self.site_id = site_of(event)
        self.codes = codes_of(event, "epcList")
        self.disposition = word(event.get("disposition"))

    def own(self, name: str, default: Any = "") -> Any:
        """Return an extension of the event by its name without prefix."""
        return extension(self.event, name, default)

    def text(self, name: str) -> str:
        return plain(self.own(name))

    def person(self, name: str) -> str:
        return checked_pseudonym(self.text(name), name)

    def number(self, name: str, highest: int = 2**31 - 1) -> int | None:
        value = self.own(name, None)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if 0 <= value <= highest else None

    def party(self, field: str, key: str) -> str:
        """Return the first source or destination that says who or where."""
        for item in objects(self.event, field):
            if word(item.get("type")) in _TRANSFERS:
                return last_part(item.get(key))
        return ""

    def bill(self) -> str:
        found = [
            last_part(t.get("bizTransaction")) for t in objects(self.event, "bizTransactionList")
        ]
        return found[0] if found else ""

    def transport(self) -> dict[str, Any]:
        """Return device and temperatures: of the first sensor element that has a temperature."""
        for element in objects(self.event, "sensorElementList"):
            for report in objects(element, "sensorReport"):
                if word(report.get("type")) == "Temperature":
                    return temperatures(report, element)
        return {}

    def where(self) -> dict[str, Any]:
        return {"fact_id": self.fact_id, "site_id": self.site_id}

    def lots(self) -> list[str]:
        found = [lot_of(plain(q.get("epcClass"))) for q in objects(self.event, "quantityList")]
        return [lot for lot in found if lot]


def _commissioning(p: _Particulars) -> Iterator[FactEvent]:
    master = as_object(p.event.get("ilmd", {}), "ilmd")
    lot = plain(extension(master, "lotNumber", ""))
    expiry = extension(master, "itemExpirationDate", None)
    by_product: dict[str, list[str]] = {}
    for code in p.codes:
        by_product.setdefault(product_of(code), []).append(code)
    for n, codes in enumerate(by_product.values()):
        yield CodesCommissioned(
            fact_id=_part(p.fact_id, n),
            site_id=p.site_id,
            lot_id=completed(lot, codes[:1], "lotNumber") if lot else "",
            expires_on=day(expiry),
            level=p.number("level", LEVEL_MAX) or None,
            codes=tuple(codes),
        )


def _packing(p: _Particulars) -> Iterator[FactEvent]:
    children = codes_of(p.event, "childEPCs")
    yield PacksAggregated(**p.where(), parent=parent_of(p.event, children), codes=children)


def _unpacking(p: _Particulars) -> Iterator[FactEvent]:
    children = codes_of(p.event, "childEPCs")
    yield PacksDisaggregated(**p.where(), parent=parent_of(p.event, children), codes=children)


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
        vehicle_id=last_part(p.own("vehicle")),
        device_id=sensed.get("device_id", ""),
        temperature_c=sensed.get("temperature_c"),
        codes=p.codes,
    )


def _receiving(p: _Particulars) -> Iterator[FactEvent]:
    yield GoodsReceived(
        **p.where(),
        from_site_id=p.party("sourceList", "source"),
        bill_no=p.bill(),
        unit_id=last_part(p.own("unit")),
        vehicle_id=last_part(p.own("vehicle")),
        accepted=p.disposition != "non_conformant",
        reason=p.text("reason"),
        codes=p.codes,
        **p.transport(),
    )


def _storing(p: _Particulars) -> Iterator[FactEvent]:
    unit = last_part(p.own("unit")) or last_part(p.event.get("bizLocation")) or p.site_id
    yield PutAway(**p.where(), unit_id=unit, codes=p.codes)


def _opening(p: _Particulars) -> Iterator[FactEvent]:
    yield VialOpened(**p.where(), unit_id=last_part(p.own("unit")), codes=p.codes)


def _dispensing(p: _Particulars) -> Iterator[FactEvent]:
    yield DoseAdministered(
        **p.where(),
        unit_id=last_part(p.own("unit")),
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


def _sampling(p: _Particulars) -> Iterator[FactEvent]:
    yield GoodsSampled(
        **p.where(),
        to_site_id=p.party("destinationList", "destination"),
        bill_no=p.bill(),
        executed_by=p.person("executer"),
        supervised_by=p.person("supervisor"),
        codes=p.codes,
    )


def _counting(p: _Particulars) -> Iterator[FactEvent]:
    """Read a count, or that packs are missing or found again."""
    where: dict[str, Any] = {**p.where(), "reason": p.text("reason"), "codes": p.codes}
    unit_id = last_part(p.own("unit"))
    if p.disposition in _LOST:
        stolen = p.disposition == "stolen"
        yield CodesMissing(**where, unit_id=unit_id, bill_no=p.bill(), stolen=stolen)
    elif _LOST & set(_unset(p.event)):
        yield CodesFound(**where, unit_id=unit_id)
    else:
        signed: dict[str, Any] = {
            "executed_by": p.person("executer"),
            "supervised_by": p.person("supervisor"),
        }
        for n, (lot_id, codes) in enumerate(_scopes(p) or [("", ())]):
            told = {**where, "fact_id": _part(p.fact_id, n), "codes": codes, "lot_id": lot_id}
            yield StockCounted(**told, **signed, unit_id=unit_id)


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
    "sampling": _sampling,
    "cycle_counting": _counting,
    "stock_taking": _counting,
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
    marks = as_object(event.get("persistentDisposition", {}), "persistentDisposition")
    return [word(mark) for mark in as_list(marks, "unset")]


def _scopes(p: _Particulars) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a hold binds: the codes, and each lot, as facts of their own."""
    scopes: list[tuple[str, tuple[str, ...]]] = [(lot, ()) for lot in p.lots()]
    return [("", p.codes), *scopes] if p.codes else scopes


def _part(fact_id: str, n: int) -> str:
    return f"{fact_id}#{n + 1}" if n else fact_id


def _withdrawn(fact: FactEvent, declared: Json) -> Captured:
    declared_at = time(declared, "declarationTime")
    corrective = as_list(declared, "correctiveEventIDs")
    event = FactWithdrawn(
        fact_id=fact.fact_id,
        site_id=fact.site_id,
        reason=word(declared.get("reason")),
        declared_at=declared_at,
        corrective_fact_ids=tuple(map(plain, corrective)),
    )
    return Captured(event, declared_at, fact.fact_id)
