"""What codes were exposed to, out of where they were: each stay that codes share is summed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.stability.exposure import Ints
from domain.traceability.presence import OPEN_MS, Presence
from projections.thermal.spans import NOW, SUMS, Connection, Exposures, Known, Spans, exposures

_SPAN = 2**31  # more than there are facts of one lot
_TIME = 2**43  # more than any time in ms


class Histories(NamedTuple):
    """What n codes went through, in the order of `Presence.code`.

    `begin`, `end`: ms since 1970, 0 where nobody knows where a code was.
    """

    exposed: Exposures
    begin: Ints
    end: Ints


def histories(
    conn: Connection,
    presence: Presence,
    units: Sequence[str],
    until_ms: int,
    known: Known = NOW,
) -> Histories:
    """Return what codes went through up to a moment, in all their stays.

    `units`: what the numbers of units stand for, the first for none. To be asked within
    `one_moment`.
    """
    groups = int(presence.of_group.max(initial=-1)) + 1
    firsts = np.searchsorted(presence.group, np.arange(groups + 1))
    begins = firsts[presence.of_group]
    last = _last(presence)
    some = last >= begins
    n = presence.code.size
    end, begin = np.zeros(n, np.int64), np.zeros(n, np.int64)
    until = np.minimum(presence.t1[last[some]], presence.left_ms[some])
    until = np.where(until == OPEN_MS, until_ms, until)
    begin[some] = presence.t0[begins[some]]
    end[some] = np.maximum(until, presence.t0[last[some]])
    ends, of_end = np.unique(last[some] * _TIME + end[some], return_inverse=True)
    of, until = np.divmod(ends, _TIME)
    stays = presence.t0.size
    closed = np.where(presence.t1 == OPEN_MS, presence.t0, presence.t1)
    spans = Spans(
        np.concatenate([presence.unit, presence.unit[of]]) - 1,
        np.concatenate([presence.t0, presence.t0[of]]),
        np.concatenate([closed, until]),
    )
    found = exposures(conn, units[1:], spans, known)
    before = _before(found, firsts, stays)
    of_last = stays + of_end
    exposed = Exposures(np.zeros((SUMS, n)), np.full(n, np.nan), np.full(n, np.nan))
    exposed.sums[:, some] = before.sums[:, last[some]] + found.sums[:, of_last]
    exposed.hi[some] = np.fmax(before.hi[last[some]], found.hi[of_last])
    exposed.lo[some] = np.fmin(before.lo[last[some]], found.lo[of_last])
    return Histories(exposed, begin, end)


def _before(found: Exposures, firsts: Ints, stays: int) -> Exposures:
    """Return what groups went through before each of their stays."""
    sums = np.zeros((SUMS, stays))
    hi, lo = np.full(stays, np.nan), np.full(stays, np.nan)
    lengths = np.diff(firsts)
    # Stay after stay, all groups at once: sums must not depend on which groups stand beside.
    for n in range(1, int(lengths.max(initial=0))):
        now = firsts[:-1][lengths > n] + n
        sums[:, now] = sums[:, now - 1] + found.sums[:, now - 1]
        hi[now] = np.fmax(hi[now - 1], found.hi[now - 1])
        lo[now] = np.fmin(lo[now - 1], found.lo[now - 1])
    return Exposures(sums, hi, lo)


def of_one(presence: Presence, until_ms: int) -> tuple[Ints, Spans]:
    """Return the stays of the only code there is, and when and in which unit each was."""
    stays = np.flatnonzero(presence.since < presence.left[0])
    t1 = np.minimum(presence.t1[stays], presence.left_ms[0])
    t1 = np.where(t1 == OPEN_MS, until_ms, t1)
    t0 = presence.t0[stays]
    return stays, Spans(presence.unit[stays] - 1, t0, np.maximum(t1, t0))


def last_sites(presence: Presence) -> Ints:
    """Return where each code was last: the number of the site, 0 = nowhere."""
    firsts = np.searchsorted(presence.group, presence.of_group)
    last = _last(presence)
    return np.where(last >= firsts, np.append(presence.site, 0)[last], 0)


def chosen(presence: Presence, codes: npt.NDArray[np.bool_]) -> Presence:
    """Return the same of some of the codes."""
    return presence._replace(
        code=presence.code[codes],
        of_group=presence.of_group[codes],
        left=presence.left[codes],
        left_ms=presence.left_ms[codes],
    )


def _last(presence: Presence) -> Ints:
    """Return the last stay of each code; that before its group's first where there is none."""
    key = presence.group * _SPAN + presence.since
    return np.searchsorted(key, presence.of_group * _SPAN + presence.left) - 1
