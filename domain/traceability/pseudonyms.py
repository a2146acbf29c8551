"""People in facts: only ever a pseudonym, since what is recorded is kept for ever."""

from __future__ import annotations

import re

from domain.shared.errors import Invalid

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
