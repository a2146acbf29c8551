"""kill -9 of ingest, the broker, the database or all of it, at a random moment under load.

Each round begins with a freshly started tree on the same folder (so that no restart waits longer
since the one before it failed), publishes at a steady pace, kills, lets everything recover, and
counts `ack_wait` + 5 s after the last publish: each message the broker acknowledged must be stored
once, in the rows and in the events.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from bench.contest import ProductContender
from bench.field import register
from bench.load import Load, Plan
from bench.options import Options
from bench.processes import tree
from bench.report import Report
from bench.rig import Rig
from bench.shape import DEVICES, PRODUCT_TOPIC, Shape, device_name
from bench.throughput import W1, Meter
from domain.cold_chain.events import ReadingsRecorded
from store.logs import Telemetry

PARTS = ("ingest", "broker", "postgres", "all")
FIRST, KILL_DEVICES = 4_000, 100  # few, so that times tell which message came after the kill
RATE, SECONDS = 1_000.0, 10.0  # about half of W1 on what is shipped
EARLIEST, LATEST = 0.2, 0.7  # of the messages acknowledged when it is killed
WINDOW = 20  # unacknowledged messages a connection, so that some are still to come
OUTAGE_S = 1.0  # before `vaxtrail up` is called again; parts alone are started by the supervisor
SETTLE_S = 10.0  # the broker's ack_wait and 5 s
BACK_S = 60.0
POLL_S = 0.02
UNDERWAY_S = 0.2  # what was sent to the database before the kill is committed by then
HOURS_BACK = 11.0  # after what the warm-up left
READ = 5_000
LAST = "SELECT coalesce(max(notification_id), 0) FROM telemetry_events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Of one kill. `first_row_s`: from it until rows are stored again; None = not in a minute.

    `back_s`: until the first row that was published after it.
    """

    killed: str
    acked: int
    lost: int
    doubled_rows: int
    doubled_in_events: int
    first_row_s: float | None
    back_s: float | None

    def text(self) -> str:
        """Return it as a line."""
        doubled = max(self.doubled_rows, self.doubled_in_events)
        return (
            f"{self.killed}: {self.acked:,} acknowledged, {self.lost} lost, {doubled} doubled,"
            f" first new row after {self.first_row_s} s, first one published since {self.back_s} s"
        )


def kill(options: Options, made: Rig) -> Report:
    """Kill `options.rounds` times, each part in turn."""
    shape = Shape(
        PRODUCT_TOPIC,
        made.began_s - HOURS_BACK * 3600,
        devices=KILL_DEVICES,
        first_device=FIRST,
        step_s=0.05,
    )
    parts = [part for part in PARTS if part != "broker" or options.broker == "embedded"]
    rounds: list[Round] = []
    register(made.product.dsn, [*range(DEVICES), *range(FIRST, FIRST + KILL_DEVICES)])
    with ProductContender(made) as product:
        Meter(product, W1).ready()
    for n in range(options.rounds):
        if n:
            made.product.stop()
            made.product.start()
        rounds.append(_round(made, parts[n % len(parts)], _plan(made, shape, options, n)))
        print(f"{n + 1}/{options.rounds} {rounds[-1].text()}", file=sys.stderr, flush=True)
    return _report(options, rounds)


