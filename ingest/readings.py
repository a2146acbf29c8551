"""Which readings of a batch are new: rows and one event a contiguous new run.

A reading outside the stored ranges of its device is new. One inside is held against the log: it is
stored there, the same or with another value, which is told as a conflict (what was stored first
stands); or it belongs into a hole that the ranges forgot, and is new as well. Where a device
numbers nothing, the rows of the same times tell: of a moment each channel has one value, in
however many messages the channels come.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from domain.alerting.watch import to_datetime
from domain.cold_chain.events import (
    BOOT_UNSEQUENCED,
    ReadingConflict,
    ReadingsRecorded,
    boot_of_channels,
)
from domain.shared.ids import stream_id
from ingest import gaps
from ingest.batch import Batch, Item, Row
from ingest.ranges import add, bound, new_runs, version_of
from ingest.rows import envelope_of, queries
from ingest.state import Values, values_of
from ingest.wire import Message

Connection = psycopg.Connection[Any]
# What is stored of moments of devices that number nothing: by (device_no, seq), by boot.
Moments = dict[tuple[int, int], dict[int, Values]]


def device_stream(device_id: str) -> UUID:
    """Return the telemetry stream of a device."""
    return stream_id("cold_chain.device", device_id)


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows `begin … end-1` of a message."""

    item: Item
    message: Message
    begin: int
    end: int

    @property
    def versions(self) -> tuple[int, int]:
        """Where the run lies on the line of versions, half-open; it has no gap."""
        first = version_of(self.message.boot, self.message.seqs[self.begin])
        return first, first + self.end - self.begin


def take_readings(batch: Batch, conn: Connection, messages: Sequence[tuple[Item, Message]]) -> None:
    """Turn new readings into rows and events; count repeated ones, tell conflicting ones."""
    batch.load(conn, {message.device_id for _, message in messages}, numbering=True)
    at_same_time = _stored_at_same_time(batch, conn, messages)
    repeated: list[_Run] = []
    for item, message in messages:
        if message.sequenced:
            repeated += _take_sequenced(batch, item, message)
        else:
            _take_unsequenced(batch, item, message, at_same_time)
    if repeated:
        _hold_against_log(batch, conn, repeated)


def _take_sequenced(batch: Batch, item: Item, message: Message) -> list[_Run]:
    """Store the runs that no range covers; return the others."""
    state = batch.states[message.device_id]
    before = list(state.ranges)
    repeated: list[_Run] = []
    for run in _contiguous(item, message):
        first, past = run.versions
        at = run.begin
        for start, end in new_runs(state.ranges, first, past - first):
            begin, stop = run.begin + start - first, run.begin + end - first
            if at < begin:
                repeated.append(_Run(item, message, at, begin))
            _store(batch, item, message, range(begin, stop))
            add(state.ranges, start, end)
            at = stop
        if at < run.end:
            repeated.append(_Run(item, message, at, run.end))
    gaps.note(batch.gaps, batch.directory, state, before)
    bound(state.ranges)
    item.repeated += sum(run.end - run.begin for run in repeated)
    return repeated


def _contiguous(item: Item, message: Message) -> Iterator[_Run]:
    seqs = message.seqs
    if isinstance(seqs, range):
        yield _Run(item, message, 0, len(seqs))
        return
    begin = 0
    for at in range(1, len(seqs) + 1):
        if at == len(seqs) or seqs[at] != seqs[at - 1] + 1:
            yield _Run(item, message, begin, at)
            begin = at


def _store(batch: Batch, item: Item, message: Message, indexes: Sequence[int]) -> None:
    """Add rows of a message: the event that holds them, and a row each."""
    state = batch.states[message.device_id]
    first = message.seqs[indexes[0]]
    backfill = item.topic.kind == "backfill" or message.backfill
    event = ReadingsRecorded(
        device_id=message.device_id,
        boot=message.boot,
        seq=first,
        ts_ms=tuple(message.ts_ms[i] for i in indexes),
        columns={
            channel: tuple(values[i] for i in indexes)
            for channel, values in message.columns.items()
        },
        received_ms=batch.now_ms,
        backfill=backfill,
    )
    batch.add_telemetry(device_stream(message.device_id), version_of(message.boot, first), event)
    for i in indexes:
        seq, ts_ms, row = message.seqs[i], message.ts_ms[i], _row_values(message, i)
        batch.rows.append(Row(state, backfill, message.boot, seq, ts_ms, row))
        state.saw((ts_ms, message.boot, seq), row)
        state.received_ms = batch.now_ms
    item.new += len(indexes)


def _row_values(message: Message, i: int) -> dict[str, float | None]:
    return {channel: values[i] for channel, values in message.columns.items()}


def _stored_at_same_time(
    batch: Batch, conn: Connection, messages: Sequence[tuple[Item, Message]]
) -> Moments:
    """Return the stored rows that unnumbered readings may repeat or add to.

    A reading later than all that is stored of its device cannot: that is the common case.
    """
    numbers: list[int] = []
    times = []
    moments: Moments = defaultdict(dict)
    for _, message in messages:
        state = batch.states[message.device_id]
        if message.sequenced or state.ts_ms is None:
            continue
        old = [ts_ms for ts_ms in message.ts_ms if ts_ms <= state.ts_ms]
        numbers += [state.device_no] * len(old)
        times += [to_datetime(ts_ms) for ts_ms in old]
    if not numbers:
        return moments
    asked = {"numbers": numbers, "times": times, "boot": BOOT_UNSEQUENCED}
    asked |= {"first": min(times), "last": max(times)}
    with conn.cursor(row_factory=dict_row) as cur:
        for row in cur.execute(queries.readings_at, asked):
            moments[row["device_no"], row["seq"]][row["boot"]] = values_of(row)
    return moments


