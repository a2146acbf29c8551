"""What the broker's own log says of gateways: provoked for real, named, counted, told seldom."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import paho.mqtt.client as mqtt
import pytest
import structlog.testing
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry, generate_latest

from runtime import broker_access, broker_log, doctor
from runtime.broker import MAX_PAYLOAD, BrokerServer
from runtime.broker_log import CAUSES, NAMES_MAX, STRANGERS_MAX, BrokerLog, Fault, faults
from runtime.metrics import GatewayFaults
from runtime.process import wait_until
from runtime.settings import load
from tests.conftest import open_path
from tests.runtime.brokers import Client, Embedded
from tests.runtime.test_broker_access import account

BASE = "cc/v1/640202/s1/g1"
LINE = '[1] 2026/11/22 07:03:42.948755 [ERR] 10.0.0.9:45287 - mid:42 - "{}" - {}\n'
SPACE = "character not supported for MQTT topics"


@dataclass
class Watched:
    """A broker with the gateway g1, and what follows its log."""

    side: Embedded
    log: BrokerLog

    def client(self, client_id: str, *filters: str) -> Client:
        """Connect as g1."""
        return Client(self.side.url("g1", "one"), *filters, client_id=client_id)

    def found(self, cause: str) -> Fault:
        """Return the fault of this cause, looking until it is there."""
        seen: list[Fault] = []

        def look() -> bool:
            self.log._written = 0.0
            self.log.look()
            seen[:] = [fault for fault in faults(self.side.data) if fault.cause == cause]
            return bool(seen)

        assert wait_until(look, 10.0), self.side.server.log.read_text()[-2000:]
        return seen[0]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run a broker that knows g1, and follow its log."""
    data = tmp_path_factory.mktemp("watched")
    open_path(data)
    side = Embedded(data, None)
    with broker_access.changed(data) as accounts:
        accounts["g1"] = account("g1", "one")
    following = BrokerLog(data, side.server.log, side.server.user_of)
    side.start()
    yield Watched(side, following)
    side.stop()


def _space(watched: Watched) -> None:
    watched.client("box-7").say(f"{BASE}/tele/d 1")


def _large(watched: Watched) -> None:
    watched.client("box-7").say(f"{BASE}/tele/d1", bytes(MAX_PAYLOAD + 1))


def _elsewhere(watched: Watched) -> None:
    watched.client("box-7").say("spBv1.0/640202/NDATA/g2")


def _listening(watched: Watched) -> None:
    watched.client("box-7", f"{BASE}/#")


def _three_logins(watched: Watched) -> None:
    for _ in range(3):
        assert Client(watched.side.url("g1", "wrong")).refused


def _name_with_dot(watched: Watched) -> None:
    watched.client("box.7")


def _version_5(watched: Watched) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", watched.side.port)
    client.loop(1.0)


def _many_alike(watched: Watched) -> None:
    clients = [watched.client("box-8") for _ in range(8)]
    for client in clients:
        client.leave()


@pytest.mark.broker
@pytest.mark.parametrize(
    ("cause", "provoke", "gateway", "detail"),
    [
        ("topic", _space, "g1", ""),
        ("size", _large, "g1", "2621"),
        ("forbidden", _elsewhere, "g1", "spBv1.0/640202/NDATA/g2"),
        ("subscription", _listening, "g1", f"{BASE}/#"),
        ("login", _three_logins, "g1", "g1"),
        ("client_id", _name_with_dot, "box.7", "box.7"),
        ("protocol", _version_5, "127.0.0.1", "5"),
        ("duplicate", _many_alike, "g1", ""),
    ],
)
def test_given_a_gateway_the_broker_refuses_when_its_log_is_read_then_named_with_the_mend(
    watched: Watched,
    cause: str,
    provoke: Callable[[Watched], None],
    gateway: str,
    detail: str,
) -> None:
    provoke(watched)
    fault = watched.found(cause)
    assert (fault.gateway, fault.address) == (gateway, "127.0.0.1")
    assert fault.detail.startswith(detail)
    zh, en = fault.texts
    assert gateway in zh
    assert gateway in en


@pytest.mark.broker
def test_given_connections_when_their_user_is_asked_for_then_told(watched: Watched) -> None:
    client = watched.client("box-9")
    assert watched.side.server.user_of("box-9") == "g1"
    client.leave()
    assert wait_until(lambda: watched.side.server.user_of("box-9") == "g1", 1.0), "lately"
    assert watched.side.server.user_of('no "such" client') == ""
    stopped = BrokerServer(watched.side.data)
    assert stopped.user_of("box-9") == ""


