"""The fast lane: messages in order, of known devices, that plainly change no threshold state.

Such a message is the next of its device (or the next of what it sends again from its memory), in a
built-in JSON form, with values that its screen lets through: nearly all messages are. It goes
straight into the columns of a sheet and asks the database nothing. Every other message, and every
later one of the same device in that turn, is left to careful judgement, which stores the same
events and rows for the same messages; only slower.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from domain.shared.errors import Invalid
from ingest import quick
from ingest.client import Packet
from ingest.clock_rules import ClockRules
from ingest.directory import Directory
from ingest.ranges import BOOT_SHIFT, version_of
from ingest.screening import screen_of
from ingest.sheet import Lane, Sheet
from ingest.state import DeviceStates
from ingest.topics import parse
from ingest.wire import AHEAD_MS_MAX, TS_MS_MIN

# Topics kept in memory; beyond, all are looked up again as they come.
LANES_MAX = 50_000


class Lanes:
    """The topics in memory."""

    def __init__(self, directory: Directory, states: DeviceStates, clocks: ClockRules) -> None:
        self._clocks = clocks
        self._directory = directory
        self._states = states
        self._lanes: dict[bytes, Lane] = {}
        self._generation = states.generation
        self._turn = 0

    def forget(self) -> None:
        """Drop everything: the registry has changed."""
        self._lanes.clear()

    def take(
        self, packets: Sequence[Packet], sheet: Sheet, now_ms: int, rows_max: int
    ) -> tuple[list[int], int]:
        """Add to the sheet what can be, until it has `rows_max` rows.

        Return the indexes of the messages that need care, and how many were looked at.
        """
        self._turn += 1
        if self._generation != self._states.generation:
            self._generation = self._states.generation
            self._lanes.clear()
        turn, lanes = self._turn, self._lanes
        careful: list[int] = []
        for index, (topic, payload, _) in enumerate(packets):
            if sheet.rows >= rows_max:
                return careful, index
            lane = lanes.get(topic) or self._find(topic)
            if lane is None:
                careful.append(index)
            elif lane.state.careful_turn == turn or not self._add(lane, payload, sheet, now_ms):
                lane.state.careful_turn = turn
                careful.append(index)
        return careful, len(packets)

    def _add(self, lane: Lane, payload: bytes, sheet: Sheet, now_ms: int) -> bool:
        """Add a message to the sheet, if nothing about it needs care."""
        state = lane.state
        rows = quick.read(payload, state.device_id)
        if rows is None:
            return False
        boot, seq, ts_ms, names, columns = rows
        n, first, last = len(ts_ms), ts_ms[0], ts_ms[-1]
        if first < TS_MS_MIN or last > now_ms + AHEAD_MS_MAX:
            return False
        screen = state.screen
        if screen is None:
            screen = state.screen = screen_of(state, self._directory)
        channels = screen.passed(names, columns, first, last, state.newest_ms)
        if channels is None:
            return False
        version = version_of(boot, seq)
        if not _continues(lane, version, n, boot):
            return False
        state.ranges[lane.end_index] = version + n
        state.ran_on(channels, columns, (last, version + n - 1), now_ms)
        if not state.dirty:
            self._states.touched(state)
        sheet.add(lane, version, ts_ms, channels, columns)
        if not lane.backfill:
            self._clocks.note(state.device_id, now_ms, last)
        return True

    def _find(self, topic: bytes) -> Lane | None:
        """Return the lane of a topic whose device is known in the registry and in memory."""
        try:
            parts = parse(topic.decode())
        except (Invalid, UnicodeDecodeError):
            return None
        if parts.kind not in ("tele", "backfill"):
            return None
        state = self._states.get(parts.device_id)
        device_id = parts.device_id
        if state is None or device_id in self._directory.waiting:
            return None
        if not self._directory.reports_through(parts) or state.last is None:
            return None
        if len(self._lanes) >= LANES_MAX:
            self._lanes.clear()
        ack = parts.answer("ack")
        lane = self._lanes[topic] = Lane(state, ack, backfill=parts.kind == "backfill")
        return lane


def _continues(lane: Lane, version: int, n: int, boot: int) -> bool:
    """Tell whether a run of n readings continues one that is stored, and touches no other."""
    ranges = lane.state.ranges
    at = lane.end_index
    if at >= len(ranges) or ranges[at] != version:
        at = bisect_left(ranges, version)
        if at >= len(ranges) or ranges[at] != version or at % 2 == 0:
            return False
        lane.end_index = at
    room = ranges[at + 1] if at + 1 < len(ranges) else (boot + 1) << BOOT_SHIFT
    return version + n < room
