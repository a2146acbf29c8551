"""Texts that people type: names, labels, notes."""

from __future__ import annotations

import re

from domain.shared.errors import Invalid

# No control characters (PostgreSQL cannot keep a NUL, a log line must stay one line), not blank.
TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
# Characters; long enough for the longest official name of an organisation.
TEXT_LENGTH_MAX = 200

_TEXT = re.compile(TEXT_PATTERN)


def checked_text(
    value: str, field: str, *, required: bool = True, length_max: int = TEXT_LENGTH_MAX
) -> str:
    """Return `value` when it is one line of text; Invalid("bad_text") otherwise.

    An empty text passes where it is not `required`. Lone surrogates are refused: they have no
    UTF-8 form.
    """
    if not value and not required:
        return value
    lone = any("\ud800" <= character <= "\udfff" for character in value)
    if lone or len(value) > length_max or not _TEXT.fullmatch(value):
        raise Invalid("bad_text", field=field, length_max=length_max)
    return value