def _take_unsequenced(batch: Batch, item: Item, message: Message, stored: Moments) -> None:
    """Store what is not known of each moment; `stored` gains it for the messages after."""
    device_no = batch.states[message.device_id].device_no
    fresh: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)  # rows by their new channels
    for i, seq in enumerate(message.seqs):
        row, told = _row_values(message, i), stored[device_no, seq]
        untold = _untold(told, row)
        if untold:
            told[boot_of_channels(untold)] = untold
            fresh[tuple(untold)].append(i)
            continue
        item.repeated += 1
        if untold is None:
            _add_conflict(batch, item, message, i, (message.ts_ms[i], _joined(told)))
    for channels, indexes in fresh.items():
        columns = {channel: message.columns[channel] for channel in channels}
        part = replace(message, boot=boot_of_channels(channels), columns=columns)
        _store(batch, item, part, indexes)


def _untold(told: Mapping[int, Values], row: Values) -> Values | None:
    """Return what a moment does not hold yet of a row; None when the row contradicts it.

    told: by boot what is stored of the moment. Rows do not tell a channel that has no value from
    one that is not named: the boot does, which stands for the channels.
    """
    boot = boot_of_channels(row)
    if boot in told:
        return {} if _same(told[boot], row) else None
    known = _joined(told)
    if any(known[channel] != row[channel] for channel in known.keys() & row.keys()):
        return None
    rest = {channel: value for channel, value in row.items() if channel not in known}
    return rest if len(rest) in {0, len(row)} else _untold(told, rest)


def _joined(told: Mapping[int, Values]) -> dict[str, float | None]:
    """Return every channel's value at a moment; a channel without one is left out."""
    every = (pair for values in told.values() for pair in values.items())
    return {channel: value for channel, value in every if value is not None}


def relearn(batch: Batch, conn: Connection) -> None:
    """Take in from the log what the ranges of the batch's devices do not know of its readings.

    A step for messages that were refused by the log's key: ranges that lag behind the log must not
    make a repeated reading look like a broken message.
    """
    messages = batch.messages
    batch.load(conn, {message.device_id for _, message in messages}, numbering=True)
    runs = [
        run for item, message in messages if message.sequenced for run in _contiguous(item, message)
    ]
    states = {device_stream(run.message.device_id): run.message.device_id for run in runs}
    for stream, version in _stored_rows(batch, conn, runs) if runs else ():
        add(batch.states[states[stream]].ranges, version, version + 1)


def _hold_against_log(batch: Batch, conn: Connection, covered: Sequence[_Run]) -> None:
    """Compare rows that the ranges cover with the stored ones, by one select for the batch."""
    kept = _stored_rows(batch, conn, covered)
    for run in covered:
        message = run.message
        stream = device_stream(message.device_id)
        begin = run.begin  # of the present stretch of rows that are not stored
        for i in range(run.begin, run.end):
            key = (stream, version_of(message.boot, message.seqs[i]))
            row = _row_values(message, i)
            known = kept.get(key)
            if known is None:
                kept[key] = (message.ts_ms[i], row)
                continue
            _store_forgotten(batch, run, begin, i)
            begin = i + 1
            if known[0] != message.ts_ms[i] or not _same(known[1], row):
                _add_conflict(batch, run.item, message, i, known)
        _store_forgotten(batch, run, begin, run.end)


def _store_forgotten(batch: Batch, run: _Run, begin: int, end: int) -> None:
    """Store rows of a hole that the ranges forgot."""
    if begin < end:
        run.item.repeated -= end - begin
        first, _ = run.versions
        state = batch.states[run.message.device_id]
        gaps.note_stored(batch.gaps, state, first + begin - run.begin, first + end - run.begin)
        _store(batch, run.item, run.message, range(begin, end))


def _stored_rows(
    batch: Batch, conn: Connection, runs: Sequence[_Run]
) -> dict[tuple[UUID, int], tuple[int, Values]]:
    streams = [device_stream(run.message.device_id) for run in runs]
    firsts, pasts = zip(*(run.versions for run in runs), strict=True)
    found = conn.execute(queries.events_covering, (streams, list(firsts), list(pasts))).fetchall()
    of_devices = set(streams)
    here = [e for (stream, _), e in batch.telemetry.items() if stream in of_devices]
    rows: dict[tuple[UUID, int], tuple[int, Values]] = {}
    for envelope in (*map(envelope_of, found), *here):
        event = envelope.event
        if isinstance(event, ReadingsRecorded):
            for n, ts_ms in enumerate(event.ts_ms):
                values = {channel: column[n] for channel, column in event.columns.items()}
                rows[envelope.originator_id, envelope.originator_version + n] = (ts_ms, values)
    return rows


def _same(one: Values, other: Values) -> bool:
    """Tell whether two readings say the same; a channel without a value says nothing."""
    return all(one.get(channel) == other.get(channel) for channel in one.keys() | other.keys())


def _add_conflict(
    batch: Batch, item: Item, message: Message, i: int, known: tuple[int, Values]
) -> None:
    item.repeated -= 1
    item.conflicting += 1
    received = _as_json(message.ts_ms[i], _row_values(message, i))
    event = ReadingConflict(
        device_id=message.device_id,
        boot=message.boot,
        seq=message.seqs[i],
        stored=_as_json(*known),
        received=received,
        received_ms=batch.now_ms,
    )
    version = version_of(message.boot, message.seqs[i])
    digest = hashlib.sha256(received.encode()).hexdigest()
    stream = stream_id("cold_chain.reading_conflict", message.device_id, version, digest)
    batch.conflicts[stream] = event


def _as_json(ts_ms: int, values: Values) -> str:
    return msgspec.json.encode({"ts": ts_ms, "m": dict(sorted(values.items()))}).decode()