def test_given_a_fault_again_and_again_when_read_then_counted_and_told_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("runtime.broker_log.time.time", lambda: now)
    path = tmp_path / "broker.log"
    path.write_text(LINE.format("before", SPACE))
    following = BrokerLog(tmp_path, path, lambda _: "g1")
    told = []
    for minutes in (0, 1, 30, 59, 61, 62):
        now = 1_800_000_000.0 + 60 * minutes
        with path.open("a") as out:
            out.write(LINE.format("box", SPACE) + LINE.format("box", SPACE))
        with structlog.testing.capture_logs() as said:
            following.look()
        told += [minutes for entry in said if entry["event"] == "gateway_fault"]
    assert told == [0, 61]
    (fault,) = faults(tmp_path, now)
    assert (fault.gateway, fault.count) == ("g1", 12)
    assert BrokerLog(tmp_path, path, str)._faults.keys() == {("g1", "topic")}, "kept over a restart"
    assert faults(tmp_path, now + 86_401) == []


def test_given_what_happens_now_and_then_when_read_then_a_fault_only_when_it_repeats_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("runtime.broker_log.time.time", lambda: now)
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda _: "g1")
    for minutes, found in ((0, 0), (11, 0), (22, 0), (23, 0), (24, 1)):
        now = 1_800_000_000.0 + 60 * minutes
        with path.open("a") as out:
            out.write(LINE.format("box", 'authentication error - User "g1"'))
        following.look()
        assert len(faults(tmp_path, now)) == found, minutes


@pytest.mark.broker
def test_given_a_broker_that_reloads_all_the_time_when_clients_come_then_no_fault_of_theirs(
    tmp_path: Path,
) -> None:
    open_path(tmp_path)
    side = Embedded(tmp_path, None)
    with broker_access.changed(tmp_path) as accounts:
        accounts["g1"] = account("g1", "one")
    side.start()
    pid = side.server.pid
    assert pid is not None
    following, done = BrokerLog(tmp_path, side.server.log, side.server.user_of), Event()

    def reload() -> None:
        while not done.wait(0.01):
            os.kill(pid, signal.SIGHUP)

    reloading = Thread(target=reload)
    reloading.start()
    try:
        turned_away = wait_until(lambda: _came_in_a_reload(side) > 2, 60.0)
    finally:
        done.set()
        reloading.join()
        side.stop()
    assert turned_away, "nobody came in a reload: this shows nothing"
    following.look()
    assert following._faults == {}


def _came_in_a_reload(side: Embedded) -> int:
    """Connect some clients; return how many were turned away so far."""
    for n in range(50):
        Client(side.url("g1", "one"), client_id=f"box-{n}").leave()
    return side.server.log.read_text().count("authentication error - User")


def test_given_logins_refused_among_those_of_a_reload_when_read_then_only_the_former_count(
    tmp_path: Path,
) -> None:
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda _: "")
    closed = 'Problem registering with account "$G": connection closed'
    refused = 'authentication error - User "{}"'
    lines = [
        LINE.format(name, text).replace("mid:42", f"mid:{connection}")
        for connection in range(0, 12, 3)
        for name, text, connection in (
            ("box", closed, connection),
            ("other", refused.format("g2"), connection + 1),
            ("box", refused.format("g1"), connection),
        )
    ]
    without_user = LINE.format("box", "authentication error").replace('"box" - ', "")
    path.write_text("".join(lines) + without_user * 3)
    following.look()
    assert {(fault.gateway, fault.count) for fault in faults(tmp_path)} == {("g2", 4)}


def test_given_a_log_cut_split_or_overgrown_when_followed_then_nothing_twice_and_nothing_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.broker_log.LOG_SIZE_MAX", 1000)
    monkeypatch.setattr("runtime.broker_log.WRITTEN_EVERY_S", 0.0)
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda client: client)
    following.look()
    assert faults(tmp_path) == []
    line = LINE.format("box", SPACE)
    path.write_text(line[:50])
    following.look()
    path.write_text(line)
    following.look()
    following.look()
    assert [fault.count for fault in faults(tmp_path)] == [1]
    path.write_text(LINE.format("b", SPACE))  # begun anew, and shorter
    following.look()
    assert sorted((f.gateway, f.count) for f in faults(tmp_path)) == [("b", 1), ("box", 1)]
    with path.open("a") as out:
        out.write(line * 20)
    following.look()
    following.look()
    assert path.stat().st_size == 0, "set aside"
    assert path.with_suffix(".log.1").read_text().count(SPACE) == 21
    with path.open("a") as out:
        out.write(line)
    following.look()
    assert {f.gateway: f.count for f in faults(tmp_path)} == {"b": 1, "box": 22}


