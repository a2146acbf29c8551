"""The columnar payload gives back exactly what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain.events import ReadingsRecorded
from store.columns import pack, pack_column, unpack, unpack_column

VALUES = st.one_of(
    st.none(),
    st.integers(-9000, 9000).map(lambda v: v / 100),
    st.integers(-(10**9), 10**9).map(lambda v: v / 1000),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
)


@given(st.lists(VALUES, min_size=1, max_size=40))
def test_given_any_values_when_packed_then_unpacked_equal(values: list[float | None]) -> None:
    assert list(unpack_column(*pack_column(values))) == values


@given(
    st.lists(st.integers(1_400_000_000_000, 1_900_000_000_000), min_size=1, max_size=30),
    st.integers(0, 2**22 - 1),
    st.integers(0, 2**40 - 1),
    st.booleans(),
)
def test_given_any_times_when_packed_then_the_event_is_back(
    times: list[int], boot: int, seq: int, backfill: bool
) -> None:
    event = ReadingsRecorded(
        device_id="TH-1",
        boot=boot,
        seq=seq,
        ts_ms=tuple(times),
        columns={"t1": tuple(5.3 for _ in times), "door": tuple(None for _ in times)},
        received_ms=times[0],
        backfill=backfill,
    )
    assert unpack(pack(event)) == event


def test_given_twenty_ordinary_readings_when_packed_then_small() -> None:
    event = ReadingsRecorded(
        device_id="TH-0007",
        boot=12,
        seq=48211,
        ts_ms=tuple(1_795_312_800_000 + 60_000 * n for n in range(20)),
        columns={"t1": tuple(4 + n / 10 for n in range(20)), "rh": (61.0,) * 20},
        received_ms=1_795_312_900_000,
    )
    assert len(pack(event)) < 230


def test_given_unknown_format_when_unpacked_then_refused() -> None:
    with pytest.raises(ValueError, match="unknown format"):
        unpack(b"\x09")
