"""The readable messages of a block in columns: nearly all of them decoded at once.

Only the built-in JSON forms are read here (quick.py), the flat one on the shortest way. What does
not look entirely ordinary is left to careful judgement; nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter

import msgspec
import numpy as np

from domain.cold_chain.model import CHANNEL_ALIASES
from ingest import quick
from ingest.client import Packet
from ingest.ranges import BOOT_SHIFT, version_of
from ingest.sheet import Lane, Part
from ingest.state import TYPED
from ingest.times import parsed
from ingest.wire import MESSAGE_BYTES_MAX, READINGS_MAX, Boot, Seq
from store.columns import Bools, Ints, starts_of

Names = tuple[str, ...]

_OBJECT = ord("{")
_KNOWN = frozenset(TYPED) | CHANNEL_ALIASES.keys()
NAMES_MAX = 16  # sets of channels of a block


class _Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A reading of the flat form with nothing beside it."""

    ts: str
    seq: Seq
    boot: Boot = 0
    temperature: float | None = None
    humidity: float | None = None


_decode_one = msgspec.json.Decoder(_Plain).decode
_decode_many = msgspec.json.Decoder(list[_Plain]).decode


@dataclass(slots=True)
class Messages:
    """m messages that name the same channels. at: their indexes in the block (m), ascending.

    part: a column a name; NaN for no value. ordinary (m): numbered in a row, with times that
    strictly ascend.
    """

    names: Names
    at: Ints
    part: Part
    ordinary: Bools


@dataclass(slots=True)
class Read:
    """What was read of a block: `looked_at` messages from its beginning.

    unknown: indexes of those without a lane. unread: index and lane of those that need care.
    """

    looked_at: int
    groups: list[Messages] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    unread: list[tuple[int, Lane]] = field(default_factory=list)


def read(
    packets: Sequence[Packet],
    lanes: Mapping[bytes, Lane],
    find: Callable[[bytes], Lane | None],
    rows_max: int,
) -> Read:
    """Read messages until there are `rows_max` readings; `find` gives a lane not known yet."""
    told, plains, others = Read(len(packets)), _Plains(), _Others()
    rows = 0
    for index, (topic, payload, _) in enumerate(packets):
        if rows >= rows_max:
            told.looked_at = index
            break
        lane = lanes.get(topic) or find(topic)
        if lane is None:
            told.unknown.append(index)
            continue
        n = plains.add(index, lane, payload) or others.add(index, lane, payload)
        if not n:
            told.unread.append((index, lane))
        rows += n
    if plains.at:
        for index, lane in plains.timed():
            if not others.add(index, lane, packets[index][1]):
                told.unread.append((index, lane))
        told.groups += plains.messages()
    told.groups += others.messages()
    return told


@dataclass(slots=True)
class _Plains:
    """Messages of the flat form, as objects, and the times of their readings."""

    ts_ms: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    at: list[int] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    readings: list[_Plain] = field(default_factory=list)

    def add(self, index: int, lane: Lane, payload: bytes) -> int:
        """Add a message when it is of this form; return the number of its readings, else 0."""
        if len(payload) > MESSAGE_BYTES_MAX:
            return 0
        try:
            if payload[0] == _OBJECT:
                self.readings.append(_decode_one(payload))
                n = 1
            else:
                found = _decode_many(payload)
                n = len(found)
                if not 0 < n <= READINGS_MAX:
                    return 0
                self.readings += found
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
            return 0
        self.at.append(index)
        self.lanes.append(lane)
        self.counts.append(n)
        return n

    def timed(self) -> list[tuple[int, Lane]]:
        """Read all times; drop and return the messages that have one of another form."""
        self.ts_ms, known = parsed([each.ts for each in self.readings])
        if known.all():
            return []
        counts = np.array(self.counts)
        kept = np.logical_and.reduceat(known, starts_of(counts))
        odd = [(self.at[n], self.lanes[n]) for n in np.flatnonzero(~kept).tolist()]
        readings_kept = np.repeat(kept, counts)
        self.ts_ms = self.ts_ms[readings_kept]
        self.readings = list(compress(self.readings, readings_kept))
        self.counts = counts[kept].tolist()
        self.at = list(compress(self.at, kept))
        self.lanes = list(compress(self.lanes, kept))
        return odd

    def messages(self) -> list[Messages]:
        """Return those that are left in columns, in a group of their own."""
        if not self.at:
            return []
        readings, ts_ms = self.readings, self.ts_ms
        counts = np.array(self.counts)
        starts = starts_of(counts)
        seqs = np.array([each.seq for each in readings])
        boots = np.array([each.boot for each in readings])
        ordinary = np.ones(len(counts), dtype=np.bool_)
        if len(readings) > len(counts):
            follows = (np.diff(seqs) == 1) & (np.diff(boots) == 0)
            ordinary = _whole(follows, starts) & _ascending(ts_ms, starts)
        columns = [
            np.array([each.temperature for each in readings], dtype=np.float64),
            np.array([each.humidity for each in readings], dtype=np.float64),
        ]
        versions = (boots[starts] << BOOT_SHIFT) + seqs[starts]
        part = Part(self.lanes, versions, counts, ts_ms, columns)
        return [Messages(quick.FLAT_NAMES, np.array(self.at), part, ordinary)]


class _Others:
    """Messages of the other forms, by the channels that they name.

    Only those that can pass a screen, and only so many sets of them: each is judged by itself,
    which costs as much as many messages, and senders can name what they like.
    """

    def __init__(self) -> None:
        self._found: dict[Names, list[tuple[int, Lane, quick.Rows]]] = {}

    def add(self, index: int, lane: Lane, payload: bytes) -> int:
        """Add a message when it can be read; return the number of its readings, else 0."""
        rows = quick.read(payload, lane.state.device_id)
        if rows is None or len(rows.names) > len(TYPED) or not _KNOWN.issuperset(rows.names):
            return 0
        if rows.names not in self._found and len(self._found) >= NAMES_MAX:
            return 0
        self._found.setdefault(rows.names, []).append((index, lane, rows))
        return len(rows.ts_ms)

    def messages(self) -> list[Messages]:
        """Return them in columns."""
        for found in self._found.values():
            found.sort(key=itemgetter(0))
        return [_in_columns(names, found) for names, found in self._found.items()]


def _in_columns(names: Names, found: Sequence[tuple[int, Lane, quick.Rows]]) -> Messages:
    at, lanes, rows = zip(*found, strict=True)
    part = Part(
        lanes,
        np.array([version_of(each.boot, each.seq) for each in rows]),
        np.array([len(each.ts_ms) for each in rows]),
        np.array([ts for each in rows for ts in each.ts_ms]),
        [
            np.array([v for each in rows for v in each.columns[n]], dtype=np.float64)
            for n in range(len(names))
        ],
    )
    return Messages(names, np.array(at), part, np.ones(len(rows), dtype=np.bool_))


def _whole(pairs: Bools, starts: Ints) -> Bools:
    """Tell of each message whether all pairs of neighbours within it are as told.

    pairs: of each reading but the last, whether it and the next one are.
    """
    within = np.append(pairs, True)
    within[starts[1:] - 1] = True  # the last of a message and the first of the next one
    found: Bools = np.logical_and.reduceat(within, starts)
    return found


def _ascending(ts_ms: Ints, starts: Ints) -> Bools:
    steps = np.diff(ts_ms)
    ends = np.append(starts[1:], len(ts_ms)) - 1
    found: Bools = _whole(steps > 0, starts) & (ts_ms[ends] - ts_ms[starts] <= quick.SPAN_MS_MAX)
    return found
