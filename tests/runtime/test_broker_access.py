"""Accounts of gateways on both brokers, run for real: who is let in, and what each may say."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pytest
import structlog.testing

from ingest.main import CLIENT_ID
from runtime import broker_access, broker_tls, doctor, health
from runtime.broker_access import SESSION, Access, bcrypt_hash, checked_filter, pbkdf2_hash
from runtime.broker_log import BrokerLog, reload_fault
from runtime.broker_nats import subjects
from runtime.broker_tls import Tls
from runtime.clock import RealClock
from runtime.disk import DiskGuard
from runtime.process import wait_until
from runtime.refusal import Refusal
from runtime.services import ingest_session
from runtime.settings import load
from tests.conftest import open_path
from tests.runtime.brokers import (
    Client,
    Composed,
    Embedded,
    Mosquitto,
    Side,
    asked_natively,
    native_port,
)

pytestmark = pytest.mark.broker

NOW = datetime.now(UTC)
SIDES: dict[str, Callable[[Path, Tls | None], Side]] = {
    "embedded": Embedded,
    "mosquitto": Mosquitto,
    "composed": Composed,
}
MINE, OTHERS = "cc/v1/640202/s1/g1", "cc/v1/640202/s1/g2"


def account(gateway_id: str, password: str = "", *topics: str) -> Access:
    """Return an account in Dawukou with this password."""
    made = Access(gateway_id, "640202", "s1", topics)
    if not password:
        return made
    return replace(made, bcrypt=bcrypt_hash(password), pbkdf2=pbkdf2_hash(password))


def certified(side: Side, gateway_id: str) -> tuple[Access, dict[str, Path]]:
    """Issue a certificate; return the account it belongs to and the files a client needs."""
    assert side.tls is not None
    issued = broker_tls.issue(side.tls.folder, gateway_id, NOW)
    files = {
        "cert": side.data / f"{issued.subject}.crt",
        "key": side.data / f"{issued.subject}.key",
    }
    files["cert"].write_text(issued.certificate)
    files["key"].write_text(issued.key)
    made = replace(account(gateway_id, "of before"), subject=issued.subject)  # it had one once
    return made, {"ca": side.tls.folder / "ca.crt", **files}


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """Give a running broker of each kind, unencrypted."""
    open_path(tmp_path)
    made = SIDES[request.param](tmp_path, None)
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["embedded", "mosquitto"])
def encrypted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """Give a running broker of each kind that lets in by certificate."""
    open_path(tmp_path)
    broker_tls.init(tmp_path / "tls", [], NOW)
    made = SIDES[request.param](tmp_path, Tls(tmp_path / "tls", certificates=True))
    made.start()
    yield made
    made.stop()


def let_in(url: str) -> bool:
    """Tell whether a login succeeds now."""
    client = Client(url)
    if not client.refused:
        client.leave()
    return not client.refused


def test_given_accounts_when_gateways_speak_then_each_reaches_its_own_topics_alone(
    side: Side,
) -> None:
    side.put(account("g1", "one", "acme/g1/+/up"))
    side.put(account("g2", "two"))
    server = Client(side.server_url, "#")
    assert wait_until(lambda: let_in(side.url("g2", "two")), 5.0)
    g1 = Client(side.url("g1", "one"), f"{MINE}/ack/#")
    others = Client(side.url("g2", "two"), f"{MINE}/ack/#", f"{OTHERS}/ack/+")
    own = {
        *(f"{MINE}/{kind}" for kind in ("tele/d1", "backfill/d1", "event/d1", "status", "scan")),
        *(f"spBv1.0/640202/{kind}/g1" for kind in ("NBIRTH", "NDATA", "NDEATH")),
        *(f"spBv1.0/640202/{kind}/g1/d1" for kind in ("DBIRTH", "DDATA", "DDEATH")),
        "acme/g1/7/up",
    }
    for topic in (
        f"{OTHERS}/tele/d1",
        f"{MINE}/ack/d1",
        f"{MINE}/cmd/d1",
        f"{MINE}/reject/d1",
        "cc/v1/640202/s1/tele/d1",
        "spBv1.0/640202/NDATA/g2",
        "spBv1.0/640202/NCMD/g1",
        "acme/g2/7/up",
        "other",
    ):
        _forge(side.url("g1", "one"), topic)
    for topic in own:
        g1.say(topic)
    g1.say(f"{MINE}/status", b"last")
    assert {topic for topic, _ in server.hears(b"last")} == own
    server.say(f"{MINE}/ack/d1", b"for g1")
    server.say(f"{OTHERS}/ack/d1", b"for g2")
    assert g1.hears(b"for g1") == {(f"{MINE}/ack/d1", b"for g1")}
    assert others.hears(b"for g2") == {(f"{OTHERS}/ack/d1", b"for g2")}
    for client in (server, g1, others):
        client.leave()


def _forge(url: str, topic: str) -> None:
    """Publish what is not allowed, until it is acknowledged and dropped, or the client cut off."""
    forger = Client(url)
    sent = forger.say(topic)
    assert wait_until(lambda: sent.is_published() or forger.cut > 0, 5.0)
    forger.leave()


def test_given_passwords_when_wrong_rotated_or_revoked_then_refused_and_nobody_else_is_cut(
    side: Side,
) -> None:
    side.put(account("g1", "one"))
    side.put(account("g2", "two"))
    assert wait_until(lambda: let_in(side.url("g2", "two")), 5.0)
    assert not let_in(side.url("g1", "two"))
    assert not let_in(side.url("g3", "one"))
    assert not let_in(side.url())
    server, g1, g2 = (
        Client(url) for url in (side.server_url, side.url("g1", "one"), side.url("g2", "two"))
    )
    side.put(account("g1", "new"))
    assert wait_until(lambda: let_in(side.url("g1", "new")), 5.0)
    assert wait_until(lambda: g1.cut > 0, 5.0)
    assert not let_in(side.url("g1", "one"))
    g1.leave()
    g1 = Client(side.url("g1", "new"))
    side.revoke("g1")
    assert wait_until(lambda: g1.cut > 0, 5.0)
    assert not let_in(side.url("g1", "new"))
    assert (server.cut, g2.cut) == (0, 0)
    for client in (server, g1, g2):
        client.leave()


def test_given_a_flow_when_accounts_change_again_and_again_then_nothing_acknowledged_is_lost(
    side: Side,
) -> None:
    side.put(account("g1", "one"))
    assert wait_until(lambda: let_in(side.url("g1", "one")), 5.0)
    server, gateway = Client(side.server_url, "#"), Client(side.url("g1", "one"))
    ended = Event()
    sent: list[bytes] = []

    def flow() -> None:
        while not ended.wait(0.001):
            sent.append(b"%d" % len(sent))
            gateway.say(f"{MINE}/tele/d1", sent[-1]).wait_for_publish(10.0)

    flowing = Thread(target=flow)
    flowing.start()
    for n in range(10):
        side.put(account(f"other-{n}", "two"))
    ended.set()
    flowing.join()
    assert len(sent) > 10
    server.hears(*sent)
    assert (server.cut, gateway.cut) == (0, 0)
    gateway.leave()
    server.leave()


def test_given_certificates_when_gateways_come_then_only_with_ones_own_and_encrypted(
    encrypted: Side,
) -> None:
    g1, files = certified(encrypted, "g1")
    encrypted.put(g1)
    server = Client(encrypted.server_url, "#")
    assert wait_until(lambda: let_in(encrypted.url(files=files)), 5.0)
    client = Client(encrypted.url(files=files))
    _forge(encrypted.url(files=files), f"{OTHERS}/tele/d1")
    client.say(f"{MINE}/tele/d1", b"last")
    assert server.hears(b"last") == {(f"{MINE}/tele/d1", b"last")}
    assert not let_in(encrypted.url(files={"ca": files["ca"]})), "no certificate"
    assert not let_in(encrypted.url("g1", "one")), "unencrypted"
    stranger = encrypted.data / "stranger"
    broker_tls.init(stranger, [], NOW)
    strange = {"cert": stranger / "own.crt", "key": stranger / "own.key"}
    assert not let_in(encrypted.url(files={"ca": files["ca"], **strange})), "of another authority"
    client.leave()
    server.leave()


def test_given_a_certificate_replaced_or_revoked_when_used_then_out_of_use_without_a_restart(
    encrypted: Side,
) -> None:
    first, old = certified(encrypted, "g1")
    encrypted.put(first)
    server = Client(encrypted.server_url, "#")
    assert wait_until(lambda: let_in(encrypted.url(files=old)), 5.0)
    second, new = certified(encrypted, "g1")
    encrypted.put(second)
    assert wait_until(lambda: _reaches(encrypted.url(files=new), server, b"new"), 5.0)
    assert not _reaches(encrypted.url(files=old), server, b"old")
    encrypted.revoke("g1")
    assert wait_until(lambda: not _reaches(encrypted.url(files=new), server, b"revoked"), 5.0)
    assert server.cut == 0
    server.leave()


def _reaches(url: str, server: Client, payload: bytes) -> bool:
    """Tell whether a message of the first gateway reaches the server."""
    client = Client(url)
    if client.refused:
        return False
    client.say(f"{MINE}/tele/d1", payload)
    server.say("mark", b"mark " + payload)
    client.leave()
    heard = set()
    while (got := server.heard.get(timeout=10.0)[1]) != b"mark " + payload:
        heard.add(got)
    return payload in heard


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as another account")
def test_given_mosquitto_as_its_own_account_when_encrypted_then_our_secrets_are_closed_to_it(
    tmp_path: Path,
) -> None:
    open_path(tmp_path)
    tmp_path.chmod(0o755)
    tls = Tls(tmp_path / "secrets" / "tls", certificates=True)
    broker_tls.init(tls.folder, [], NOW)
    broker = Mosquitto(tmp_path, tls)
    broker.account = "nobody"
    g1, files = certified(broker, "g1")
    try:
        broker.start()
        assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
        broker.put(g1)  # which it reads anew as that account
        assert wait_until(lambda: let_in(broker.url(files=files)), 5.0)
        assert str(tls.folder) not in (tmp_path / "mosquitto" / "vaxtrail.conf").read_text()
    finally:
        broker.stop()


def test_given_the_authority_when_made_again_then_kept_and_the_broker_shows_its_new_certificate(
    tmp_path: Path,
) -> None:
    open_path(tmp_path)
    tls = Tls(tmp_path / "tls", certificates=False)
    broker_tls.init(tls.folder, ["broker.example", "10.0.0.1"], NOW)
    ca = {"ca": tls.folder / "ca.crt"}
    before = {file.name: file.read_bytes() for file in tls.folder.iterdir()}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tls.folder.iterdir())
    broker = Embedded(tmp_path, tls)
    broker.put(account("g1", "one"))
    broker.start()
    try:
        url = broker.url("g1", "one", ca)
        client = Client(url)
        assert not client.refused
        assert not let_in(broker.url("g1", "two", ca))
        broker_tls.init(tls.folder, [], NOW)
        broker.apply()
        after = {file.name: file.read_bytes() for file in tls.folder.iterdir()}
        kept = {name for name in before if after[name] == before[name]}
        assert kept == {"ca.crt", "ca.key"}
        assert wait_until(lambda: let_in(url), 5.0)
        assert client.cut == 0
        client.leave()
    finally:
        broker.stop()


@pytest.mark.parametrize("spoilt", ["broker.crt", "broker.key", "ca.crt"])
def test_given_a_spoilt_certificate_when_a_gateway_is_revoked_then_it_is_cut_off_all_the_same(
    tmp_path: Path, spoilt: str
) -> None:
    open_path(tmp_path)
    tls = Tls(tmp_path / "tls", certificates=True)
    broker_tls.init(tls.folder, [], NOW)
    broker = Embedded(tmp_path, tls)
    revoked, files = certified(broker, "g1")
    kept, others = certified(broker, "g2")
    broker.put(revoked)
    broker.put(kept)
    broker.start()
    try:
        ca = tmp_path / "ca-of-gateways"  # who keep their own
        ca.write_text((tls.folder / "ca.crt").read_text())
        files, others = {**files, "ca": ca}, {**others, "ca": ca}
        clients = [Client(broker.url(files=each)) for each in (files, others)]
        (tls.folder / spoilt).write_text("-----BEGIN CERTIFICATE-----\nnone\n")
        with structlog.testing.capture_logs() as said:
            broker.revoke("g1")
        assert [entry["event"] for entry in said] == ["certificate_not_taken"]
        assert wait_until(lambda: clients[0].cut > 0, 5.0)
        assert not let_in(broker.url(files=files))
        assert let_in(broker.url(files=others))
        assert clients[1].cut == 0
        clients[1].leave()
        with pytest.raises(Refusal, match="tls init"):
            tls.load()
        broker.stop()
        broker.start()
        broker.port = broker.server.port
        assert let_in(broker.url(files=others)), "with the last good ones"
    finally:
        broker.stop()
    with pytest.raises(Refusal, match="tls init"):
        Embedded(tmp_path / "another", tls).start()


def test_given_a_broker_that_cannot_read_its_accounts_when_revoked_then_told_and_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.broker.RELOAD_AGAIN_SECONDS", 0.1)
    open_path(tmp_path)
    broker = Embedded(tmp_path, None)
    broker.put(account("g1", "one"))
    log = BrokerLog(tmp_path, broker.server.log, broker.server.user_of)
    broker.start()

    def look() -> bool:
        broker.server.refresh(again=log.reload_failed)
        log.look()
        return log.reload_failed

    try:
        client = Client(broker.url("g1", "one"))
        with broker_access.changed(tmp_path) as accounts:
            del accounts["g1"]
            accounts["g2"] = account("g2", "two", "no topic")
        assert wait_until(look, 5.0)
        log._written = 0.0
        log.look()
        told = reload_fault(tmp_path)
        assert told
        assert "no topic" in told.detail
        assert all("vaxtrail up" in text for text in told.texts)
        assert not doctor._gateways(load({}, data=tmp_path)).ok
        check = health.Health(
            "", broker.server_url, DiskGuard([tmp_path], 0.0), RealClock(), data=tmp_path
        )
        assert "吊销" in check.problems()["broker"]
        assert client.cut == 0
        assert wait_until(lambda: look() and _failures(broker) > 2, 5.0), "tried again"
        with broker_access.changed(tmp_path) as accounts:
            del accounts["g2"]
        assert wait_until(lambda: not look(), 5.0)
        assert wait_until(lambda: client.cut > 0, 5.0)
        assert wait_until(lambda: look() or reload_fault(tmp_path) is None, 5.0)
    finally:
        broker.stop()


def _failures(broker: Embedded) -> int:
    return broker.server.log.read_text().count("Failed to reload")


def test_given_the_native_port_when_accounts_come_there_then_refused(tmp_path: Path) -> None:
    open_path(tmp_path)
    broker_tls.init(tmp_path / "tls", [], NOW)
    broker = Embedded(tmp_path, Tls(tmp_path / "tls", certificates=True))
    access, _ = certified(broker, "g1")
    broker.put(access)
    broker.start()
    try:
        for user in ("CN=server", access.subject):
            connect = json.dumps({"user": user, "pass": "", "verbose": False})
            answer = asked_natively(native_port(broker.server), connect)
            assert b"INFO" in answer
            assert b"Authorization Violation" in answer
    finally:
        broker.stop()


def test_given_mqtt_filters_when_made_subjects_then_as_the_broker_maps_topics() -> None:
    found = list(subjects(["a/+/c", "a/#", "spBv1.0//x"]))
    assert found == ["a.*.c", "a", "a.>", "spBv1//0./.x"]


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/*", "a/#/b", "a+/b", "a#", "#", "+/x", "cc/v1/#", "spBv1.0/x", "$SYS/#", "a>"],
)
def test_given_a_filter_that_is_none_or_not_ones_own_when_granted_then_refused(text: str) -> None:
    with pytest.raises(Refusal):
        checked_filter(text)


def test_given_accounts_when_kept_then_private_and_without_passwords(tmp_path: Path) -> None:
    made = account("g1", "open sesame", "acme/#")
    with broker_access.changed(tmp_path) as accounts:
        accounts["g1"] = made
    kept = broker_access.path(tmp_path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "sesame" not in kept.read_text()
    assert broker_access.load(tmp_path) == {"g1": made}
    assert checked_filter("acme/#") == "acme/#"


def test_given_a_fresh_broker_when_started_then_ingest_has_a_name_nobody_guesses(
    tmp_path: Path,
) -> None:
    open_path(tmp_path)
    assert ingest_session(tmp_path) == CLIENT_ID
    broker = Embedded(tmp_path, None)
    broker.start()
    first = ingest_session(tmp_path)
    broker.stop()
    assert re.fullmatch(rf"{CLIENT_ID}-[\w-]{{32}}", first)
    (tmp_path / "secrets" / SESSION).unlink()  # as a broker of before has none
    broker.start()
    broker.stop()
    assert ingest_session(tmp_path) == CLIENT_ID
