"""Times in text, many at once: what the careful reader says of each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.refusals import Refused
from ingest.times import parsed
from ingest.wire import checked_ms

MOMENTS = st.datetimes(datetime(2015, 1, 1), datetime(2099, 12, 31)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
)
COMMON = MOMENTS | MOMENTS.map(lambda text: text[:19] + "Z")
# Letters put in the place of others: mostly no time any more.
SPOILT = st.builds(
    lambda text, n, letter: text[:n] + letter + text[n + 1 :],
    COMMON,
    st.integers(0, 23),
    st.sampled_from("0123456789-:.TZ +é"),
)
ANY = st.text(max_size=30) | SPOILT | COMMON


@given(st.lists(COMMON, min_size=1, max_size=40))
def test_given_common_times_when_parsed_then_as_one_by_one(texts: list[str]) -> None:
    found, known = parsed(texts)
    assert known.all()
    assert found.tolist() == [checked_ms(text) for text in texts]


@given(st.lists(ANY, min_size=1, max_size=40))
def test_given_any_texts_when_parsed_then_what_is_known_is_as_one_by_one(texts: list[str]) -> None:
    found, known = parsed(texts)
    for text, ms, sure in zip(texts, found.tolist(), known.tolist(), strict=True):
        assert not sure or ms == _checked(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "2026-00-01T00:00:00.000Z",
        "2026-01-00T00:00:00.000Z",
        "2026-01-01T24:00:00.000Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00.00Z",
        "２026-01-01T00:00:00.000Z",
        "",
    ],
)
def test_given_no_common_time_when_parsed_then_unknown_and_the_others_are_not(text: str) -> None:
    _, known = parsed(["2026-01-01T00:00:00.000Z", text, "2026-01-01T00:00:00Z"])
    assert known.tolist() == [True, False, True]


def _checked(text: str) -> int | None:
    try:
        return checked_ms(text)
    except (Refused, ValueError):
        return None