def test_given_lines_of_no_fault_when_read_then_silent_and_strange_ones_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda _: "")
    replaced = 'Replacing old client "x" since both have the same client ID "y"'
    path.write_text(
        "[1] 2026/11/22 07:03:39.03 [INF] Reloaded: accounts\n"
        "[1] 2026/11/22 07:03:39.03 [ERR] 10.0.0.9:4 - mid:5 - TLS handshake error: EOF\n"
        + LINE.format("box", "unable to connect: authentication error")
        + LINE.format("box", 'authentication error - User "g9"') * 2
        + LINE.format("box", replaced) * 4
        + LINE.format("box", "something new")
    )
    following.look()
    assert [(f.gateway, f.cause, f.detail) for f in faults(tmp_path)] == [
        ("box", "other", "something new")
    ]


def test_given_faults_when_examined_and_scraped_then_shown(tmp_path: Path) -> None:
    settings = load({}, data=tmp_path)
    assert doctor._gateways(settings).ok
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda _: "g1")
    path.write_text(LINE.format("box", SPACE))
    following.look()
    finding = doctor._gateways(settings)
    assert not finding.ok
    assert "g1" in finding.zh
    registry = CollectorRegistry()
    registry.register(GatewayFaults(tmp_path))
    shown = generate_latest(registry).decode()
    assert 'vaxtrail_gateway_faults{cause="topic",gateway="g1"} 1.0' in shown


def test_given_invented_names_when_read_then_few_are_kept_and_no_gateways_fault_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("runtime.broker_log.time.time", lambda: now)
    with broker_access.changed(tmp_path) as accounts:
        accounts.update({name: account(name, "one") for name in ("g1", "g2")})
    path = tmp_path / "broker.log"
    following = BrokerLog(tmp_path, path, lambda client: "g1" if client == "box" else "")
    path.write_text(
        LINE.format("box", SPACE) + LINE.format("x", 'authentication error - User "g2"') * 3
    )
    following.look()
    lines = [LINE.format(f"made-up-{n}", 'invalid character in client ID "."') for n in range(600)]
    lines += [LINE.format(f"made-up-{n}", 'authentication error - User "x"') for n in range(600)]
    lines += [line.replace("10.0.0.9", f"10.0.{n}.7") for n, line in enumerate(lines[:600])]
    with path.open("a") as out:
        out.writelines(lines)
    now += 60.0
    following.look()
    found = faults(tmp_path, now)
    assert [(f.gateway, f.cause) for f in found[:2]] == [("g1", "topic"), ("g2", "login")]
    assert len(found) == STRANGERS_MAX + 2
    assert len(following._told) == STRANGERS_MAX + 2
    assert found[2].gateway in {f"made-up-{n}" for n in range(600)}
    with path.open("a") as out:
        out.writelines(lines[:50])
        out.write(LINE.format("box", SPACE))
    now += 60.0
    following.look()
    same = [f for f in faults(tmp_path, now) if f.address == "10.0.0.9" and not f.known]
    assert len(same) <= NAMES_MAX + 1
    assert sum(f.count for f in same if f.gateway == "10.0.0.9") >= 45
    assert faults(tmp_path, now)[0].count == 2, "a gateway's own go on"


@pytest.mark.broker
def test_given_the_closed_shared_account_when_gateways_still_use_it_then_told_the_mend(
    watched: Watched,
) -> None:
    for _ in range(3):
        assert Client(watched.side.url("gateway", "of before")).refused
    assert "VAXTRAIL_MQTT_SHARED_ACCOUNT" in watched.found("shared").texts[1]


def test_given_causes_when_listed_then_one_for_each_code() -> None:
    assert len({cause.code for cause in CAUSES}) == len(CAUSES) == len(broker_log._BY_CODE) - 1


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        ("[ERR] JetStream failed to store a msg on stream '$G > $MQTT_msgs': no space", True),
        ("[WRN] JetStream stream '$G > $MQTT_msgs' critical write error: no space left", True),
        ('[ERR] 10.0.0.9:1 - mid:7 - "x" - JetStream failed to store a msg on stream', False),
        ('[ERR] 10.0.0.9:1 - mid:7 - error - User "[ERR] JetStream failed to store a msg"', False),
    ],
)
def test_given_words_of_the_broker_when_a_client_says_them_then_the_store_has_not_failed(
    tmp_path: Path, line: str, failed: bool
) -> None:
    log = BrokerLog(tmp_path, tmp_path / "broker.log", lambda _: "")
    (tmp_path / "broker.log").write_text(f"[1] 2026/11/22 07:03:42.948755 {line}\n")
    log.look()
    assert log.store_failed is failed
