"""Times in text, many at once: what the careful reader says of each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.refusals import Refused
from ingest.times import FEW, parsed
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
JOINED = st.lists(COMMON, max_size=3).map("".join)
ANY = st.text(max_size=30) | SPOILT | COMMON | JOINED


@given(st.lists(COMMON, min_size=1, max_size=8) | st.lists(COMMON, min_size=FEW + 1, max_size=40))
def test_given_common_times_when_parsed_then_as_one_by_one(texts: list[str]) -> None:
    found, known = parsed(texts)
    assert known.all()
    assert found.tolist() == [checked_ms(text) for text in texts]


@given(st.lists(ANY, min_size=1, max_size=8) | st.lists(ANY, min_size=FEW + 1, max_size=40))
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


@pytest.mark.parametrize("others", [0, 2 * FEW])
def test_given_lengths_that_make_up_for_each_other_when_parsed_then_no_time_is_moved(
    others: int,
) -> None:
    """Of several senders: one must not shift what the next ones say."""
    good = [f"2026-01-01T00:00:{n:02}.000Z" for n in range(others + 3)]
    found, known = parsed([good[0] + good[1], *good[2:], ""])
    assert known.tolist() == [False, *(True for _ in good[2:]), False]
    assert found[1:-1].tolist() == [checked_ms(text) for text in good[2:]]


def _checked(text: str) -> int | None:
    try:
        return checked_ms(text)
    except (Refused, ValueError):
        return None
