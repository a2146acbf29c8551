"""Which readings of a device are stored: ranges on its line of version numbers.

A reading's place on the line is boot * 2^40 + seq. Ranges are a flat ascending list
`[start, end, start, end, …]`, half-open, disjoint and never touching, so the parity of an index
tells whether it opens or closes a range. They say what is surely new; what they cover is looked up
in the log, since of a device with very many holes the oldest are closed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

BOOT_SHIFT = 40
SEQ_END = 1 << BOOT_SHIFT
# Ranges kept of a device: 16 bytes each, written with every batch of it.
RANGES_MAX = 512

Ranges = list[int]


def version_of(boot: int, seq: int) -> int:
    """Return a reading's place on the line of versions."""
    return (boot << BOOT_SHIFT) + seq


def new_runs(ranges: Sequence[int], first: int, n: int) -> list[tuple[int, int]]:
    """Return the parts [start, end) of `first … first+n-1` that no range covers, ascending.

    A run ends where a later range begins, however far ahead of the newest reading that lies.
    """
    end = first + n
    at = bisect_right(ranges, first)
    runs: list[tuple[int, int]] = []
    if at % 2:  # inside a range: new only after its end
        first, at = ranges[at], at + 1
    while first < end:
        opens = ranges[at] if at < len(ranges) else end
        if first < opens:
            runs.append((first, min(opens, end)))
        if at + 1 >= len(ranges):
            break
        first, at = ranges[at + 1], at + 2
    return runs


def add(ranges: Ranges, start: int, end: int) -> None:
    """Mark [start, end) as stored, joining ranges that it touches."""
    low, high = bisect_left(ranges, start), bisect_right(ranges, end)
    opens = [start] if low % 2 == 0 else []
    closes = [end] if high % 2 == 0 else []
    ranges[low:high] = opens + closes


def bound(ranges: Ranges) -> None:
    """Close the oldest holes where there are more ranges than are kept."""
    del ranges[1 : 1 + max(0, len(ranges) - 2 * RANGES_MAX)]


def to_bytes(ranges: Ranges) -> bytes:
    """Return the stored form: unsigned 64-bit numbers, little-endian."""
    return b"".join(number.to_bytes(8, "little") for number in ranges)


def from_bytes(stored: bytes) -> Ranges:
    """Return the ranges of a stored form."""
    return [int.from_bytes(stored[i : i + 8], "little") for i in range(0, len(stored), 8)]
