"""Times in the common text forms, many at once, as milliseconds of UTC.

2026-11-22T01:02:03.004Z and, without the fraction, 2026-11-22T01:02:03Z.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from domain.alerting.watch import to_ms

FEW = 16
_DAY_S = 86_400
_FORMS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)
_NONE = "0000-00-00T00:00:00.000Z"  # no time: there is no month 0
_FORM = np.frombuffer(_NONE.encode(), dtype=np.uint8)
_HIGHEST = np.where(ord("0") == _FORM, np.uint8(ord("9")), _FORM)
# Where year, month, day, hour, minute, second and millisecond stand.
_PLACES = [(0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19), (20, 23)]


def parsed(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return what n texts say and whether each is a time in one of these forms (n, n).

    What is not has any value.
    """
    if len(texts) <= FEW:
        return _one_by_one(texts)
    joined = "".join(texts)
    # Each by itself: were only their sum right, they would be cut in wrong places.
    if set(map(len, texts)) != {len(_NONE)} or not joined.isascii():
        joined = "".join(map(_lengthened, texts))
    letters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(-1, len(_NONE))
    formed = (letters >= _FORM) & (letters <= _HIGHEST)
    known = np.full(len(texts), fill_value=True) if formed.all() else formed.all(axis=1)
    digits = letters.T.astype(np.int64) - ord("0")
    year, month, day, hour, minute, second, ms = (_number(digits[a:b]) for a, b in _PLACES)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    days = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    known &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= days)
    known &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = (first + day - 1) * _DAY_S + hour * 3600 + minute * 60 + second
    return seconds * 1000 + ms, known


def _one_by_one(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Do the same on the way that is shorter for few."""
    found = [_common(text) for text in texts]
    return np.array([ms or 0 for ms in found]), np.array([ms is not None for ms in found])


def _common(text: str) -> int | None:
    if not _FORMS.fullmatch(text):
        return None
    try:
        return to_ms(datetime.fromisoformat(text))
    except ValueError:
        return None


def _number(digits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return what digits say that stand in rows, the highest first."""
    found: npt.NDArray[np.int64] = digits[0]
    for row in digits[1:]:  # a matrix product would start threads
        found = found * 10 + row
    return found


def _lengthened(text: str) -> str:
    """Return a text of the full length; of no time when it is of neither form."""
    if len(text) == len(_NONE) and text.isascii():
        return text
    if len(text) == len("0000-00-00T00:00:00Z") and text.isascii() and text[-1] == "Z":
        return text[:-1] + ".000Z"
    return _NONE
