"""The columnar payload gives back exactly what it was given."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain.events import ReadingsRecorded
from store.columns import pack, pack_alike, pack_column, pack_id, unpack, unpack_column

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


ORDINARY = st.one_of(
    st.integers(-9000, 9000).map(lambda v: v / 100),
    st.sampled_from([0.0, -0.0, 5.0, 327.67, 327.68, 3.2767, 3.27671, 4.00001, 1e9, 1e300, 2**31]),
)


@st.composite
def _events(draw: st.DrawFn) -> list[ReadingsRecorded]:
    """Return events of the same channels, received at once."""
    names = draw(st.lists(st.sampled_from(["t1", "t2", "rh", "door"]), min_size=1, unique=True))
    events = []
    for _ in range(draw(st.integers(1, 12))):
        n = draw(st.sampled_from([1, 1, 2, 20, 500]))
        step = draw(st.integers(1, 60_000))
        first = draw(st.integers(1_420_070_400_000, 1_900_000_000_000))
        some = st.lists(ORDINARY, min_size=min(n, 3), max_size=min(n, 3))
        events.append(
            ReadingsRecorded(
                device_id=draw(st.sampled_from(["d", "TH-0001", "T" * 31, "T" * 32, "T" * 300])),
                boot=draw(st.sampled_from([0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**22 - 1])),
                seq=draw(st.integers(0, 2**40 - 501) | st.integers(0, 300)),
                ts_ms=tuple(range(first, first + n * step, step)),
                columns={name: tuple(islice(cycle(draw(some)), n)) for name in names},
                received_ms=1_795_312_900_000,
                backfill=draw(st.booleans()),
            )
        )
    return events


@given(_events())
def test_given_many_messages_when_packed_at_once_then_as_one_by_one(
    events: list[ReadingsRecorded],
) -> None:
    found = pack_alike(
        ids=[pack_id(event.device_id) for event in events],
        boots=np.array([event.boot for event in events]),
        seqs=np.array([event.seq for event in events]),
        received_ms=1_795_312_900_000,
        backfill=np.array([event.backfill for event in events]),
        counts=np.array([len(event.ts_ms) for event in events]),
        ts_ms=np.array([ts for event in events for ts in event.ts_ms]),
        columns={
            name: np.array([value for event in events for value in event.columns[name]])
            for name in events[0].columns
        },
    )
    packed = {
        n: state.tobytes()
        for alike in found
        for n, state in zip(alike.of.tolist(), alike.states, strict=True)
    }
    expected = {n: pack(event) for n, event in enumerate(events)}
    assert packed == {n: expected[n] for n in packed}
    assert {n for n in expected if n not in packed} == {
        n for n, event in enumerate(events) if not _is_small(event)
    }


def _is_small(event: ReadingsRecorded) -> bool:
    return all(pack_column(values)[1] == "h" for values in event.columns.values())


def test_given_unknown_format_when_unpacked_then_refused() -> None:
    with pytest.raises(ValueError, match="unknown format"):
        unpack(b"\x09")
