"""GS1 keys in their two forms: EPC URN and GS1 Digital Link, and what is one identity of both.

One identity has one plain form, a digital link at id.gs1.org without what only describes it (lot
beside a serial, CPV). A URN says how long the company prefix is, a link does not: to write a URN
somebody must know that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from domain.shared.gs1 import gtin_check_digit as check_digit

HOME = "https://id.gs1.org/"


class _Key(NamedTuple):
    """One GS1 key.

    ai: its application identifier. digits: digits of the company prefix and the reference. front:
    1 when the reference's first digit stands before the prefix. checked: a check digit follows.
    serial: the identifier of a serial that stands by itself, "" = directly after, None = none.
    head: what stands before the digits in the link.
    """

    ai: str
    digits: int
    front: int = 0
    checked: bool = True
    serial: str | None = None
    head: str = ""


# By the name in the URN. GS1 EPC Tag Data Standard 2.0, §6.3; GS1 Digital Link URI 1.2, §4.
_KEYS = {
    "sgtin": _Key("01", 13, front=1, serial="21"),
    "lgtin": _Key("01", 13, front=1, serial="10"),
    "upui": _Key("01", 13, front=1, serial="235"),
    "sscc": _Key("00", 17, front=1),
    "sgln": _Key("414", 12, serial="254"),
    "pgln": _Key("417", 12),
    "grai": _Key("8003", 12, serial="", head="0"),
    "gsrn": _Key("8018", 17),
    "gsrnp": _Key("8017", 17),
    "gdti": _Key("253", 12, serial=""),
    "sgcn": _Key("255", 12, serial=""),
    "gsin": _Key("402", 16),
}
# Keys whose reference is of any length: the prefix and it stand together.
_FREE = {"giai": "8004", "ginc": "401"}
_NAMES = {(key.ai, key.serial or ""): name for name, key in _KEYS.items()}
_NAMES_FREE = {ai: name for name, ai in _FREE.items()}

_URN = re.compile(r"urn:epc:(id|idpat|class):([a-z]+):(\S+)")
_TEXT = r"[!-.0-~]+"  # one level of a path
_LINK = re.compile(
    r"https?://[^/?#\s]+(?:/[^?#\s]*?)??/(?:"
    rf"(?P<gtin>01/(?P<g>[0-9]{{8}}|[0-9]{{12,14}})(?:/22/{_TEXT})?(?:/10/(?P<lot>{_TEXT}))?"
    rf"(?:/(?P<sai>21|235)/(?P<serial>{_TEXT}))?)"
    r"|(?P<fixed>(?:00/[0-9]{18}|417/[0-9]{13}|801[78]/[0-9]{18}|402/[0-9]{17}))"
    rf"|(?P<place>414/[0-9]{{13}}(?:/254/{_TEXT})?)"
    rf"|(?P<joined>(?:8003/0[0-9]{{13}}|25[35]/[0-9]{{13}})(?:{_TEXT})?)"
    rf"|(?P<free>(?:8004|401)/{_TEXT})"
    rf"|(?P<part>8010/{_TEXT}(?:/8011/[0-9]+)?)"
    rf"|(?P<piece>8006/[0-9]{{18}}(?:/21/{_TEXT})?)"
    r")"
)


@lru_cache(maxsize=8192)  # places come again and again, and each code is asked for twice
def plain(uri: str) -> str:
    """Return the plain form of a GS1 key; any other text as it is."""
    path = _path_of_urn(uri) if uri.startswith("urn:epc:") else _path_of_link(uri)
    return uri if path is None else HOME + path


def class_of(uri: str) -> str | None:
    """Return the plain form of what an individual, in plain form, is one of; None = nothing."""
    path = uri.removeprefix(HOME)
    if path == uri:
        return None
    for pattern in _CLASSES:
        if found := pattern.fullmatch(path):
            return HOME + found[1]
    return None


_CLASSES = (
    re.compile(r"(01/[0-9]{14})/(?:10|21|235)/.+"),
    re.compile(r"(8003/[0-9]{14}|25[35]/[0-9]{13}).+"),
    re.compile(r"(8010/[^/]+)/8011/.+"),
    re.compile(r"(8006/[0-9]{18})/21/.+"),
)


def like_of(uri: str) -> str | None:
    """Return the regular expression of a pattern wider than one class; None for anything else."""
    found = _URN.fullmatch(uri)
    if found is None or found[1] != "idpat" or "*" not in found[3]:
        return None
    parts = found[3].split(".")
    if "*" not in parts[:-1] and not (len(parts) == 2 and parts[1] == "*"):
        return None  # one class: an identity
    ai, front, head = _place_of(found[2])
    if ai is None:
        return "^" + ".*".join(re.escape(piece) for piece in uri.replace("idpat", "id").split("*"))
    prefix = "" if parts[0] == "*" else re.escape(parts[0])
    return f"^{re.escape(HOME)}{ai}/{head}{'.' * front}{prefix}"


def _place_of(name: str) -> tuple[str | None, int, str]:
    """Return identifier, digits before the company prefix, and head of a key in its link."""
    if key := _KEYS.get(name):
        return key.ai, key.front, key.head
    others = {**_FREE, "cpi": "8010", "itip": "8006"}
    return others.get(name), int(name == "itip"), ""


def _path_of_urn(urn: str) -> str | None:
    found = _URN.fullmatch(urn)
    if found is None:
        return None
    parts = [_link_text(part) for part in found[3].split(".")]
    name = found[2]
    if name in _FREE and len(parts) > 1:
        return f"{_FREE[name]}/{parts[0]}{'.'.join(parts[1:])}"
    if name == "cpi" and len(parts) == 3:
        return f"8010/{parts[0]}{parts[1]}" + ("" if parts[2] == "*" else f"/8011/{parts[2]}")
    if name == "itip" and len(parts) >= 5:
        trade_item = _digits(_KEYS["sgtin"], parts[:2])
        pieces = f"8006/{trade_item}{parts[2]}{parts[3]}"
        return pieces + _serial("21", ".".join(parts[4:])) if trade_item else None
    key = _KEYS.get(name)
    return None if key is None else _path(key, parts)


def _path(key: _Key, parts: Sequence[str]) -> str | None:
    digits = _digits(key, parts[:2])
    if digits is None or (len(parts) > 2) != (key.serial is not None):
        return None
    path = f"{key.ai}/{key.head}{digits}"
    serial = ".".join(parts[2:])
    if key.serial is None:
        return path
    if key.ai == "414" and serial == "0":
        return path  # the place as a whole
    return path + _serial(key.serial, serial)


def _serial(ai: str, serial: str) -> str:
    if serial == "*":
        return ""
    return f"/{ai}/{serial}" if ai else serial


def _digits(key: _Key, parts: Sequence[str]) -> str | None:
    """Return prefix and reference as the link has them; None when they are not such digits."""
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts if part):
        return None
    prefix, reference = parts
    digits = reference[: key.front] + prefix + reference[key.front :]
    return digits + check_digit(digits) if len(digits) == key.digits else None


def _link_text(text: str) -> str:
    """Return a serial as a path has it."""
    return quote(unquote(text), safe="!'()*+,-.:;=_~")


def _path_of_link(uri: str) -> str | None:
    found = _LINK.fullmatch(uri.partition("?")[0].partition("#")[0])
    if found is None:
        return None
    if found["gtin"]:
        gtin = f"01/{found['g'].zfill(14)}"
        if found["serial"]:
            return f"{gtin}/{found['sai']}/{_link_text(found['serial'])}"
        return f"{gtin}/10/{_link_text(found['lot'])}" if found["lot"] else gtin
    path = next(part for part in found.groupdict().values() if part)
    ai, _, rest = path.partition("/")
    return f"{ai}/" + "/".join(map(_link_text, rest.split("/")))


def to_urn(uri: str, company_prefixes: Collection[str]) -> str:
    """Return the EPC URN of a digital link whose company prefix is known; else it as it is.

    What a URN has no place for (a lot beside a serial), and a wrong check digit, keep the link.
    """
    path = _path_of_link(uri)
    if path is None or not uri.partition("?")[0].endswith(path.partition("/")[2]):
        return uri
    ai, digits, serial_ai, serial = _taken_apart(path)
    if ai in _NAMES_FREE:
        company = _company(digits, company_prefixes)
        if company is None:
            return uri
        return f"urn:epc:id:{_NAMES_FREE[ai]}:{company}.{digits[len(company) :]}"
    name = _NAMES.get((ai, serial_ai)) or _NAMES.get((ai, _SERIAL_OF.get(ai, "")))
    if name is None:
        return uri
    return _urn(name, digits, serial, company_prefixes) or uri


_SERIAL_OF = {"01": "21", "414": "254"}


def _taken_apart(path: str) -> tuple[str, str, str, str]:
    """Return identifier, digits, and identifier and text of the serial of a path."""
    ai, value, *more = path.split("/")
    if more:
        return ai, value, more[0], unquote(more[1])
    if ai == "8003":
        return ai, value[1:14], "", unquote(value[14:])
    if ai in ("253", "255"):
        return ai, value[:13], "", unquote(value[13:])
    return ai, value, "", ""


def _urn(name: str, digits: str, serial: str, company_prefixes: Collection[str]) -> str | None:
    key = _KEYS[name]
    if check_digit(digits[:-1]) != digits[-1]:
        return None
    company = _company(digits[key.front :], company_prefixes)
    if company is None:
        return None
    body = f"{company}.{digits[: key.front]}{digits[key.front + len(company) : -1]}"
    if key.serial is None:
        return f"urn:epc:id:{name}:{body}"
    if key.ai == "414":
        return f"urn:epc:id:{name}:{body}.{_urn_text(serial or '0')}"
    if not serial:
        return f"urn:epc:idpat:{name}:{body}.*"
    kind = "class" if name == "lgtin" else "id"
    return f"urn:epc:{kind}:{name}:{body}.{_urn_text(serial)}"


def _urn_text(text: str) -> str:
    return quote(text, safe="!'()*+,-.:;=_~")


def _company(digits: str, known: Collection[str]) -> str | None:
    """Return the company prefix that digits begin with, None when nobody told its length."""
    for length in range(12, 5, -1):
        if digits[:length] in known:
            return digits[:length]
    # GB 12904: how long the prefixes are that GS1 China gives out.
    for beginnings, length in ((("690", "691"), 7), (("692", "693", "694", "695", "696"), 8)):
        if digits.startswith(beginnings):
            return digits[:length]
    return digits[:9] if digits.startswith("697") else None


_COMPANY = re.compile(r"urn:epc:(?:id|idpat|class):[a-z]+:([0-9]{6,12})\.")


def company_prefixes_in(text: str) -> set[str]:
    """Return the company prefixes that the URNs in a text tell."""
    return set(_COMPANY.findall(text))
