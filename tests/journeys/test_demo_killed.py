"""The demonstration killed in its middle: `vaxtrail up`, and nothing is lost or doubled.

What must be there is known from outside: the PUBACKs that a gateway of the test's own got, and the
city, which sends the same messages whenever it starts from the same seed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from domain.shared.ids import stream_id
from runtime.clock import open_clock
from runtime.process import command_line, pids_with_argument, pids_working_in
from simulators import wire
from simulators.city import shizuishan
from simulators.demo import BEGINS_LOCAL, FIRST_DAY, LIVE_MIN, STEP_MIN
from simulators.goods import DAY_MS, at_local, local_day
from simulators.instance import milliseconds, moment
from simulators.wire import Message
from simulators.world import World
from tests.journeys import tree
from tests.runtime.instance import Up, environment, open_folder, run, untraced

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Identity: TypeAlias = tuple[str, int, int]  # device or scanner, boot, seq

DAYS, SEED = 3, 1
OPTIONS = ["--days", str(DAYS), "--seed", str(SEED)]
KILLED_AFTER_H = 8  # simulated
OWN_AFTER_H = 2
ACKED_MIN = 200
# Slow enough that ingest, however slow, takes it beside the city: what queues up would stop that.
IN_FLIGHT, EVERY_S = 40, 0.01
REDELIVERED_S = 5 + 2  # the broker's ack_wait, and time to take it
MINUTE_MS = 60_000
START_MS = at_local(local_day(milliseconds(moment(FIRST_DAY))), BEGINS_LOCAL)
SITE = shizuishan().site("dwk-c1")
DEVICE, SCANNER, BOOT = "TH-journey", "SC-journey", 7
READINGS = "SELECT device_id, boot, seq FROM reading JOIN device_no USING (device_no)"
SCANS = "SELECT originator_version FROM ledger_events WHERE originator_id = %s"


class Gateway:
    """Sends readings and scans without end and remembers each that was acknowledged.

    As real ones do it comes again when it is cut off, and sends again what was not acknowledged.
    """

    def __init__(self, port: int, password: str) -> None:
        self._sent: dict[int, Identity] = {}  # by packet id; there are 65,535 of them
        self._acked: list[int] = []
        self._room = threading.Semaphore(IN_FLIGHT)
        self._gone = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "journey-gateway", False)
        self._client.username_pw_set("gateway", password)
        self._client.max_inflight_messages_set(2 * IN_FLIGHT)
        self._client.on_publish = self._on_publish
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    @property
    def acked(self) -> set[Identity]:
        """What the broker has acknowledged so far."""
        return {self._sent[mid] for mid in list(self._acked) if mid in self._sent}

    @property
    def connected(self) -> bool:
        """Tell whether the broker has let it in."""
        return self._client.is_connected()

    def close(self) -> None:
        """Stop; what was not acknowledged is not sent again."""
        self._gone.set()
        self._room.release()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self) -> None:
        seq = 0
        while not self._gone.wait(EVERY_S):
            self._room.acquire()
            seq += 1
            message = scan(seq) if seq % 10 == 0 else reading(seq)
            info = self._client.publish(message.topic, message.payload, qos=1)
            self._sent[info.mid] = (SCANNER if message.scans else DEVICE, BOOT, seq)

    def _on_publish(self, _client: Any, _data: Any, mid: int, *_: Any) -> None:
        self._acked.append(mid)
        self._room.release()


def reading(seq: int) -> Message:
    """Return one reading, some days before the demonstration."""
    base = wire.prefix(SITE.region, SITE.site_id, SITE.gateway_id)
    at = START_MS - 5 * DAY_MS + seq * 1000
    return wire.single(base, DEVICE, boot=BOOT, seq=seq, ts_ms=at, values={"t1": 5.0})


def scan(seq: int) -> Message:
    """Return a receiving of one code of the city's first product."""
    base = wire.prefix(SITE.region, SITE.site_id, SCANNER)
    code = f"{shizuishan().products[0].product_id}{10**12 + seq}"
    fields = {"bill": "CK-JOURNEY"}
    return wire.scan(
        base, boot=BOOT, seq=seq, ts_ms=START_MS, step="receiving", codes=[code], fields=fields
    )


@dataclass
class Killed:
    """A demonstration that was killed: its folder, and what was told to its senders."""

    data: Path
    acked: set[Identity]
    clock_ms: int


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    """Run a demonstration and kill every process of it while messages flow."""
    with open_folder() as folder:
        data = folder / "data"
        with (folder / "demo.log").open("wb") as log:
            demo = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "runtime.cli",
                    "--data",
                    str(data),
                    "demo",
                    "--exit",
                    *OPTIONS,
                ],
                env=untraced(environment()),
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        try:
            gateway = _play(demo, data)
            tree.kill_together(tree.family(demo.pid))
        finally:
            demo.kill()
            demo.wait()
        gateway.close()
        yield Killed(data, gateway.acked, _clock_ms(data))


