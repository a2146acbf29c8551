"""The fields of an EPCIS event in our terms: codes, places, times, words of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from domain.shared.errors import Invalid
from domain.shared.gs1 import gtin_check_digit
from domain.traceability.codes import canonical
from domain.traceability.lots import completed

Json = Mapping[str, Any]

# Places and words seen last: they come again in every event.
KNOWN_MAX = 4096

_SGTIN = re.compile(r"urn:epc:id:sgtin:([0-9]+)\.([0-9])([0-9]*)\.(.+)")
_LGTIN = re.compile(r"urn:epc:class:lgtin:([0-9]+)\.([0-9])([0-9]*)\.(.+)")
_LINK_LOT = re.compile(r"/01/([0-9]{8,14})/10/([^/?]+)")
_SGLN = re.compile(r"urn:epc:id:sgln:([0-9]+)\.([0-9]*)\.(.+)")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# A supervision code at an address without other digits in its path: most are.
_ADDRESS = re.compile(r"https?://[^/?#]+/(?:[A-Za-z_.~-]+/)*(8[0-9]{19})")


def word(value: object) -> str:
    """Return the bare word of a CBV term: `shipping` of `urn:…:bizstep:shipping` or of its URL."""
    return _word(str(value or ""))


@lru_cache(maxsize=KNOWN_MAX)
def _word(text: str) -> str:
    return re.sub(r"^[A-Za-z]+-", "", re.split(r"[:/#]", text)[-1])


def time(found: Json, field: str) -> datetime:
    """Return a time with its offset, in UTC; Invalid("epcis_bad_time")."""
    try:
        time = datetime.fromisoformat(str(found.get(field, "")))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid("epcis_bad_time", field=field) from error
    raise Invalid("epcis_bad_time", field=field)


def day(value: object) -> date | None:
    """Return the day that a text begins with, None for any other."""
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None  # what was printed stays in the document


def as_object(value: object, field: str) -> Json:
    """Return an object; Invalid("epcis_missing_field")."""
    if not isinstance(value, Mapping):
        raise Invalid("epcis_missing_field", field=field)
    return value


def objects(found: Json, field: str) -> list[Json]:
    """Return a list of objects, empty when there is none."""
    return [as_object(item, field) for item in as_list(found, field)]


def as_list(found: Json, field: str) -> Sequence[Any]:
    """Return a list, empty when there is none; Invalid("epcis_missing_field")."""
    items = found.get(field, [])
    if not isinstance(items, list):
        raise Invalid("epcis_missing_field", field=field)
    return items


def parent_of(event: Json, children: Sequence[str]) -> str:
    """Return the code of the parent, which is none of its children."""
    if not event.get("parentID"):
        raise Invalid("epcis_missing_field", field="parentID")
    parent = code_of(str(event["parentID"]))
    if parent in children:
        raise Invalid("parent_in_codes", field="parentID", value=parent)
    return parent


def codes_of(event: Json, field: str) -> tuple[str, ...]:
    """Return the canonical codes of a list, each once."""
    return tuple(dict.fromkeys(code_of(str(epc)) for epc in as_list(event, field)))


def code_of(epc: str) -> str:
    """Return the canonical code of an EPC; Invalid("bad_code")."""
    if address := _ADDRESS.fullmatch(epc):
        return address[1]
    sgtin = _SGTIN.fullmatch(epc)
    return f"(01){_gtin(sgtin)}(21){sgtin[4]}" if sgtin else canonical(epc)


def _gtin(urn: re.Match[str]) -> str:
    digits = urn[2] + urn[1] + urn[3]
    return digits + gtin_check_digit(digits)


def lot_of(epc_class: str) -> str:
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


def last_part(value: object) -> str:
    """Return the last part of an address or a URN, or of the `id` of an object.

    A GS1 place (SGLN) is given as its GLN of 13 digits.
    """
    return _last(plain(value.get("id", "") if isinstance(value, Mapping) else value))


@lru_cache(maxsize=KNOWN_MAX)
def _last(found: str) -> str:
    if sgln := _SGLN.fullmatch(found):
        digits = sgln[1] + sgln[2]
        return digits + gtin_check_digit(digits)
    return re.split(r"[/#:]" if found.startswith("urn:") else r"[/#]", found.rstrip("/"))[-1]


def plain(value: object) -> str:
    """Return a text without what no table can keep: NUL and lone surrogates."""
    return "" if value is None else _UNSTORABLE.sub("", str(value))


def extension(found: Json, name: str, default: Any) -> Any:
    """Return an extension by its name without prefix."""
    endings = (f":{name}", f"/{name}", f"#{name}")
    for key, value in found.items():
        if key == name or key.endswith(endings):
            return value
    return default


def temperatures(report: Json, element: Json) -> dict[str, Any]:
    """Return what a report says: the device, and temperatures in °C."""
    metadata = as_object(element.get("sensorMetadata", {}), "sensorMetadata")
    device = report.get("deviceID") or metadata.get("deviceID")
    names = {
        "temperature_c": "value",
        "transport_c_min": "minValue",
        "transport_c_max": "maxValue",
    }
    found = {ours: _celsius(report, theirs) for ours, theirs in names.items()}
    return {"device_id": last_part(device), **found}


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
