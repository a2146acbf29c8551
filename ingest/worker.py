"""The intake: what becomes of messages, in which transaction, and what happens when one fails.

Messages of the fast lane make a sheet, all others go through the steps of careful judgement as a
batch; each is one transaction and is answered after it. States run ahead of their commit. When a
commit fails they are forgotten, and its messages are taken anew once the database is back, from
what is stored then: had the lost commit succeeded after all, they are repetitions. A message that
nothing but itself makes fail is found by halving and kept in quarantine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event as StopEvent
from typing import TypeGuard, TypeVar

import psycopg
import structlog
from psycopg.errors import UniqueViolation

from domain.alerting.watch import to_ms
from domain.cold_chain.events import ReadingsRecorded
from domain.shared.clock import Clock
from domain.shared.events import Event
from ingest import commands, metrics
from ingest.answers import Answer, Owed, answers
from ingest.batch import Batch, Item, Received
from ingest.client import Packet
from ingest.clock_rules import ClockRules
from ingest.commands import Publication
from ingest.decode import decode, topic_of
from ingest.dedupe import dedupe
from ingest.directory import Directory
from ingest.judge import judge
from ingest.lanes import Lanes
from ingest.link import Connection, Link
from ingest.quarantine import replays, set_aside
from ingest.readings import relearn
from ingest.refusals import Refused
from ingest.rows import envelope_of, queries
from ingest.sheet import Sheet
from ingest.state import DeviceState, DeviceStates, to_row
from ingest.write import Entry, Partitions, write, write_states
from store.transient import is_transient

BATCH_NUMBERS = 1_024  # taken from the sequence at once
RECALL_EVENTS = 2_000  # read at once
# Messages of a careful transaction: it may hold the ledger's lock, which people wait for.
CAREFUL_MAX = 500
# Seconds after which messages get their turn again while many devices are to be judged anew.
SETTLE_S = 1.0
# Seconds after which messages get their turn again while many of the quarantine are taken again.
REPLAY_S = 0.5
# Seconds that the states of the fast lane may stay unwritten, unless they are few.
FLUSH_S = 1.0
FEW_STATES = 64
# Seconds between two notes of a worker that has nothing to store, of what it need not recall.
IDLE_S = 60.0
SHEET_ROWS = 10_000
# Numbers that must be there: a block can become as many transactions, and fail and come again.
NUMBERS_MIN = 8

T = TypeVar("T")
log = structlog.get_logger()

# What a careful batch goes through before it is written; each step adds to it.
Step = Callable[[Batch, Connection], None]
STEPS: tuple[Step, ...] = (decode, dedupe, judge, set_aside)


class Worker:
    """Owns the connection that writes, the lock on it, and what is kept in memory.

    All of it is used by one thread at a time: `commit` and `answer` may run in another one than the
    rest, which then may `prepare` and `finished` meanwhile and nothing else.
    """

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        stop: StopEvent,
        *,
        number: int = 0,
        regions: Sequence[str] = (),
    ) -> None:
        """Name the worker among several by `number`; it owns `regions`, all when none is named."""
        self._link = Link(dsn, stop, worker=number, lost=self._lost)
        self._clock = clock
        self._number_of_worker = number
        self._regions = tuple(regions)
        self._numbers: list[int] = []
        self._directory = Directory(regions=self._regions, strays=number == 0)
        self._states = DeviceStates()
        self._clocks = ClockRules(clock)
        self._lanes = Lanes(self._directory, self._states, self._clocks)
        self._sheet = Sheet()
        self._partitions = Partitions()
        self._owed = Owed()
        self._recalled = False
        self._flushed = 0.0
        self._ledger_top = 0
        self._all_settled = True

    def start(self) -> None:
        """Take the database and learn the registry. AlreadyRunning when another ingest has it."""
        self._persist(self._settle)
        self._persist(lambda conn: commands.ask_again(conn, self._regions, self._clock.now()))

    def close(self) -> None:
        """Write what is unwritten, where the database is there; give connection and lock back."""
        try:
            if self._recalled:  # else what is stored is not known here, and must be recalled
                self._flush(self._link.present)
        except psycopg.Error as error:
            log.warning("states_unwritten", error=str(error).strip())
        self._link.close()

    # --- one thing after the other ---

    def take(self, received: Sequence[Received]) -> list[Answer]:
        """Store messages of one connection; return what senders are told. Stopped while waiting."""
        return self._take(received, self._store)

    def take_carefully(self, received: Sequence[Received]) -> list[Answer]:
        """Do the same for messages that the fast lane has left."""
        return self._take(received, self._store_batch)

    def _take(
        self,
        received: Sequence[Received],
        store: Callable[[Connection, Sequence[Received]], list[Answer]],
    ) -> list[Answer]:
        told: list[Answer] = []
        for n in range(0, len(received), CAREFUL_MAX):
            self.settle()
            part = received[n : n + CAREFUL_MAX]
            told += self._persist(lambda conn, of=part: self._store_halving(conn, of, store))  # type: ignore[misc]
        return told

    def replay(self) -> list[Answer]:
        """Take again what somebody asked for in quarantine, and return what senders are told."""
        told: list[Answer] = []
        until = time.monotonic() + REPLAY_S
        while asked := self._persist(self._replays):
            told += self.take_carefully(asked)
            if time.monotonic() > until:
                break
        return told

    def due(self, *, asking: bool = True) -> list[Publication]:
        """Return what is to be said to devices and gateways now; it counts as said.

        asking: for missing readings too.
        """
        asked = self._persist(lambda conn: self._due(conn, asking=asking))
        return [*asked, *(Publication(*told, 0) for told in self._directory.nodes.due())]

    @property
    def vendors(self) -> tuple[list[str], list[str]]:
        """The filters of vendors' topics: those to take, those no longer to take."""
        return self._directory.profiles.filters(), self._directory.profiles.dropped()

    def show(self, state: str) -> None:
        """Say beside the session's name in what state ingest is: health checks read it there."""
        self._persist(lambda conn: self._link.show(conn, state))

    def settle(self) -> None:
        """Read on in the registry; act on probes that moved and rules that changed."""
        self._persist(self._settle)

    def flush(self) -> None:
        """Write the states of the fast lane."""
        self._persist(self._flush)

    # --- in two stages ---

    @property
    def ready(self) -> bool:
        """Tell whether `prepare` may run: it asks the database nothing."""
        return self._recalled and len(self._numbers) >= NUMBERS_MIN

    @property
    def behind(self) -> bool:
        """Tell whether the ledger has gained what is not read yet."""
        return self._ledger_top > self._directory.position

    @property
    def full(self) -> bool:
        """Tell whether the sheet that gathers shall have no more rows."""
        return self._sheet.rows >= SHEET_ROWS

    def prepare(self, packets: Sequence[Packet]) -> tuple[list[int], int]:
        """Add the messages of the fast lane to the sheet, until it is full.

        Return the indexes of all others, and how many messages were looked at.
        """
        return self._lanes.take(packets, self._sheet, to_ms(self._clock.now()), SHEET_ROWS)

    def may_overtake(self, packets: Sequence[Packet]) -> bool:
        """Tell whether `overtake` may take these: of known devices that the sheet does not hold.

        Nothing is overtaken where the sheet is empty: then the registry is looked at first.
        """
        if not self._sheet.rows:
            return False
        lanes = self._lanes.known(topic for topic, _, _ in packets)
        if lanes is None or len(packets) > CAREFUL_MAX:
            return False
        return self._sheet.devices.isdisjoint([lane.device_no for lane in lanes])

    def overtake(self, received: Sequence[Received]) -> list[Answer]:
        """Store such messages ahead of the sheet: they may be of an alert.

        Tried once: whatever fails raises, and then the sheet must be forgotten as well.
        """
        return self._store_batch(self._link.present, received)

    def hurries(self, packets: Sequence[Packet]) -> bool:
        """Tell whether such messages may be among these; a guess, from any thread."""
        return self._lanes.hurries(packets)

    def finished(self, connection: int, mids: Sequence[bytes]) -> Entry:
        """Return the sheet as an entry, and begin a new one; `mids` are its messages' packet ids.

        Entries must be committed in this order, or all be forgotten.
        """
        sheet, self._sheet = self._sheet, Sheet()
        sheet.connection, sheet.mids = connection, mids
        entry = Entry(self._numbers.pop(), self._clock.now(), sheet)
        self._add_states(entry, ())
        return entry

    def commit(self, entry: Entry) -> None:
        """Write an entry. psycopg.Error when it is not stored."""
        started = time.perf_counter()
        write(entry, self._link.present, self._partitions)
        self._ledger_top = max(self._ledger_top, entry.ledger_top)
        if isinstance(entry.content, Sheet):
            self._owed.add(entry.content)
        metrics.committed(entry.content, entry.now, time.perf_counter() - started)

    def answer(self, entry: Entry, *, owing: bool = False) -> Answer:
        """Return the answer to a committed entry of `prepare`; `owing`: the acks can wait."""
        content = entry.content
        mids = content.mids if isinstance(content, Sheet) else ()
        connection = content.connection if isinstance(content, Sheet) else 0
        return Answer(connection, mids, () if owing else self.owed())

    def owed(self) -> list[tuple[str, bytes]]:
        """Return the acks that were put off."""
        return self._owed.pay()

    def forget(self) -> None:
        """Drop all that ran ahead of a commit that failed."""
        self._directory.nodes.forget()
        self._states.forget()
        self._sheet = Sheet()
        self._partitions = Partitions()
        self._recalled = False

    # --- what is known ---

    def _persist(self, act: Callable[[Connection], T]) -> T:
        """Do it on what is known of the database, again and again while that is away."""

        def informed(conn: Connection) -> T:
            if not self._recalled:
                self._recall(conn)
            if len(self._numbers) < NUMBERS_MIN:
                self._numbers = self._fresh_numbers(conn)
            return act(conn)

        return self._link.persist(informed)

    def _lost(self) -> None:
        self.forget()
        self._numbers.clear()

    def _fresh_numbers(self, conn: Connection) -> list[int]:
        taken = conn.execute(queries.take_batch_numbers, (BATCH_NUMBERS,)).fetchall()
        return [number for (number,) in reversed(taken)]

    def _recall(self, conn: Connection) -> None:
        """Fold in what the log has after the states that are written."""
        conn.execute(queries.enter_worker, (self._number_of_worker,))
        ((settled, after),) = conn.execute(
            queries.worker_positions, (self._number_of_worker,)
        ).fetchall()
        if self._directory.position == 0:
            self._directory.settled = settled
        self._refresh(conn)
        while True:
            window = (after, ReadingsRecorded.TOPIC, RECALL_EVENTS)
            found = conn.execute(queries.readings_after, window).fetchall()
            told = [envelope_of(row).event for row in found]
            self._states.recall(conn, [e for e in told if self._owns(e)])
            if len(found) < RECALL_EVENTS:
                break
            after = found[-1][4]
        self._recalled = True

    def _owns(self, event: Event) -> TypeGuard[ReadingsRecorded]:
        """Tell whether an event is of readings of this worker's devices."""
        return isinstance(event, ReadingsRecorded) and self._directory.owns(event.device_id)

    # --- registry and states ---

    def _refresh(self, conn: Connection) -> None:
        if self._directory.refresh(conn):
            self._lanes.forget()
            self._states.forget_screens()
            for device_id in self._directory.given_away():
                self._states.drop(device_id)

    def _settle(self, conn: Connection) -> None:
        """Judge again the devices concerned, each in a transaction of its own.

        To settle again what is settled changes nothing: the position may follow at the end.
        """
        self._partitions.make_ahead(conn, self._clock.now())
        self._refresh(conn)
        directory = self._directory
        if not directory.waiting:
            return
        ours = [device_id for device_id in directory.waiting if directory.owns(device_id)]
        sent = self._states.load(conn, ours, numbering=False)
        for device_id in [silent for silent in directory.waiting if silent not in sent]:
            del directory.waiting[device_id]  # nothing is stored of it, or another worker's
        until = time.monotonic() + SETTLE_S
        for device_id in sent:
            self._settle_device(conn, device_id)
            if directory.waiting and time.monotonic() > until:
                return
        if self._all_settled:
            position = (directory.position, self._number_of_worker)
            conn.execute(queries.set_settled_position, position)

    def _settle_device(self, conn: Connection, device_id: str) -> None:
        """Settle one device; a fault of its data must not stop all the others.

        The next start tries it again: until then the position stays behind.
        """
        try:
            self._store_batch(conn, (), shifted=device_id)
        except Exception as error:
            if isinstance(error, psycopg.Error) and is_transient(error):
                raise
            log.exception("settling_failed", device_id=device_id)
            self.forget()
            self._recall(conn)
            self._all_settled = False
            del self._directory.waiting[device_id]

    def _replays(self, conn: Connection) -> list[Received]:
        return replays(conn, self._regions, strays=self._directory.strays)

    def _due(self, conn: Connection, *, asking: bool) -> list[Publication]:
        now, regions = self._clock.now(), self._regions
        return commands.due_commands(
            conn, self._directory, regions, self._clocks, now, asking=asking
        )

    def _flush(self, conn: Connection) -> None:
        if not self._states.unwritten and time.monotonic() - self._flushed < IDLE_S:
            return
        states = self._rows(self._states.flush())
        with conn.transaction(), conn.cursor() as cur:
            write_states(cur, states)
            cur.execute(queries.nothing_to_recall, (self._number_of_worker,))
        self._flushed = time.monotonic()
        self._states.trim()

    def _rows(self, states: Iterable[DeviceState]) -> list[dict[str, object]]:
        """Return the rows of the devices that are this worker's."""
        return [
            to_row(state, self._directory.places(state.device_id)[-1].region_code)
            for state in states
            if self._directory.owns(state.device_id)
        ]

    def _add_states(self, entry: Entry, changed: Sequence[DeviceState]) -> None:
        """Let an entry write the changed states, and all unwritten ones if few or due."""
        written = {state.device_id: state for state in changed}
        if self._states.unwritten <= FEW_STATES or time.monotonic() - self._flushed > FLUSH_S:
            written |= {state.device_id: state for state in self._states.flush()}
            entry.worker = self._number_of_worker
            self._flushed = time.monotonic()
        entry.states = self._rows(written.values())

    # --- careful judgement ---

    def _store(self, conn: Connection, received: Sequence[Received]) -> list[Answer]:
        """Store messages of one connection: a sheet of what can be, the others with care."""
        packets = [(each.topic.encode(), each.payload, each.mid) for each in received]
        told: list[Answer] = []
        at = 0
        while at < len(packets):
            careful, looked_at = self.prepare(packets[at:])
            part, at = received[at : at + looked_at], at + looked_at
            if self._sheet.rows:
                left = set(careful)
                mids = [each.mid for n, each in enumerate(part) if n not in left and each.mid]
                self._numbers = self._numbers or self._fresh_numbers(conn)
                entry = self.finished(received[0].connection, mids)
                self.commit(entry)
                told.append(self.answer(entry))
            if careful:
                told += self._store_batch(conn, [part[n] for n in careful])
        return told

    def _store_halving(
        self,
        conn: Connection,
        received: Sequence[Received],
        store: Callable[[Connection, Sequence[Received]], list[Answer]],
        *,
        forgotten: bool = False,
    ) -> list[Answer]:
        """Store the messages; on a fault of the data, each half, down to the one at fault.

        forgotten: nothing is remembered, so the fault is no longer one of memory.
        """
        try:
            return store(conn, received)
        except Exception as error:  # any fault of one message must not stop all the others
            if isinstance(error, psycopg.Error) and is_transient(error):
                raise
            fault = error
        self.forget()
        self._recall(conn)
        if len(received) == 1 and forgotten and isinstance(fault, UniqueViolation):
            log.error("states_behind_the_log", topic=received[0].topic)
            try:
                return self._store_batch(conn, received, steps=(decode, relearn, *STEPS[1:]))
            except UniqueViolation as still:
                fault = still
                self.forget()
                self._recall(conn)
        if len(received) == 1 and forgotten:
            log.error("message_poisoned", topic=received[0].topic, exc_info=fault)
            return self._store_batch(conn, received, poison=fault)
        middle = (len(received) + 1) // 2
        parts = [part for part in (received[:middle], received[middle:]) if part]
        return [
            answer
            for part in parts
            for answer in self._store_halving(conn, part, self._store_batch, forgotten=True)
        ]

    def _store_batch(
        self,
        conn: Connection,
        received: Sequence[Received],
        *,
        shifted: str = "",
        poison: Exception | None = None,
        steps: Sequence[Step] = STEPS,
    ) -> list[Answer]:
        batch = Batch(
            now=self._clock.now(),
            items=[Item(message) for message in received],
            directory=self._directory,
            memory=self._states,
            shifted=shifted,
        )
        if poison is None:
            for step in steps:
                step(batch, conn)
        else:
            for item in batch.items:
                item.topic = topic_of(item.received)
                item.refused = Refused("poison", text=f"{type(poison).__name__}: {poison}")
            set_aside(batch, conn)
        entry = Entry(self._number(conn), batch.now, batch)
        changed = [state for state in batch.states.values() if state.changed]
        if self._sheet.rows:  # what else is unwritten may be of messages that are not stored yet
            entry.states = self._rows(changed)
        else:
            self._add_states(entry, changed)
        self.commit(entry)
        for device_id in batch.states:
            self._directory.waiting.pop(device_id, None)
        self._note_clocks(batch)
        return answers(batch)

    def _note_clocks(self, batch: Batch) -> None:
        """Sample the clocks of live messages; one that is far off is seen where it is refused."""
        for item, message in batch.messages:
            if item.new and item.topic.kind == "tele" and not message.backfill:
                self._clocks.note(message.device_id, batch.now_ms, max(message.ts_ms))
        for item in batch.items:
            ts_ms = item.refused.ts_ms if item.refused is not None else None
            if ts_ms is not None and item.topic.kind == "tele" and item.received.replay_id is None:
                self._clocks.note(item.topic.device_id, batch.now_ms, ts_ms)

    def _number(self, conn: Connection) -> int:
        if not self._numbers:
            self._numbers = self._fresh_numbers(conn)
        return self._numbers.pop()
