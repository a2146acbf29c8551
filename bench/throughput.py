"""W1 and W2: how fast readings become durable, in a closed loop, and what that costs.

The rate is messages over the time from the first publish to the last durable reading (exact count);
at most `backlog` messages are published but not yet durable, so it is the rate that lasts. The cost
is counted until all is done that the readings cause, in the product their roll-ups too.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from bench.contest import Contender
from bench.load import Load, Plan
from bench.processes import Costs
from bench.shape import DEVICES, Shape

POLL_S = 0.05
REST_S = 0.2
AFTERWARDS_S = 60.0
MEMORY_EVERY_S = 1.0
STALL_S = 8.0  # without any new reading: what is missing is lost
START_S = 60.0
WARM_SHARE = 0.05
HOURS_BACK = 12.0  # the first reading lies this far in the past


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A work of the papers: readings a message, and messages that may wait to be durable."""

    name: str
    batch: int
    backlog: int
    messages: int


W1 = Work(name="W1", batch=1, backlog=20_000, messages=240_000)
W2 = Work(name="W2", batch=20, backlog=4_000, messages=24_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured run. Rates are a second; `cpu_s` by process and in all, a 100,000 messages."""

    who: str
    sent: int
    readings: int
    lost: int
    seconds: float
    messages_s: float
    readings_s: float
    cpu_s: dict[str, float]
    cpu_all_s: float
    publisher_cpu_s: float
    peak_mb: float
    machine_load: float


class Meter:
    """Measures one contender again and again; its sequence numbers and times go on."""

    def __init__(self, contender: Contender, work: Work) -> None:
        self._contender = contender
        self._work = work
        seq, at_s = contender.newest()
        self._seq = seq + 1
        first_s = max(at_s + 1.0, contender.rig.began_s - HOURS_BACK * 3600)
        self._shape = Shape(contender.topic, first_s - self._seq, work.batch)

    def ready(self) -> None:
        """Wait until it takes messages."""
        contender, until = self._contender, time.monotonic() + START_S
        while True:
            with self.load(DEVICES) as load:
                load.start()
                if self.wait(load, stall_s=1.0)[1]:
                    break
            if time.monotonic() > until:
                raise SystemExit(f"{contender.name}: stores nothing / 没有写入任何读数")

    def warm(self) -> None:
        """Wait until it takes messages, then let some pass."""
        self.ready()
        with self.load(self._messages * WARM_SHARE) as load:
            load.start()
            self.wait(load)

    def run(self) -> Run:
        """Measure once."""
        contender = self._contender
        with self.load(self._messages) as load:
            load.prepare()
            contender.rig.checkpoint()
            time.sleep(REST_S)
            costs = Costs(contender.pids(), contender.heavy)
            load.start()
            last_s, readings = self.wait(load, costs)
            self._await_afterwards()
            cpu_s = costs.cpu_s()
            costs.look()
            load.finish()
            return self._result(load, costs.peak_mb, cpu_s, readings, last_s)

    def _await_afterwards(self) -> None:
        """Let a contender finish what it owes its readings: its cost counts, the time does not."""
        until = time.monotonic() + AFTERWARDS_S
        while not self._contender.afterwards() and time.monotonic() < until:
            time.sleep(0.05)

    @property
    def _messages(self) -> float:
        return self._work.messages * self._contender.share

    def load(self, messages: float, rate: float = 0.0) -> Load:
        """Return a publisher of about so many messages, every device the same number of them.

        With a `rate` it keeps to that, else to the backlog of the work.
        """
        turns = max(1, round(messages / DEVICES))
        plan = Plan(
            url=self._contender.publish_url,
            shape=self._shape,
            messages=turns * DEVICES,
            first_seq=self._seq,
            backlog=0 if rate else self._work.backlog,
            rate=rate,
        )
        self._seq += turns * self._work.batch
        return Load(plan)

    def wait(
        self, load: Load, costs: Costs | None = None, stall_s: float = STALL_S
    ) -> tuple[float, int]:
        """Steer the load until all is durable, or nothing more becomes so.

        Return when the last reading was seen (time.perf_counter()), and how many there are.
        """
        contender, batch = self._contender, self._work.batch
        wanted = load.plan.messages * batch
        progress_before, stored_before = contender.progress(batch), contender.stored()
        seen, seen_s, looked_s = -1, time.perf_counter(), 0.0
        while time.perf_counter() - seen_s < stall_s:
            got = contender.progress(batch) - progress_before
            load.told.durable.value = got // batch
            if got != seen:
                seen, seen_s = got, time.perf_counter()
            if got >= wanted and contender.stored() - stored_before >= wanted:
                return time.perf_counter(), wanted
            if costs and time.perf_counter() - looked_s > MEMORY_EVERY_S:
                costs.look()
                looked_s = time.perf_counter()
            time.sleep(POLL_S)
        return seen_s, contender.stored() - stored_before

    def _result(
        self, load: Load, peak_mb: float, cpu_s: dict[str, float], readings: int, last_s: float
    ) -> Run:
        told, batch = load.told, self._work.batch
        seconds = last_s - told.first_s.value
        messages = readings / batch
        each = 100_000 / max(1.0, messages)
        return Run(
            who=self._contender.name,
            sent=told.sent.value,
            readings=readings,
            lost=told.sent.value * batch - readings,
            seconds=round(seconds, 3),
            messages_s=round(messages / seconds, 1),
            readings_s=round(readings / seconds, 1),
            cpu_s={name: round(value * each, 2) for name, value in cpu_s.items()},
            cpu_all_s=round(sum(cpu_s.values()) * each, 2),
            publisher_cpu_s=round(told.cpu_s.value * each, 2),
            peak_mb=round(peak_mb, 1),
            machine_load=round(os.getloadavg()[0], 2),
        )
