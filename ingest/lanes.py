"""The fast lane: messages in order, of known devices, that plainly change no threshold state.

Such a message is the next of its device (or the next of what it sends again from its memory), in a
built-in JSON form, with values that its screen lets through: nearly all messages are. A block of
them is judged in columns (turn.py) and goes straight into those of a sheet; it asks the database
nothing. Every other message, and every later one of the same device in that block, is left to
careful judgement, which stores the same events and rows for the same messages; only slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from domain.shared.errors import Invalid
from ingest import quick
from ingest.block import Messages, read
from ingest.client import Packet
from ingest.clock_rules import ClockRules
from ingest.directory import Directory
from ingest.screen import Screen, channels_of
from ingest.screening import screen_of
from ingest.sheet import Lane, Sheet
from ingest.state import DeviceState, DeviceStates, Ran
from ingest.topics import parse
from ingest.turn import Turn
from store.columns import Bools

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

    def forget(self) -> None:
        """Drop everything: the registry has changed."""
        self._lanes.clear()

    def take(
        self, packets: Sequence[Packet], sheet: Sheet, now_ms: int, rows_max: int
    ) -> tuple[list[int], int]:
        """Add to the sheet what can be, until it has `rows_max` rows (its last message may exceed).

        Return the indexes of the messages that need care, and how many were looked at.
        """
        if self._generation != self._states.generation:
            self._generation = self._states.generation
            self._lanes.clear()
        found = read(packets, self._lanes, self._find, rows_max - sheet.rows)
        careful = found.unknown + [index for index, _ in found.unread]
        if found.groups:
            bounds = [self._bounds(group) for group in found.groups]
            turn = Turn(found.groups, bounds, found.unread, now_ms)
            careful += turn.at[~turn.fit].tolist()
            self._follow(turn, now_ms)
            for group, fit in turn.groups():
                self._add(group, fit, sheet, now_ms)
        return sorted(careful), found.looked_at

    def known(self, topics: Iterable[bytes]) -> list[Lane] | None:
        """Return the lanes of these topics; None where one has none in memory."""
        lanes = [self._lanes.get(topic) for topic in topics]
        found = [lane for lane in lanes if lane is not None]
        return found if len(found) == len(lanes) else None

    def hurries(self, packets: Iterable[Packet]) -> bool:
        """Tell whether a value of these may begin or end an alert, as far as a short look tells.

        Asked in other threads, of what may change meanwhile: nothing but a wait depends on it.
        """
        return any(self._hurries(topic, payload) for topic, payload, _ in packets)

    def _hurries(self, topic: bytes, payload: bytes) -> bool:
        lane = self._lanes.get(topic) or self._made(topic)
        told = quick.read(payload, lane.state.device_id) if lane is not None else None
        if lane is None or told is None:
            return False
        screen = lane.state.screen
        return screen is None or screen.is_left(told.names, told.columns)

    def _bounds(self, group: Messages) -> list[bytes]:
        """Return the row of each message's screen."""
        names = group.names
        screens = [lane.state.screen or self._screen(lane.state) for lane in group.part.lanes]
        return [screen.rows.get(names) or screen.row(names) for screen in screens]

    def _screen(self, state: DeviceState) -> Screen:
        screen = state.screen = screen_of(state, self._directory)
        return screen

    def _follow(self, turn: Turn, now_ms: int) -> None:
        """Note how far the messages have brought each lane."""
        for lane, end, last_ms in turn.runs():
            state = lane.state
            state.ranges[lane.end_index] = end
            if not state.dirty:
                self._states.touched(state)
            if now_ms >= lane.sample_ms and not lane.backfill:
                lane.sample_ms = self._clocks.note(state.device_id, now_ms, last_ms)

    def _add(self, group: Messages, fit: Bools, sheet: Sheet, now_ms: int) -> None:
        """Add the messages that are fit to the sheet, and note their newest values."""
        part = group.part if fit.all() else group.part.only(np.flatnonzero(fit))
        if not part.lanes:
            return
        channels = channels_of(group.names)
        sheet.add(channels, part)
        ends = part.starts + part.counts - 1
        states = [lane.state for lane in part.lanes]
        values = [column[ends] for column in part.columns]
        last = part.versions + part.counts - 1
        self._states.ran_on(Ran(channels, states, part.ts_ms[ends], last, values, now_ms))

    def _find(self, topic: bytes) -> Lane | None:
        """Return a new lane and keep it, where the topic can have one."""
        lane = self._made(topic)
        if lane is not None:
            if len(self._lanes) >= LANES_MAX:
                self._lanes.clear()
            self._lanes[topic] = lane
        return lane

    def _made(self, topic: bytes) -> Lane | None:
        """Return a new lane for a topic whose device is known in the registry and in memory."""
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
        return Lane(state, parts.answer("ack"), backfill=parts.kind == "backfill")
