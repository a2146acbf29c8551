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
# A gap is asked for when nothing of it has come for so long: most heal by themselves.
QUIET_MS = 30_000
# Then again after 1, 2, 4 … minutes, so often in vain: after 17 hours it is given up.
ASKS_MAX = 10
RETRY_MS = 60_000

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

    `stored`: what fell into holes, by device_no; `lost`: what devices say they have no more.
    """

    opened: list[NewGap] = field(default_factory=list)
    stored: list[tuple[int, Span]] = field(default_factory=list)
    lost: list[tuple[str, Span]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gap:
    """An open gap when it is looked at: `lost` are ranges; `asked` in vain so many times."""

    span: Span
    lost: Sequence[int]
    progress_ms: int  # when something of it came, or it was opened
    asked: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the device for these readings, and look again at `due_ms`."""

    span: Span
    due_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Something came lately: look again at `due_ms`."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class Close:
    """Ask no more: lost | abandoned. What comes all the same is taken."""

    outcome: str


def gap_stream(device_id: str, first: int) -> UUID:
    """Return the stream of the gap that begins at version `first`: opened at 1, then closed."""
    return stream_id("cold_chain.gap", device_id, first)


def added(before: Sequence[int], after: Sequence[int]) -> list[Span]:
    """Return what `after` covers and `before`, a part of it, does not."""
    # Where both change nothing changes between them.
    return _spans(sorted({*before} ^ {*after}))


def holes(ranges: Sequence[int]) -> list[Span]:
    """Return the holes between two ranges of one boot."""
    return [span for span in _spans(ranges[1:-1]) if _one_boot(*span)]


def in_hole(ranges: Sequence[int], version: int) -> bool:
    """Tell whether a version lies in a hole."""
    at = bisect_right(ranges, version)
    return at % 2 == 0 and 0 < at < len(ranges) and _one_boot(ranges[at - 1], ranges[at])


def opened(before: Sequence[int], after: Sequence[int]) -> list[Span]:
    """Return the holes of `after` that are no part of a hole of `before`."""
    return [span for span in holes(after) if not in_hole(before, span[0])]


def next_step(gap: Gap, stored: Sequence[int], now_ms: int) -> Ask | Wait | Close:
    """Return what to do about an open gap that is due, given its device's stored ranges.

    Ranges that have forgotten a hole say nothing of it: then the whole gap is asked for.
    """
    wanted = _outside(_outside([gap.span], _spans(stored)), _spans(gap.lost))
    if gap.lost and not wanted:
        return Close("lost")
    if gap.asked == 0 and now_ms < gap.progress_ms + QUIET_MS:
        return Wait(gap.progress_ms + QUIET_MS)
    if gap.asked >= ASKS_MAX:
        return Close("abandoned")
    span = (wanted[0][0], wanted[-1][1]) if wanted else gap.span
    return Ask(span, now_ms + (RETRY_MS << gap.asked))


def was_opened(device_id: str, span: Span, now_ms: int) -> SeqGapOpened:
    """Return the event of a new gap."""
    boot, first_seq = divmod(span[0], SEQ_END)
    return SeqGapOpened(
        device_id=device_id,
        boot=boot,
        first_seq=first_seq,
        past_seq=first_seq + span[1] - span[0],
        opened_ms=now_ms,
    )


def was_closed(device_id: str, span: Span, outcome: str, missing: int, now_ms: int) -> SeqGapClosed:
    """Return the event of what became of a gap."""
    boot, first_seq = divmod(span[0], SEQ_END)
    return SeqGapClosed(
        device_id=device_id,
        boot=boot,
        first_seq=first_seq,
        past_seq=first_seq + span[1] - span[0],
        outcome=outcome,
        missing=missing,
        closed_ms=now_ms,
    )


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
