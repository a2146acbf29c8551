"""People in what is recorded for ever: only a pseudonym, and texts that name nobody."""

from __future__ import annotations

import re

from domain.shared.errors import Invalid
from domain.shared.text import TEXT_LENGTH_MAX, checked_text

PSEUDONYM_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$"
_PSEUDONYM = re.compile(PSEUDONYM_PATTERN)
# An identity number (18 characters, GB 11643) or a mobile number, standing by itself.
_PERSONAL = re.compile(r"(?<![A-Za-z0-9])([0-9]{17}[0-9Xx]|1[0-9]{10})(?![A-Za-z0-9])")


def checked_pseudonym(value: str, field: str) -> str:
    """Return a pseudonym, or nothing where none is given; Invalid("not_a_pseudonym") otherwise.

    Refused are names, and what looks like an identity number or a mobile number. The value is not
    repeated in the refusal.
    """
    if value and (not _PSEUDONYM.fullmatch(value) or _PERSONAL.search(value)):
        raise Invalid("not_a_pseudonym", field=field)
    return value


def checked_note(value: str, field: str, *, required: bool = False) -> str:
    """Return one line of text about a thing; Invalid("names_a_person") when it holds a number.

    Names cannot be told from other words; identity and mobile numbers can, and are refused.
    """
    found = checked_text(value, field, required=required, length_max=TEXT_LENGTH_MAX)
    if _PERSONAL.search(found):
        raise Invalid("names_a_person", field=field)
    return found
