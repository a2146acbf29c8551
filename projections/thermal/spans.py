"""What stays in units exposed goods to: two look-ups at each end of a stay, for thousands at once.

A unit may have several probes, and probes are moved: a stay is cut where the probes of its unit
change. In each piece every sum is that of the probe with the greatest, so that heat and cold are
never told less than any of them read; what no probe knows is unknown. Means (also the kinetic one)
are of one probe a piece, that which took most heat: sums of several would mix their times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from domain.cold_chain.model import TEMPERATURE_CHANNELS
from domain.stability.arrhenius import Floats
from domain.stability.exposure import QUANTITIES, WEIGHED, Ints, Quantity
from projections.thermal.blocks import BLOCK_MS, PROBE, taken
from projections.thermal.follow import HOLD_MAX_MS, queries
from projections.thermal.looks import Earlier, Looked, listed, look, numbers

Connection = psycopg.Connection[Any]

SUMS = WEIGHED + 1
_UNIT = 2**43  # more than any time in ms
_QUARTERS = 2  # a reading holds into the next one at most


class Spans(NamedTuple):
    """n times in units, from `t0` to `t1` (ms since 1970).

    `unit`: its place among those named, -1 = none.
    """

    unit: Ints
    t0: Ints
    t1: Ints


class Exposures(NamedTuple):
    """What n spans amount to: sums, a row a quantity; what was reached outside 2 … 8 °C.

    `hi`, `lo`: the greatest value where one was above, the least where one was below; else NaN.
    """

    sums: Floats
    hi: Floats
    lo: Floats


class Known(NamedTuple):
    """As what is known: placements up to a ledger position (None: all); rows as they were."""

    ledger: int | None = None
    rows: Earlier | None = None


NOW = Known()


class Moment(NamedTuple):
    """The telemetry position that sums stand for, and until when readings are known (ms).

    `complete`: they are exactly the sums of that position; else the follower is catching up.
    """

    position: int
    until_ms: int
    complete: bool


class Pieces(NamedTuple):
    """m parts of spans under one probe each; `piece`: equal where they are the same time.

    `since`: when the probe was put there; what it read before is of somewhere else.
    """

    span: Ints
    piece: Ints
    probe: Ints
    t0: Ints
    t1: Ints
    since: Ints


@contextmanager
def one_moment(conn: Connection) -> Iterator[Moment]:
    """See one state for the block; conn: in autocommit mode."""
    begun = conn.execute(queries.one_moment)
    try:
        begun.nextset()
        ((position, until_ms, complete),) = begun.fetchall()
        yield Moment(int(position), int(until_ms or 0), complete)
    finally:
        conn.execute(queries.over)


def exposures(
    conn: Connection, units: Sequence[str], spans: Spans, known: Known = NOW
) -> Exposures:
    """Return what spans in units amount to, as far as the follower of readings has come.

    To be asked within `one_moment`. Nothing is known of a unit without probes.
    """
    pieces = pieces_of(conn, units, spans, known.ledger)
    return together(pieces, _parts(conn, pieces, known.rows), spans.t0.size)


def together(pieces: Pieces, parts: Exposures, n: int) -> Exposures:
    """Return what n spans amount to, by the probes that told least good of each piece."""
    found = Exposures(np.zeros((SUMS, n)), np.full(n, np.nan), np.full(n, np.nan))
    if not pieces.span.size:
        return found
    begins = np.flatnonzero(np.diff(pieces.piece, prepend=-1))
    worst = np.maximum.reduceat(parts.sums, begins, axis=1)
    warmest = begins
    if begins.size < pieces.piece.size:
        most = np.repeat(worst[Quantity.MKT], np.diff(begins, append=pieces.piece.size))
        warmest = np.flatnonzero(parts.sums[Quantity.MKT] == most)
        warmest = warmest[np.diff(pieces.piece[warmest], prepend=-1) > 0]
    for row in (Quantity.DEGREES, Quantity.MKT):
        worst[row] = parts.sums[row, warmest]
    worst = np.vstack([worst, parts.sums[Quantity.KNOWN, warmest]])
    of_span = pieces.span[begins]
    firsts = np.flatnonzero(np.diff(of_span, prepend=-1))
    found.sums[:, of_span[firsts]] = np.add.reduceat(worst, firsts, axis=1)
    np.fmax.at(found.hi, pieces.span, parts.hi)
    np.fmin.at(found.lo, pieces.span, parts.lo)
    return found


def pieces_of(
    conn: Connection, units: Sequence[str], spans: Spans, ledger: int | None = None
) -> Pieces:
    """Cut spans where the probes of their units change, once for each probe there then.

    `ledger`: as placements were known at that position.
    """
    wanted: dict[str, Any] = {"units": list(units), "channels": list(TEMPERATURE_CHANNELS)}
    wanted["ledger"] = ledger
    placed: dict[int, list[tuple[int, int, int]]] = {}
    for unit, probe, since, until in conn.execute(queries.placed, wanted, binary=True):
        end = _UNIT - 1 if until is None else until
        placed.setdefault(unit, []).append((probe, max(since, 0), min(max(end, 0), _UNIT - 1)))
    begins, ends, probes, since = _epochs(placed)
    first = np.searchsorted(begins, spans.unit * _UNIT + spans.t0, "right") - 1
    first = np.where(np.append(ends, 0)[first] > spans.unit * _UNIT + spans.t0, first, first + 1)
    counts = np.searchsorted(begins, spans.unit * _UNIT + spans.t1) - first
    some = (spans.t1 > spans.t0) & (spans.unit >= 0)
    counts = np.where(some, np.maximum(counts, 0), 0)
    span = np.repeat(np.arange(counts.size), counts)
    epoch = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    sizes = np.array([len(each) for each in probes], np.int64)[epoch]
    piece = np.repeat(np.arange(span.size), sizes)
    flat = np.array([probe for each in probes for probe in each], np.int64)
    offsets = np.cumsum([0, *(len(each) for each in probes)])[:-1][epoch]
    which = np.repeat(offsets - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    t0 = np.maximum(spans.t0[span], begins[epoch] % _UNIT)[piece]
    t1 = np.minimum(spans.t1[span], ends[epoch] % _UNIT)[piece]
    return Pieces(span[piece], piece, flat[which], t0, t1, since[which])


def _epochs(
    placed: dict[int, list[tuple[int, int, int]]],
) -> tuple[Ints, Ints, list[list[int]], Ints]:
    """Return times in which the same probes stood in a unit, ascending by unit and time.

    Begins and ends, with the unit above the time, the probes of each, and since when each of these
    was there; times without any are left out.
    """
    epochs: list[tuple[int, int]] = []
    probes: list[list[int]] = []
    sinces: list[int] = []
    for unit, stays in sorted(placed.items()):
        edges = sorted({edge for _, since, until in stays for edge in (since, until)})
        for begin, end in pairwise(edges):
            there = [(probe, since) for probe, since, until in stays if since <= begin < until]
            if there:
                epochs.append((unit * _UNIT + begin, unit * _UNIT + end))
                probes.append([probe for probe, _ in there])
                sinces += [since for _, since in there]
    begins, ends = np.array(epochs, np.int64).reshape(-1, 2).T
    return begins, ends, probes, np.array(sinces, np.int64)


def _parts(conn: Connection, pieces: Pieces, rows: Earlier | None) -> Exposures:
    """Return what each piece amounts to: the sums at its end less those at its begin."""
    if not pieces.span.size:
        return Exposures(np.zeros((QUANTITIES, 0)), np.empty(0), np.empty(0))
    pieces = _after_hold(conn, pieces, rows)
    keys = np.concatenate([pieces.probe, pieces.probe])
    times = np.concatenate([pieces.t0, pieces.t1])
    order = np.lexsort((times, keys))
    fresh = np.ones(order.size, np.bool_)
    fresh[1:] = np.diff(keys[order]).astype(np.bool_) | np.diff(times[order]).astype(np.bool_)
    place = np.empty(order.size, np.int64)
    place[order] = np.cumsum(fresh) - 1
    looked = look(conn, keys[order][fresh], times[order][fresh], rows)
    begin, end = place[: pieces.t0.size], place[pieces.t0.size :]
    sums = looked.sums[:, end] - looked.sums[:, begin]
    hi, lo = _reached(conn, pieces, sums, looked, (begin, end))
    return Exposures(sums, hi, lo)


def _after_hold(conn: Connection, pieces: Pieces, rows: Earlier | None) -> Pieces:
    """Let pieces begin where what was read before the probe was put there no longer holds."""
    placed = np.flatnonzero(pieces.t0 - pieces.since < HOLD_MAX_MS)
    if not placed.size:
        return pieces
    probe, since = pieces.probe[placed], pieces.since[placed]
    begin = pieces.t0[placed]
    for _ in range(_QUARTERS):
        looked = look(conn, probe, begin, rows)
        some = np.flatnonzero(looked.row >= 0)
        blocks = taken(looked.blocks, looked.row[some])
        which = some[blocks.row]
        before = (blocks.at < since[which]) & (blocks.until > begin[which])
        np.maximum.at(begin, which[before], blocks.until[before])
    t0 = pieces.t0.copy()
    t0[placed] = np.minimum(begin, pieces.t1[placed])
    return pieces._replace(t0=t0)


def _reached(
    conn: Connection, pieces: Pieces, sums: Floats, looked: Looked, ends: tuple[Ints, Ints]
) -> tuple[Floats, Floats]:
    """Return the extremes of the pieces that left 2 … 8 °C."""
    hi, lo = np.full(pieces.t0.size, np.nan), np.full(pieces.t0.size, np.nan)
    out = np.flatnonzero((sums[Quantity.ABOVE] > 0.5) | (sums[Quantity.BELOW] > 0.5))
    if not out.size:
        return hi, lo
    least, most = _between(conn, pieces, out)
    for end in ends:
        row = looked.row[end[out]]
        some = row >= 0
        edge = taken(looked.blocks, row[some])
        which = out[some][edge.row]
        began = np.maximum(edge.at, edge.start[edge.row])
        t0, t1 = pieces.t0[which], pieces.t1[which]
        there = (began < t1) & ((edge.until > t0) | (edge.at >= t0))
        if edge.first.size > 1:
            begins = edge.first[:-1]
            high = np.maximum.reduceat(np.where(there, edge.v, -np.inf), begins)
            low = np.minimum.reduceat(np.where(there, edge.v, np.inf), begins)
            most[some] = np.maximum(most[some], high)
            least[some] = np.minimum(least[some], low)
    above, below = sums[Quantity.ABOVE, out] > 0.5, sums[Quantity.BELOW, out] > 0.5
    hi[out[above]], lo[out[below]] = most[above], least[below]
    return hi, lo


def _between(conn: Connection, pieces: Pieces, out: Ints) -> tuple[Floats, Floats]:
    """Return the extremes outside 2 … 8 °C of the whole quarters inside some pieces."""
    probe = pieces.probe[out]
    first, last = pieces.t0[out] // BLOCK_MS, pieces.t1[out] // BLOCK_MS
    names, number = np.unique(probe, return_inverse=True)
    firsts, lasts = np.full(names.size, 2**31 - 1), np.full(names.size, -1)
    np.minimum.at(firsts, number, first)
    np.maximum.at(lasts, number, last)
    asked = {"probes": listed(names), "firsts": listed(firsts), "lasts": listed(lasts)}
    row: Any = conn.execute(queries.outside, asked, binary=True).fetchone()
    key = numbers(row[0]) * PROBE + numbers(row[1])
    begins = np.searchsorted(key, probe * PROBE + first + 1)
    ends = np.maximum(np.searchsorted(key, probe * PROBE + last), begins)
    cuts = np.column_stack([begins, ends]).reshape(-1)
    least = _over(np.minimum, np.frombuffer(row[2], ">f8"), cuts, np.inf)
    return least, _over(np.maximum, np.frombuffer(row[3], ">f8"), cuts, -np.inf)


def _over(extreme: np.ufunc, values: npt.NDArray[Any], cuts: Ints, none: float) -> Floats:
    """Return the extremes of the values from one cut to the next, pair by pair."""
    padded = np.append(values.astype(np.float64), none)
    found = extreme.reduceat(padded, cuts)[::2] if cuts.size else np.empty(0)
    return np.where(cuts[1::2] > cuts[::2], found, none)
