"""When the clock of a device counts as wrong."""

from __future__ import annotations

import pytest

from domain.cold_chain.clocks import clock_stream, offset_ms, severity


@pytest.mark.parametrize(
    ("samples_s", "found"),
    [
        ((0, 1, 2, 1, 0), ""),
        ((60, 60, 60, 60, 60), ""),
        ((61, 61, 61, 0, 0), "minor"),
        ((-61, -61, -61, 0, 0), "minor"),
        ((0, 0, 0, 86_400, 86_400), ""),
        ((300, 300, 300, 300, 300), "minor"),
        ((301, 301, 301, 0, 9_999), "major"),
    ],
)
def test_given_samples_when_judged_then_their_median_decides(
    samples_s: tuple[int, ...], found: str
) -> None:
    assert severity(offset_ms([1000 * s for s in samples_s])) == found


def test_given_two_devices_when_told_then_each_has_its_stream() -> None:
    assert clock_stream("a") != clock_stream("b")
