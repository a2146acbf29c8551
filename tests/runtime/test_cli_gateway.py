"""Accounts at the command line: issued once, replaced, listed, revoked, and on record."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.accounts.events import GatewayAccessGranted, GatewayAccessRevoked
from domain.accounts.model import gateway_access_stream
from runtime import broker_access
from runtime.broker_revoked import Revoked, note, record, waiting
from runtime.broker_tls import Tls
from runtime.process import wait_until
from store.logs import Ledger
from tests.conftest import Database, free_port, open_path
from tests.ingest import field
from tests.runtime.brokers import Client, Embedded
from tests.runtime.instance import Done, run

GATEWAY = field.GATEWAY
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def registered(ledger: Ledger) -> Ledger:
    """Register the site with its gateway."""
    field.register(ledger)
    return ledger


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a data folder that the broker's account can enter."""
    open_path(tmp_path)
    return tmp_path


@pytest.fixture
def broker(data: Path) -> Iterator[Embedded]:
    """Run a broker on the folder."""
    made = Embedded(data, None)
    made.start()
    yield made
    made.stop()


def _run(database: Database, data: Path, *command: str, **extra: str) -> Done:
    return run(data, *command, VAXTRAIL_DATABASE_URL=database.app_dsn, **extra)


def _encrypted(folder: Path) -> dict[str, str]:
    """Return settings with TLS and, as it has no certificate, without the shared account."""
    return {"VAXTRAIL_MQTT_TLS": str(folder), "VAXTRAIL_MQTT_SHARED_ACCOUNT": ""}


def _facts(ledger: Ledger, gateway_id: str) -> list[Any]:
    return [each.event for each in ledger.stream(gateway_access_stream(gateway_id))]


def _let_in(broker: Embedded, user: str, password: str) -> bool:
    client = Client(broker.url(user, password))
    if not client.refused:
        client.leave()
    return not client.refused


def test_given_a_registered_gateway_when_issued_rotated_and_revoked_then_so_at_the_broker(
    database: Database, registered: Ledger, data: Path, broker: Embedded
) -> None:
    issued = []
    for topics in ([], ["--topic", "acme/+/up"], []):
        done = _run(database, data, "gateway", "credentials", GATEWAY, *topics)
        assert done.returncode == 0, done.stderr
        issued.append(done.stdout.strip())
        broker.apply()
        assert [_let_in(broker, GATEWAY, each) for each in issued] == [
            *[False] * (len(issued) - 1),
            True,
        ]
    kept = broker_access.load(data)[GATEWAY]
    assert kept.topics == ("acme/+/up",), "kept until other ones are named"
    assert (kept.region_code, kept.site_id) == (field.REGION, field.SITE)
    assert not any(each in broker_access.path(data).read_text() for each in issued)
    listed = run(data, "gateway", "list")
    assert GATEWAY in listed.stdout
    assert "acme/+/up" in listed.stdout
    assert issued[-1] not in listed.stdout
    revoked = _run(database, data, "gateway", "revoke", GATEWAY)
    assert revoked.returncode == 0, revoked.stderr
    broker.apply()
    assert not _let_in(broker, GATEWAY, issued[-1])
    facts = _facts(registered, GATEWAY)
    assert [type(fact) for fact in facts] == [GatewayAccessGranted] * 3 + [GatewayAccessRevoked]
    assert not any(each in str(facts) for each in (*issued, kept.bcrypt, kept.pbkdf2))


@pytest.mark.parametrize(
    ("gun", "again"), [("gun-2", ["revoke"]), ("gun-4", ["credentials", "--site", field.SITE])]
)
def test_given_no_database_when_revoked_then_at_once_and_on_record_later_as_of_then(
    database: Database, registered: Ledger, data: Path, broker: Embedded, gun: str, again: list[str]
) -> None:
    nowhere = {"VAXTRAIL_DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none"}
    issued = _run(database, data, "gateway", "credentials", gun, "--site", field.SITE)
    assert issued.returncode == 0, issued.stderr
    password = issued.stdout.strip()
    broker.apply()
    client = Client(broker.url(gun, password))
    count = len(_facts(registered, gun))
    before = datetime.now(UTC)
    for settings in (nowhere, {}):  # without an instance nobody knows where the database is
        done = run(data, "gateway", "revoke", gun, **settings)
        assert done.returncode == 0, done.stderr
        assert "尚未入账" in done.stderr
        assert "not on record" in done.stderr
    after = datetime.now(UTC)
    broker.apply()
    assert wait_until(lambda: client.cut > 0, 5.0)
    assert not _let_in(broker, gun, password)
    assert gun in run(data, "doctor").stdout
    assert len(_facts(registered, gun)) == count
    done = _run(database, data, "gateway", again[0], gun, *again[1:])
    assert done.returncode == 0, done.stderr
    assert "尚未入账" not in done.stderr
    revoked = registered.stream(gateway_access_stream(gun))[count]
    assert isinstance(revoked.event, GatewayAccessRevoked)
    assert before <= revoked.meta.occurred_at <= after < revoked.meta.recorded_at
    assert revoked.meta.region_code == field.REGION
    assert waiting(data) == []