def _play(demo: subprocess.Popen[bytes], data: Path) -> Gateway:
    """Wait until the city runs, send beside it, and return in the middle of it."""

    def simulated(hours: int) -> bool:
        assert demo.poll() is None, (data.parent / "demo.log").read_text()[-3000:]
        return (data / "clock").exists() and _clock_ms(data) >= START_MS + hours * 60 * MINUTE_MS

    tree.until(lambda: simulated(OWN_AFTER_H), 120.0, "the demonstration does not begin")
    instance = tree.told(data)
    with tree.api(data, instance["api_url"]) as api:
        body = {"device_id": DEVICE, "gateway_id": SITE.gateway_id, "channels": ["t1"],
                "interval_s": 60, "simulated": True}  # fmt: skip
        api.post("/devices", body, wait_s=5)
    password = (data / "secrets" / "mqtt_gateway").read_text()
    gateway = Gateway(instance["ports"]["mqtt"], password)
    try:
        tree.until(lambda: len(gateway.acked) > ACKED_MIN, 60.0, "the gateway is not acknowledged")
        tree.until(lambda: simulated(KILLED_AFTER_H), 120.0, "the demonstration stands still")
    except AssertionError:
        known = f"connected: {gateway.connected}; acknowledged: {len(gateway.acked)}"
        gateway.close()
        tail = [path.read_text()[-3000:] for path in (data / "log").iterdir()]
        raise AssertionError("\n".join([known, *tail])) from None
    return gateway


def _clock_ms(data: Path) -> int:
    return milliseconds(open_clock("stepped", data).now())


@pytest.fixture(scope="module")
def again(killed: Killed) -> Iterator[Up]:
    """Start the folder of the killed demonstration again, with nothing told about it."""
    up = Up(killed.data)
    try:
        up.wait_ready()
        time.sleep(REDELIVERED_S)
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()


def test_given_a_killed_demo_when_up_then_a_second_one_is_refused(again: Up) -> None:
    second = run(again.data, "up")
    assert second.returncode == 1
    assert str(again.process.pid) in second.stderr


def test_given_a_killed_demo_when_up_then_all_that_was_acknowledged_is_there_once(
    killed: Killed, again: Up
) -> None:
    stored = stored_once(again, DEVICE, SCANNER)
    assert {name for name, _, _ in killed.acked} == {DEVICE, SCANNER}
    assert killed.acked - stored == set()


def test_given_a_killed_demo_when_up_then_each_finished_step_of_the_city_is_there_once(
    killed: Killed, again: Up
) -> None:
    city = shizuishan()
    world = World(
        city, start_ms=START_MS, end_ms=START_MS + DAYS * DAY_MS + LIVE_MIN * MINUTE_MS, seed=SEED
    )
    finished, begun = set[Identity](), set[Identity]()
    step_ms = STEP_MIN * MINUTE_MS
    for to_ms in range(START_MS + step_ms, killed.clock_ms + 1, step_ms):
        sent = set(identities(world.until(to_ms)))
        begun |= sent
        finished |= sent if to_ms < killed.clock_ms else set()
    names = {logger.device_id for logger in world.loggers}
    stored = stored_once(again, *names, *(site.scanner_id for site in city.sites))
    assert len(finished) > 1000
    assert finished - stored == set()
    assert stored - begun == set()


def test_given_a_killed_demo_when_up_then_read_models_equal_a_rebuild(again: Up) -> None:
    checked = run(again.data, "projections", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "readings" in checked.stdout
    assert tree.rows(again, "SELECT count(*) FROM dead_letter") == [(0,)]
    assert tree.rows(again, "SELECT count(*) FROM quarantine WHERE code = 'poison'") == [(0,)]


def test_given_a_killed_supervisor_when_up_at_once_then_never_two_on_the_folder(
    killed: Killed, again: Up
) -> None:
    before = stored_once(again, DEVICE, SCANNER)
    most: Counter[str] = Counter()
    pgdata = Path(again.instance["pgdata"])
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(killed.data, pgdata, most, over))
    watcher.start()
    os.kill(again.process.pid, signal.SIGKILL)
    again.process.wait()
    successor = Up(killed.data)
    try:
        successor.wait_ready()
        assert stored_once(successor, DEVICE, SCANNER) == before
        assert successor.stop() == 0
    finally:
        if successor.process.poll() is None:
            successor.stop()
        over.set()
        watcher.join()
    assert most == {"postgres": 1, "ingest": 1}
    assert not list(pids_with_argument(str(killed.data)))
    assert not list(pids_working_in(pgdata, "postgres"))


def stored_once(up: Up, *names: str) -> set[Identity]:
    """Return what is stored of these devices and scanners; fail when something is there twice."""
    found = [row for row in tree.rows(up, READINGS) if row[0] in names]
    for name in names:
        versions = tree.rows(up, SCANS, stream_id("traceability.scanner", name))
        found += [(name, version >> 40, version & ((1 << 40) - 1)) for (version,) in versions]
    doubled = [identity for identity, n in Counter(found).items() if n > 1]
    assert doubled == []
    return set(found)


def identities(messages: Iterable[Message]) -> Iterator[Identity]:
    """Yield the identities of what must be stored of these messages."""
    for message in messages:
        if message.refused:
            continue
        levels, body = message.topic.split("/"), json.loads(message.payload)
        sender = levels[4] if message.scans else levels[-1]
        first = body["base"]["seq"] if "base" in body else body["seq"]
        for n in range(message.scans or message.readings):
            yield sender, body["boot"], first + n


def watch(data: Path, pgdata: Path, most: Counter[str], over: threading.Event) -> None:
    """Note how many servers and ingests there were on a folder at the same time."""
    before: dict[str, set[int]] = {"postgres": set(), "ingest": set()}
    while not over.wait(0.02):
        # A server's child looks like the server until it has given itself a name: one look later.
        servers = {pid for pid in pids_with_argument(str(pgdata)) if "-D" in command_line(pid)}
        intakes = {p for p in pids_with_argument(str(data)) if command_line(p)[-1:] == ["ingest"]}
        for name, seen in (("postgres", servers), ("ingest", intakes)):
            most[name] = max(most[name], len(seen & before[name]))
            before[name] = seen
