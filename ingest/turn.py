"""The messages of one block, judged together: which of them are fit for the fast lane.

A message is fit when its values and times lie within its screen, when it continues what is stored
of its device (or an earlier fit message of the block does), and when no message of the device
before it in the block was unfit. (A message through a gateway that is not the device's has no
lane, and does not count.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ingest.block import Messages
from ingest.ranges import BOOT_SHIFT
from ingest.sheet import Lane
from ingest.wire import AHEAD_MS_MAX, TS_MS_MIN
from store.columns import Bools, Floats, Ints

T = TypeVar("T", bound=np.generic)
Bounds = Sequence[bytes]  # rows of Screen.row


class Turn:
    """m messages with a lane, group by group. at (m): indexes in the block. fit (m)."""

    def __init__(
        self,
        groups: Sequence[Messages],
        bounds: Sequence[Bounds],
        unread: Sequence[tuple[int, Lane]],
        now_ms: int,
    ) -> None:
        """`bounds`: of each group those of its messages.

        unread: index and lane of messages that need care, whatever these say.
        """
        self._groups = groups
        self._lanes = [lane for group in groups for lane in group.part.lanes]
        self.at = _of_all([group.at for group in groups])
        self._versions = _of_all([group.part.versions for group in groups])
        self._ends = self._versions + _of_all([group.part.counts for group in groups])
        judged = [_judged(*each, now_ms) for each in zip(groups, bounds, strict=True)]
        first_ms, last_ms, fit, calm = zip(*judged, strict=True)
        self._first_ms, self._last_ms = _of_all(first_ms), _of_all(last_ms)
        self._devices = np.array([lane.device_no for lane in self._lanes])
        self._make_runs()
        in_time = _of_all(calm)
        if not in_time.all():
            in_time = in_time | self._is_newest()
        self.fit = _of_all(fit) & self._continues() & in_time
        self._leave_the_rest(unread)

    def runs(self) -> Iterator[tuple[Lane, int, int]]:
        """Give each lane that has fit messages, its new end and the time of its last reading."""
        numbers = np.add.reduceat(self.fit[self._order].astype(np.int64), self._starts)
        kept = np.flatnonzero(numbers)
        lasts = self._order[self._starts[kept] + numbers[kept] - 1]
        lanes = [self._run_lanes[n] for n in kept.tolist()]
        return zip(lanes, self._ends[lasts].tolist(), self._last_ms[lasts].tolist(), strict=True)

    def groups(self) -> Iterator[tuple[Messages, Bools]]:
        """Give each group and which of its messages are fit."""
        at = 0
        for group in self._groups:
            yield group, self.fit[at : at + len(group.at)]
            at += len(group.at)

    def _make_runs(self) -> None:
        """Find the messages of each lane in order of arrival.

        A lane is known by its device and topic: `_order` (m) has one after the other, which begin
        at `_starts`.
        """
        keys = self._devices * 2 + np.array([lane.backfill for lane in self._lanes])
        self._order = np.lexsort((self.at, keys))
        opens = np.append(True, np.diff(keys[self._order]) != 0)
        self._starts = np.flatnonzero(opens)
        self._run_lanes = [self._lanes[n] for n in self._order[self._starts].tolist()]

    def _continues(self) -> Bools:
        """Tell which messages continue their lane or its last message, and touch nothing beyond."""
        versions, ends = self._versions[self._order], self._ends[self._order]
        starts = self._starts
        first = versions[starts].tolist()
        rooms = np.array([_room(*each) for each in zip(self._run_lanes, first, strict=True)])
        self._part_lanes(rooms)
        continued = np.append(True, versions[1:] == ends[:-1])
        continued[starts] = True  # a first message without room before it has none at all
        room = np.repeat(rooms, np.diff(np.append(starts, len(versions))))
        found = np.empty(len(versions), dtype=np.bool_)
        found[self._order] = continued & (ends < room)
        return found

    def _part_lanes(self, rooms: Ints) -> None:
        """Take the room from a second lane of a device that continues the same range."""
        devices = self._devices[self._order[self._starts]].tolist()
        if len(set(devices)) == len(devices):
            return
        taken = set[tuple[int, int]]()
        for n, (device, lane) in enumerate(zip(devices, self._run_lanes, strict=True)):
            place = (device, lane.end_index)
            if rooms[n] < 0:
                continue
            if place in taken:
                rooms[n] = -1
            taken.add(place)

    def _is_newest(self) -> Bools:
        """Tell which messages are newer than all that is known of their device.

        What ran on since its state was last folded does not count, and need not: episodes stored
        lie before that, and what ran on began none.
        """
        order = np.lexsort((self.at, self._devices))
        devices = self._devices[order]
        opens = np.append(True, np.diff(devices) != 0)
        before = np.append(0, self._last_ms[order][:-1])
        before[opens] = [self._lanes[n].state.newest_ms for n in order[opens].tolist()]
        found = np.empty(len(order), dtype=np.bool_)
        found[order] = self._first_ms[order] > before
        return found

    def _leave_the_rest(self, unread: Sequence[tuple[int, Lane]]) -> None:
        """Make unfit what comes after an unfit message of the same device."""
        first = dict[int, int]()
        unfit = [(lane.device_no, index) for index, lane in unread]
        unfit += zip(self._devices[~self.fit].tolist(), self.at[~self.fit].tolist(), strict=True)
        for device, index in unfit:
            first[device] = min(index, first.get(device, index))
        for device, index in first.items():
            self.fit &= (self._devices != device) | (self.at < index)


def _judged(group: Messages, bounds: Bounds, now_ms: int) -> tuple[Ints, Ints, Bools, Bools]:
    """Return of each message its first and its last time and whether it is fit by itself.

    And lastly whether it lies outside every episode stored, so that it may come late.
    """
    part = group.part
    limits = np.frombuffer(b"".join(bounds)).reshape(len(bounds), -1)
    starts = part.starts
    first_ms, last_ms = part.ts_ms[starts], part.ts_ms[starts + part.counts - 1]
    fit = group.ordinary & (first_ms >= np.maximum(limits[:, 0], TS_MS_MIN))
    fit &= (last_ms < limits[:, 1]) & (last_ms <= now_ms + AHEAD_MS_MAX)
    for n, values in enumerate(part.columns):
        lowest, highest = _extremes(values, starts)
        fit &= (lowest >= limits[:, 3 + 2 * n]) & (highest <= limits[:, 4 + 2 * n])
    return first_ms, last_ms, fit, first_ms > limits[:, 2]


def _extremes(values: Floats, starts: Ints) -> tuple[Floats, Floats]:
    """Return the lowest and the highest value of each message; NaN where one is missing."""
    if len(starts) == len(values):
        return values, values
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def _room(lane: Lane, version: int) -> int:
    """Return where the next range begins after a stored one that ends here; -1 if none ends here.

    The lane's `end_index` then is that of this end.
    """
    ranges = lane.state.ranges
    at = lane.end_index
    if at >= len(ranges) or ranges[at] != version:
        at = bisect_left(ranges, version)
        if at >= len(ranges) or ranges[at] != version or at % 2 == 0:
            return -1
        lane.end_index = at
    past_boot = ((version >> BOOT_SHIFT) + 1) << BOOT_SHIFT
    return min(ranges[at + 1], past_boot) if at + 1 < len(ranges) else past_boot


def _of_all(arrays: Sequence[npt.NDArray[T]]) -> npt.NDArray[T]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
