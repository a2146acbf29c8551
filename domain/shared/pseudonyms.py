"""People in what is recorded for ever: only a pseudonym, and texts that name nobody.

Names cannot be told from other words. Mobile and identity numbers can, however they are written:
in any script's digits, in groups, with a country code or a word before them. What is as long and
is no such number passes: supervision codes, GTINs, SSCCs, lots, times, hashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date

from domain.shared.errors import Invalid
from domain.shared.ids import REGION_PATTERN, checked_name
from domain.shared.text import TEXT_LENGTH_MAX, checked_text

PSEUDONYM_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$"
_PSEUDONYM = re.compile(PSEUDONYM_PATTERN)
# What a pseudonym must not even resemble, standing by itself.
_LONG_NUMBER = re.compile(r"(?<![A-Za-z0-9])([0-9]{17}[0-9Xx]|1[0-9]{10})(?![A-Za-z0-9])")

# Digits of the shorter of both numbers; no text with fewer holds one.
_DIGITS_MIN = 11
_APART = r"[ \t_./·\-‐-―()（）]{0,2}"
_MOBILE = re.compile(rf"(?=((?:(?:\+|00)?86{_APART})?)(1{_APART}[3-9](?:{_APART}[0-9]){{9}}))")
# Digits in a group, as people write mobile numbers.
_GROUPS = frozenset({(11,), (3, 4, 4), (3, 8), (7, 4), (4, 4, 3), (3, 3, 5), (1,) * 11})
_DAY_AFTER = re.compile(r"(19|20)[0-9]{2}(0[1-9]|1[0-2])([0-2][0-9]|3[01])")
# GB 11643: region, day of birth, order, check character.
_CENTURY = rf"{_APART}(?:1{_APART}9|2{_APART}0)"
_IDENTITY = re.compile(
    rf"(?=([1-8](?:{_APART}[0-9]){{5}}{_CENTURY}(?:{_APART}[0-9]){{9}}{_APART}[0-9Xx]))"
)
_REGION = re.compile(REGION_PATTERN)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
# Characters beside a number that tell whether it is part of a hash.
_BESIDE = 64


def checked_pseudonym(value: str, field: str) -> str:
    """Return a pseudonym, or nothing where none is given; Invalid("not_a_pseudonym") otherwise.

    Refused are names, and what looks like an identity number or a mobile number. The value is not
    repeated in the refusal.
    """
    shown = _PSEUDONYM.fullmatch(value) and not _LONG_NUMBER.search(value)
    if value and (not shown or names_person(value)):
        raise Invalid("not_a_pseudonym", field=field)
    return value


def checked_note(value: str, field: str, *, required: bool = False) -> str:
    """Return one line of text about a thing; Invalid("names_a_person") when it holds a number."""
    found = checked_text(value, field, required=required, length_max=TEXT_LENGTH_MAX)
    return _nobody(found, field)


def checked_id(value: str, field: str) -> str:
    """Return a name that a caller chose for a thing; Invalid("names_a_person") as of notes."""
    return _nobody(checked_name(value, field), field)


def names_person(text: str) -> bool:
    """Tell whether a text holds a mobile number or an identity number."""
    if len(text) < _DIGITS_MIN:
        return False
    plain = text if text.isascii() else _plain(text)
    if sum(map(str.isdecimal, plain)) < _DIGITS_MIN:
        return False
    return any(map(_is_mobile, _standing(_MOBILE, plain))) or any(
        map(_is_identity, _standing(_IDENTITY, plain))
    )


def _nobody(text: str, field: str) -> str:
    if names_person(text):
        raise Invalid("names_a_person", field=field)
    return text


def _plain(text: str) -> str:
    """Return a text in the digits and letters of ASCII, without characters that do not show."""
    shown = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in shown)


def _standing(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield what a pattern finds that is no part of a longer number, nor of a hash."""
    for found in pattern.finditer(text):
        number = found[found.lastindex or 1]
        start, end = found.start(1), found.end(found.lastindex or 1)
        if text[start - 1 : start].isdigit() or text[end : end + 1].isdigit():
            continue
        before = re.split("[^A-Za-z0-9]", text[max(0, start - _BESIDE) : start])[-1]
        after = re.split("[^A-Za-z0-9]", text[end : end + _BESIDE], maxsplit=1)[0]
        letters = {c for c in (before + after).lower() if not c.isdigit()}
        if not letters or letters - set("abcdef"):
            yield number


def _is_mobile(found: str) -> bool:
    apart = re.findall("[^0-9]+", found)
    groups = tuple(map(len, re.findall("[0-9]+", found)))
    if groups not in _GROUPS or len(set(apart)) > 1:
        return False
    # 138.12345678 is a measure, 138 20261122 a number and a day.
    return len(apart) != 1 or (apart != ["."] and not _DAY_AFTER.fullmatch(found[-8:]))


def _is_identity(found: str) -> bool:
    digits = re.sub("[^0-9Xx]", "", found).upper()
    if not _REGION.match(digits[:6]) or not _is_day(digits[6:14]):
        return False
    total = sum(int(d) * weight for d, weight in zip(digits[:17], _WEIGHTS, strict=True))
    # No other code of this length ends in X; of digits alone, the check character must be right.
    return digits[17] in {"X", _CHECK[total % 11]}


def _is_day(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year < 2100
    except ValueError:
        return False
