"""Supervision codes: what a scanner may deliver, its canonical form, and its key in the tables.

Two kinds of code name one physical pack: the 20-digit code beginning with 8 (7 product digits, 9
serial, 4 check digits whose rule is not public), and a GS1 code with GTIN (01) and serial (21).
Lot (10) and expiry (17) in a GS1 code describe the pack, they are not part of its identity.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from domain.shared.errors import Invalid
from domain.shared.gs1 import gtin_check_digit

# Longer input is no code; a GS1 element string of the identifiers below has at most 78 characters.
INPUT_LENGTH_MAX = 512

_SUPERVISION = re.compile(r"8[0-9]{19}")
_BRACKETED = re.compile(r"\(([0-9]{2,4})\)([^(]+)")
# GS1 General Specifications, figure 7.11-1: the 82 characters of a serial or lot number.
_GS1_TEXT = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]{1,20}")
_AIM_PREFIX = re.compile(r"^\][A-Za-z][0-9A-Za-z]")  # symbology identifier some scanners send
_SEPARATOR = "\x1d"  # FNC1 as transmitted
# Application identifier -> fixed length of its data; 0 = up to 20 characters, closed by FNC1.
_IDENTIFIERS = {"01": 14, "11": 6, "17": 6, "10": 0, "21": 0}

_KEY_ZERO = 2**63
_TEXT_ZERO = 8 * 10**19 + _KEY_ZERO
_GS1_KEY_MIN = 10**19 - _KEY_ZERO  # first key that no 20-digit code uses
_GS1_KEY_COUNT = 2**63 - _GS1_KEY_MIN


@dataclass(frozen=True, slots=True)
class Code:
    """One scanned code: `text` is the canonical form, `product_id` 7 digits or a GTIN-14."""

    text: str
    product_id: str
    serial: str
    lot_number: str = ""
    expires_on: date | None = None


def parse(scanned: str) -> Code:
    """Read one code out of what a scanner, a keyboard or a document delivered.

    Full-width digits, blanks, symbology prefixes and a wrapping URL are taken off. Raises
    Invalid("bad_code") with `reason` one of empty, too_long, retail_ean, several_codes, length,
    first_digit, characters, url, gs1_check_digit, gs1_identifier, gs1_value, gs1_no_serial.
    """
    if _SUPERVISION.fullmatch(scanned):  # as most are delivered
        return _supervision_code(scanned)
    text = _clean(scanned)
    refuse = _refusal(scanned)
    if not text:
        refuse("empty")
    if len(text) > INPUT_LENGTH_MAX:
        refuse("too_long")
    if "://" in text:
        return _from_url(text, refuse)
    if text.startswith("("):
        return _gs1(_bracketed(text, refuse), refuse)
    if text.startswith("01") and len(text) > 18:
        return _gs1(_element_string(text, refuse), refuse)
    return _supervision(text.replace(_SEPARATOR, ""), refuse)


def canonical(scanned: str) -> str:
    """Return the canonical text of one scanned code; Invalid("bad_code") as `parse`."""
    return parse(scanned).text


def product_of(code: str) -> str:
    """Return the product of a canonical code: its first 7 digits, or its GTIN-14."""
    return code[4:18] if code.startswith("(01)") else code[:7]


def code_key(code: str) -> int:
    """Return the int8 under which tables keep a canonical code.

    A 20-digit code maps one to one; a GS1 code to a hash in the range that those leave free, so
    its text is kept in a table and compared.
    """
    if code[0] != "(":
        return int(code[1:]) - _KEY_ZERO
    digest = hashlib.sha256(code.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _GS1_KEY_COUNT + _GS1_KEY_MIN


def key_code(key: int) -> str | None:
    """Return the 20-digit code of a key; None for the hash of a GS1 code."""
    return str(_TEXT_ZERO + key) if key < _GS1_KEY_MIN else None


def valid_gtin(gtin: str) -> bool:
    """Tell whether this is a GTIN-14 with a right check digit."""
    return bool(re.fullmatch(r"[0-9]{14}", gtin)) and gtin_check_digit(gtin[:-1]) == gtin[-1]


_Refuse = Callable[[str], NoReturn]


def _refusal(scanned: str) -> _Refuse:
    def refuse(reason: str) -> NoReturn:
        raise Invalid("bad_code", field="code", value=scanned[:64], reason=reason)

    return refuse


def _clean(scanned: str) -> str:
    text = unicodedata.normalize("NFKC", scanned).replace("\u241d", _SEPARATOR)
    text = "".join(c for c in text if c == _SEPARATOR or not (c.isspace() or _invisible(c)))
    return _AIM_PREFIX.sub("", text.strip(_SEPARATOR)).lstrip(_SEPARATOR)


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf"}


def _supervision(text: str, refuse: _Refuse) -> Code:
    if not _SUPERVISION.fullmatch(text):
        refuse(_why_not(text))
    return _supervision_code(text)


def _supervision_code(text: str) -> Code:
    return Code(text=text, product_id=text[:7], serial=text[7:16])


def _why_not(text: str) -> str:
    digits = re.sub(r"[,;|]", "", text)
    if not re.fullmatch(r"[0-9]+", digits):
        return "characters"
    if len(digits) >= 40 and len(digits) % 20 == 0:
        return "several_codes"
    if len(digits) in {8, 12, 13, 14} and gtin_check_digit(digits[:-1]) == digits[-1]:
        return "retail_ean"
    return "length" if len(digits) != 20 else "first_digit"


def _from_url(text: str, refuse: _Refuse) -> Code:
    url = urlsplit(text)
    parts = [unquote(part) for part in url.path.split("/")]
    if "01" in parts[:-1]:
        return _digital_link(parts, url.query, refuse)
    found = set(re.findall(r"(?<![0-9])8[0-9]{19}(?![0-9])", unquote(f"{url.path}?{url.query}")))
    if len(found) > 1:
        refuse("several_codes")
    if not found:
        refuse("url")
    return _supervision(found.pop(), refuse)


def _digital_link(parts: list[str], query: str, refuse: _Refuse) -> Code:
    start = parts.index("01")
    pairs = list(zip(parts[start::2], parts[start + 1 :: 2], strict=False))
    pairs += [(name, values[0]) for name, values in parse_qs(query).items() if name in _IDENTIFIERS]
    found = {name: value for name, value in pairs if name in _IDENTIFIERS}
    # A digital link may carry a shorter GTIN; GTIN-14 has zeros before it.
    found["01"] = found["01"].zfill(14)
    return _gs1(found, refuse)


def _bracketed(text: str, refuse: _Refuse) -> dict[str, str]:
    pairs = _BRACKETED.findall(text)
    if "".join(f"({name}){value}" for name, value in pairs) != text:
        refuse("gs1_identifier")
    return _distinct([(name, value.rstrip(_SEPARATOR)) for name, value in pairs], refuse)


def _element_string(text: str, refuse: _Refuse) -> dict[str, str]:
    pairs: list[tuple[str, str]] = []
    rest = text
    while rest:
        name, rest = rest[:2], rest[2:]
        length = _IDENTIFIERS.get(name)
        if length is None:
            refuse("gs1_identifier")
        if length:
            value, rest = rest[:length], rest[length:].removeprefix(_SEPARATOR)
        else:
            value, _, rest = rest.partition(_SEPARATOR)
        pairs.append((name, value))
    return _distinct(pairs, refuse)


def _distinct(pairs: list[tuple[str, str]], refuse: _Refuse) -> dict[str, str]:
    found = dict(pairs)
    if not found.keys() <= _IDENTIFIERS.keys():
        refuse("gs1_identifier")
    if len(found) < len(pairs):
        refuse("several_codes")
    return found


def _gs1(found: dict[str, str], refuse: _Refuse) -> Code:
    gtin, serial, lot = found.get("01", ""), found.get("21", ""), found.get("10", "")
    if not valid_gtin(gtin):
        refuse("gs1_check_digit")
    if not serial:
        refuse("gs1_no_serial")
    if not all(_GS1_TEXT.fullmatch(value) for value in (serial, lot) if value):
        refuse("gs1_value")
    return Code(
        text=f"(01){gtin}(21){serial}",
        product_id=gtin,
        serial=serial,
        lot_number=lot,
        expires_on=_expiry(found["17"], refuse) if "17" in found else None,
    )


def _expiry(yymmdd: str, refuse: _Refuse) -> date:
    """Read YYMMDD; day 00 is the month's last. Expiry dates of vaccines lie in 2000-2099."""
    if not re.fullmatch(r"[0-9]{6}", yymmdd) or not 1 <= int(yymmdd[2:4]) <= 12:
        refuse("gs1_value")
    year, month, day = 2000 + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:])
    last = calendar.monthrange(year, month)[1]
    if day > last:
        refuse("gs1_value")
    return date(year, month, day or last)