def test_given_a_revocation_cut_short_when_recorded_then_only_what_holds(
    database: Database, registered: Ledger, data: Path
) -> None:
    _run(database, data, "gateway", "credentials", "gun-3", "--site", field.SITE)
    note(data, Revoked("gun-3", field.REGION, NOW.isoformat()))  # killed before the accounts
    note(data, Revoked("nobody", field.REGION, NOW.isoformat()))
    record(data, database.app_dsn, NOW)
    assert waiting(data) == []
    assert [type(fact) for fact in _facts(registered, "gun-3")] == [GatewayAccessGranted]
    assert _facts(registered, "nobody") == []


def test_given_a_scanner_when_issued_with_its_site_then_an_account_there(
    database: Database, registered: Ledger, data: Path
) -> None:
    done = _run(database, data, "gateway", "credentials", "gun-1", "--site", field.SITE)
    assert done.returncode == 0, done.stderr
    access = broker_access.load(data)["gun-1"]
    assert f"cc/v1/{field.REGION}/{field.SITE}/gun-1/scan" in access.said
    (fact,) = _facts(registered, "gun-1")
    assert (fact.by, fact.site_id) == ("password", field.SITE)


@pytest.mark.parametrize(
    "command",
    [
        ["credentials", "nobody"],
        ["credentials", "server"],
        ["credentials", "gateway"],
        ["credentials", "a.b"],
        ["credentials", "gun-1", "--site", "nowhere"],
        ["credentials", GATEWAY, "--topic", "cc/v1/#"],
        ["certificate", GATEWAY, "certificates"],
        ["revoke", "nobody"],
    ],
)
@pytest.mark.usefixtures("registered")
def test_given_what_cannot_be_when_asked_then_refused_in_both_languages(
    database: Database, data: Path, command: list[str]
) -> None:
    done = _run(database, data, "gateway", *command)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert broker_access.load(data) == {}


def test_given_an_authority_when_certificates_are_issued_then_the_newest_lets_in(
    database: Database, registered: Ledger, data: Path
) -> None:
    folder = data / "tls"
    setting = _encrypted(folder)
    made = run(data, "tls", "init", "--host", "broker.example", **setting)
    assert made.returncode == 0, made.stderr
    broker = Embedded(data, Tls(folder, certificates=True))
    broker.start()
    try:
        for n in (1, 2):
            target = data / f"for-gateway-{n}"
            done = _run(database, data, "gateway", "certificate", GATEWAY, str(target), **setting)
            assert done.returncode == 0, done.stderr
            assert {file.name for file in target.iterdir()} == {
                "ca.crt",
                f"{GATEWAY}.crt",
                f"{GATEWAY}.key",
            }
            assert stat.S_IMODE((target / f"{GATEWAY}.key").stat().st_mode) == 0o600
        broker.apply()
        found = []
        for n in (1, 2):
            target = data / f"for-gateway-{n}"
            files = {"cert": target / f"{GATEWAY}.crt", "key": target / f"{GATEWAY}.key"}
            files["ca"] = target / "ca.crt"
            client = Client(broker.url(files=files))
            found.append(not client.refused)
            client.leave()
        assert found == [False, True]
    finally:
        broker.stop()
    assert "证书" in run(data, "gateway", "list").stdout
    assert _facts(registered, GATEWAY)[-1].by == "certificate"
    assert "203" in run(data, "doctor", **setting).stdout


def test_given_the_shared_account_with_certificates_when_set_then_refused(data: Path) -> None:
    done = run(data, "gateway", "list", VAXTRAIL_MQTT_TLS=str(data))
    assert done.returncode == 1
    assert "mqtt_shared_account" in done.stderr


def test_given_tls_without_its_files_when_asked_for_then_refused(data: Path) -> None:
    done = run(data, "broker-files", "mosquitto", str(data / "m"), **_encrypted(data))
    assert done.returncode == 1
    assert "tls init" in done.stderr
    done = run(data, "doctor", **_encrypted(data))
    assert "broker.crt" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("kind", "files"),
    [("mosquitto", {"acl", "passwd", "vaxtrail.conf", "ingest-url"}), ("nats", {"users.conf"})],
)
@pytest.mark.usefixtures("registered")
def test_given_accounts_when_written_for_a_broker_then_private_and_complete(
    database: Database, data: Path, kind: str, files: set[str]
) -> None:
    assert _run(database, data, "gateway", "credentials", GATEWAY).returncode == 0
    done = run(data, "broker-files", kind, str(data / "out"))
    assert done.returncode == 0, done.stderr
    written = {file.name: file for file in (data / "out").iterdir() if file.is_file()}
    assert written.keys() == files
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in written.values())
    assert any(GATEWAY in file.read_text() for file in written.values())


def test_given_the_accounts_held_by_another_when_changed_then_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.broker_access.LOCK_SECONDS", 0.1)
    with broker_access.changed(data):
        done = run(data, "gateway", "revoke", GATEWAY)
    assert done.returncode == 1
    assert wait_until(lambda: "gateways.lock" in str(list(data.iterdir())), 1.0)
