"""Gaps in what a device numbered: which there are, and what is done about one.

Places are versions on a device's line, boot * 2^40 + seq; ranges are flat ascending lists
`[start, end, start, end, …]`, half-open, disjoint, never touching. A gap is a hole between two
stored readings of one boot. Nothing is known of what came before a boot's first reading or after
its last one: there is no gap.

A gap keeps its bounds until nothing of it is missing. Gaps of a device never overlap: a new one
lies where, before, nothing of its boot was stored on one of its sides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.cold_chain.events import SeqGapClosed, SeqGapOpened
from domain.shared.ids import stream_id

BOOT_SHIFT = 40
SEQ_END = 1 << BOOT_SHIFT
# A gap is asked for when nothing of it came for so long: most heal by themselves.
QUIET_MS = 30_000
# Then again after 1, 2, 4 … minutes, so often in vain: after 17 hours it is given up.
ASKS_MAX = 10
RETRY_MS = 60_000
OPEN = "open"

Span = tuple[int, int]  # versions, half-open


@dataclass(frozen=True, slots=True)
class NewGap:
    """A hole that a batch opened, and where its device stands now."""

    device_id: str
    device_no: int
    gateway_id: str
    region_code: str
    span: Span


@dataclass(slots=True)
class GapNotes:
    """What a batch says of gaps.

    By device_no, `healed`: holes of which nothing is left, or into which something was put that
    the ranges do not tell; `forgotten`: the version below which the ranges tell of no hole any
    more. `lost`: what devices say they have no more.
    """

    opened: list[NewGap] = field(default_factory=list)
    healed: list[tuple[int, Span]] = field(default_factory=list)
    forgotten: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[str, Span]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gap:
    """An open gap: how much was missing when it was last looked at, how often asked in vain.

    `lost`: ranges.
    """

    span: Span
    missing: int
    lost: Sequence[int]
    asked: int


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a gap that was looked at.

    `state`: open | filled | lost | abandoned. An open one is looked at again at `due_ms`; `ask`
    the device for this span of it, unless None. What comes after a gap was closed is taken as well.
    """

    state: str
    missing: int
    asked: int
    due_ms: int
    ask: Span | None = None


def gap_stream(device_id: str, first: int) -> UUID:
    """Return the stream of the gap that begins at version `first`: opened at 1, then closed."""
    return stream_id("cold_chain.gap", device_id, first)


def holes(ranges: Sequence[int]) -> list[Span]:
    """Return the holes between two ranges of one boot."""
    return [span for span in _spans(ranges[1:-1]) if _one_boot(*span)]


def opened(before: Sequence[int], after: Sequence[int]) -> list[Span]:
    """Return the holes of `after` that are no part of a hole of `before`."""
    return [span for span in holes(after) if not _in_hole(before, span[0])]


def healed(before: Sequence[int], after: Sequence[int]) -> list[Span]:
    """Return the holes of `before` of which `after` leaves nothing."""
    return [span for span in holes(before) if _covered(after, span)]


def look(gap: Gap, stored: Sequence[int], now_ms: int) -> Step:
    """Return what to do about an open gap, given what is stored of its device."""
    holes_left = _outside([gap.span], _spans(stored))
    wanted = _outside(holes_left, _spans(gap.lost))
    missing = sum(past - first for first, past in holes_left)
    if not wanted:
        return Step("lost" if missing else "filled", missing, gap.asked, now_ms)
    if missing < gap.missing:
        return Step(OPEN, missing, 0, now_ms + QUIET_MS)
    if gap.asked >= ASKS_MAX:
        return Step("abandoned", missing, gap.asked, now_ms)
    due_ms = now_ms + (RETRY_MS << gap.asked)
    return Step(OPEN, missing, gap.asked + 1, due_ms, (wanted[0][0], wanted[-1][1]))


def was_opened(device_id: str, span: Span, now_ms: int) -> SeqGapOpened:
    """Return the event of a new gap."""
    return SeqGapOpened(device_id=device_id, **_numbers(span), opened_ms=now_ms)


def was_closed(device_id: str, span: Span, outcome: str, missing: int, now_ms: int) -> SeqGapClosed:
    """Return the event of what became of a gap."""
    return SeqGapClosed(
        device_id=device_id,
        **_numbers(span),
        outcome=outcome,
        missing=missing,
        closed_ms=now_ms,
    )


def _numbers(span: Span) -> dict[str, int]:
    boot, first_seq = divmod(span[0], SEQ_END)
    return {"boot": boot, "first_seq": first_seq, "past_seq": first_seq + span[1] - span[0]}


def _in_hole(ranges: Sequence[int], version: int) -> bool:
    at = bisect_right(ranges, version)
    return at % 2 == 0 and 0 < at < len(ranges) and _one_boot(ranges[at - 1], ranges[at])


def _covered(ranges: Sequence[int], span: Span) -> bool:
    at = bisect_right(ranges, span[0])
    return at % 2 == 1 and span[1] <= ranges[at]


def _one_boot(first: int, past: int) -> bool:
    return (first - 1) >> BOOT_SHIFT == past >> BOOT_SHIFT


def _spans(flat: Sequence[int]) -> list[Span]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _outside(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """Return the parts of ascending spans that the ascending `taken` leave."""
    left: list[Span] = []
    for first, past in spans:
        edges = [first]
        for start, end in taken:
            if start < past and end > first:
                edges += (max(start, first), min(end, past))
        edges.append(past)
        left += [span for span in _spans(edges) if span[0] < span[1]]
    return left