def _plan(made: Rig, shape: Shape, options: Options, n: int) -> Plan:
    rate = options.rate or RATE
    turns = -(-(options.messages or int(rate * SECONDS)) // KILL_DEVICES)
    return Plan(
        url=made.gateway_url,
        shape=shape,
        messages=turns * KILL_DEVICES,
        first_seq=n * turns,
        rate=rate,
        window=WINDOW,
    )


def _round(made: Rig, part: str, plan: Plan) -> Round:
    shape, first_seq = plan.shape, plan.first_seq
    dsn, position = made.product.dsn, _position(made.product.dsn)
    with Load(plan) as load:
        load.start()
        moment = random.uniform(EARLIEST, LATEST) * plan.messages  # noqa: S311 - nothing secret
        while load.told.acked.value < moment and load.running:
            time.sleep(0.002)
        _kill(made, part)
        killed_s, turn = time.perf_counter(), load.told.sent.value // KILL_DEVICES + 2
        if part == "all":
            made.product.gone()
            time.sleep(OUTAGE_S)
            made.product.launch()
        first_row_s, back_s = _back(
            dsn, shape.start_s + (first_seq + turn) * shape.step_s, killed_s
        )
        load.finish()
        acked = load.told.acked.value
    time.sleep(SETTLE_S)
    rows, distinct = _rows(dsn, shape.start_s + first_seq * shape.step_s)
    told = list(_told(dsn, position))
    return Round(
        killed=part,
        acked=acked,
        lost=max(0, acked - min(distinct, len(set(told)))),
        doubled_rows=rows - distinct,
        doubled_in_events=len(told) - len(set(told)),
        first_row_s=first_row_s,
        back_s=back_s,
    )


def _kill(made: Rig, part: str) -> None:
    """Kill a part and its children; the first of `all` is the supervisor."""
    for pid in tree(made.product.pid if part == "all" else made.product.pids[part]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _back(dsn: str, newer_than_s: float, killed_s: float) -> tuple[float | None, float | None]:
    """Return the seconds until a row is stored again, and until one newer than that time is."""
    # Rows, and of these devices alone: states may be written later, and others have newer times.
    query = """SELECT EXISTS (
                   SELECT FROM reading JOIN device_no USING (device_no)
                   WHERE device_id >= %s AND device_id < %s AND ts >= to_timestamp(%s))"""
    ours = (device_name(FIRST), device_name(FIRST + KILL_DEVICES), newer_than_s - 1e-4)
    time.sleep(UNDERWAY_S)
    known: int | None = None
    first_row_s: float | None = None
    while (since_s := time.perf_counter() - killed_s) < BACK_S:
        with suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as conn:
            while (since_s := time.perf_counter() - killed_s) < BACK_S:
                (last,) = conn.execute(LAST).fetchone() or (0,)
                known = last if known is None else known
                if first_row_s is None and last > known:
                    first_row_s = round(since_s, 2)
                row = conn.execute(query, ours).fetchone()
                if row and row[0]:
                    return first_row_s, round(since_s, 2)
                time.sleep(POLL_S)
        time.sleep(POLL_S)
    return first_row_s, None


def _position(dsn: str) -> int:
    with Telemetry(dsn) as log:
        return log.last_position()


def _rows(dsn: str, since_s: float) -> tuple[int, int]:
    query = """SELECT count(*), count(DISTINCT (device_no, boot, seq)) FROM reading
               WHERE ts >= to_timestamp(%s)"""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row: Any = conn.execute(query, (since_s - 1e-3,)).fetchone()
    return int(row[0]), int(row[1])


def _told(dsn: str, position: int) -> Iterable[tuple[str, int, int]]:
    """Yield device, boot and sequence of every reading in the events after a position."""
    with Telemetry(dsn) as log:
        while found := log.read(position, READ, (ReadingsRecorded.TOPIC,)):
            position = found[-1].position
            for recorded in found:
                event: Any = recorded.envelope.event
                for n in range(len(event.ts_ms)):
                    yield event.device_id, event.boot, event.seq_of(n)


def _report(options: Options, rounds: list[Round]) -> Report:
    def worst(part: str, field: str) -> float | None:
        times = [getattr(r, field) for r in rounds if r.killed == part]
        return None if None in times else max((t for t in times if t is not None), default=None)

    return Report(
        work="kill",
        product={
            "rounds": len(rounds),
            "acked": sum(r.acked for r in rounds),
            "lost": sum(r.lost for r in rounds),
            "doubled_rows": sum(r.doubled_rows for r in rounds),
            "doubled_in_events": sum(r.doubled_in_events for r in rounds),
            **{
                f"{part}_{field}": worst(part, field)
                for part in dict.fromkeys(r.killed for r in rounds)
                for field in ("first_row_s", "back_s")
            },
        },
        runs=[asdict(r) for r in rounds],
        setting={**options.setting, "messages_s": options.rate or RATE},
        notes=[f"{n}. {each.text()}" for n, each in enumerate(rounds, 1)],
    )
