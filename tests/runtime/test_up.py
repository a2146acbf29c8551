"""The whole tree as one command: started, looked after, killed in every way, started again."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from runtime.clock import RealClock
from runtime.disk import DiskGuard
from runtime.health import Health
from runtime.process import alive, pids_with_argument, wait_until
from tests.runtime.instance import Up, fetch, open_folder, run, run_apart, running

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

PARTS = {"postgres", "broker", "project", "alert", "ingest", "api"}
COUNT = "SELECT count(*) FROM ledger_events"
LOGS = (
    "SELECT md5(string_agg(md5(concat_ws('|', originator_id, originator_version, topic, state,"
    " notification_id)), '' ORDER BY notification_id)) FROM {}"
)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Run one instance for the tests that leave it running."""
    with open_folder() as folder, running(folder / "data", traced=True) as started:
        yield started


@pytest.fixture(scope="module")
def key(up: Up) -> str:
    """Issue an administrator's key at the command line."""
    made = run(up.data, "key", "create", "--role", "admin", "--region", "000000")
    assert made.returncode == 0, made.stderr
    shown = made.stdout.strip()
    assert shown.startswith("vt_")
    assert len(shown) == len("vt_") + 43
    return shown


def _status(data: Path) -> dict[str, Any]:
    done = run(data, "status", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["running"] else 3), done.stderr
    return found


def _publish(up: Up, topic: str, payload: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "test-gateway")
    password = (up.data / "secrets" / "mqtt_gateway").read_text()
    client.username_pw_set("gateway", password)
    client.connect("127.0.0.1", up.instance["ports"]["mqtt"])
    client.loop_start()
    client.publish(topic, payload, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def _one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as conn:
        return (conn.execute(query.encode()).fetchone() or (None,))[0]


def test_given_instance_when_asked_for_status_then_parts_ports_positions_and_health(up: Up) -> None:
    found = _status(up.data)
    assert set(found["parts"]) == PARTS
    assert set(found["ports"]) == {"api", "mqtt", "postgres"}
    assert found["ready"], found["health"]
    assert found["position"].startswith("L")
    assert found["followers"]
    assert found["clock"]["kind"] == "real"
    assert "就绪" in run(up.data, "status").stdout


def test_given_instance_when_second_one_starts_on_its_folder_then_told_who_has_it(up: Up) -> None:
    second = run(up.data, "up")
    assert second.returncode == 1
    assert str(up.process.pid) in second.stderr
    assert "使用" in second.stderr


@pytest.mark.parametrize("service", [None, "ingest", "project", "alert", "api"])
def test_given_instance_when_its_health_is_asked_then_well_and_ill_without_it(
    up: Up, service: str | None
) -> None:
    asked = ["health", *([service] if service else [])]
    well = run(up.data, *asked)
    assert well.returncode == 0, well.stderr
    ill = run(up.data, *asked, VAXTRAIL_DATABASE_URL=up.instance["app_dsn"].replace("@", "x@"))
    assert ill.returncode == 1
    assert "数据库" in ill.stderr


def test_given_a_service_that_is_away_when_its_health_is_asked_then_only_it_is_ill(
    database: Any,
) -> None:
    health = Health(
        database.app_dsn,
        "mqtt://127.0.0.1:1",
        DiskGuard([Path("/")], 0.0),
        RealClock(),
        data=Path("no-embedded-broker"),
    )
    assert set(health.service_problems("ingest")) == {"ingest", "broker"}
    with psycopg.connect(database.app_dsn, application_name="vaxtrail project"):
        assert health.service_problems("project") == {}
        assert set(health.service_problems("alert")) == {"alert"}


def test_given_keys_when_listed_and_revoked_then_told_and_no_longer_accepted(up: Up) -> None:
    made = run(up.data, "key", "create", "--role", "cdc", "--region", "640205", "--label", "test")
    url = up.instance["api_url"] + "/api/v1/position"
    assert wait_until(lambda: _accepted(url, made.stdout.strip()), 10.0)
    (line,) = [one for one in run(up.data, "key", "list").stdout.splitlines() if "640205" in one]
    identifier = line.split()[0]
    assert "有效 valid" in line
    assert run(up.data, "key", "revoke", identifier).returncode == 0
    assert wait_until(lambda: not _accepted(url, made.stdout.strip()), 10.0)
    (line,) = [one for one in run(up.data, "key", "list").stdout.splitlines() if "640205" in one]
    assert "已吊销 revoked" in line
    unknown = run(up.data, "key", "revoke", "nobody")
    assert unknown.returncode == 1
    assert len(unknown.stderr.splitlines()) == 2


def test_given_key_when_asking_the_api_then_answered_and_without_it_refused(
    up: Up, key: str
) -> None:
    url = up.instance["api_url"] + "/api/v1/position"
    assert wait_until(lambda: _accepted(url, key), 10.0)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetch(url)


def _accepted(url: str, key: str) -> bool:
    try:
        return "position" in fetch(url, key)
    except urllib.error.HTTPError:
        return False


def test_given_instance_when_scraped_then_the_four_figures_are_there(up: Up) -> None:
    page = fetch(up.instance["api_url"] + "/metrics")
    for name in (
        "vaxtrail_readings_stored_total",
        "vaxtrail_follower_behind_events",
        "vaxtrail_rollups_behind_events",
        "vaxtrail_alert_delay_seconds",
        "vaxtrail_quarantine",
        "vaxtrail_gaps",
    ):
        assert f"\n# TYPE {name.removesuffix('_total')}" in page


def test_given_unknown_device_when_it_sends_then_its_message_is_listed_and_can_be_set_aside(
    up: Up,
) -> None:
    _publish(up, "cc/v1/640202/s1/g1/tele/nobody", b'{"v":1,"boot":1,"seq":1,"ts":1,"m":{}}')
    query = "SELECT id::text FROM quarantine WHERE state = 'open'"
    assert wait_until(lambda: _one(up.instance["app_dsn"], query) is not None, 15.0)
    refused = _one(up.instance["app_dsn"], query)
    assert "640202" in run(up.data, "quarantine", "list").stdout
    assert run(up.data, "quarantine", "replay", refused).returncode == 0
    assert run(up.data, "quarantine", "set-aside", refused).returncode == 0
    absent = run(up.data, "quarantine", "replay", "00000000-0000-0000-0000-000000000000")
    assert absent.returncode == 1


@pytest.mark.parametrize("part", ["ingest", "postgres", "broker"])
def test_given_part_killed_when_watched_then_it_is_back_at_its_place(up: Up, part: str) -> None:
    before, ports = up.pid(part), up.instance["ports"]
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: up.instance["pids"].get(part, before) != before, 30.0)
    up.wait_ready()
    assert up.instance["ports"] == ports
    assert up.instance["restarts"][part] == 1
    assert f'"name": "{part}", "restart_in_s"' in up.log.read_text()


def test_given_read_models_when_checked_then_equal_to_a_rebuild(up: Up) -> None:
    assert "accounts" in run(up.data, "projections", "list").stdout
    checked = run(up.data, "projections", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert run(up.data, "projections", "rebuild", "accounts").returncode == 0
    assert run(up.data, "projections", "rebuild", "nothing").returncode == 1


@pytest.fixture(scope="module")
def restored(up: Up) -> Iterator[Up]:
    """Back the instance up while it runs, and run what is restored from that."""
    backup, data = up.data.parent / "backup", up.data.parent / "restored"
    assert run(up.data, "backup", str(backup)).returncode == 0
    made = run(data, "restore", str(backup))
    assert made.returncode == 0, made.stderr
    with running(data) as started:
        yield started


def test_given_backup_while_running_when_restored_then_equal_logs_and_the_same_keys(
    up: Up, key: str, restored: Up
) -> None:
    assert restored.instance["ports"] != up.instance["ports"]
    for table in ("telemetry_events", "ledger_events"):
        query = LOGS.format(table)
        assert _one(up.instance["app_dsn"], query) == _one(restored.instance["app_dsn"], query)
    assert _accepted(restored.instance["api_url"] + "/api/v1/position", key)
    backup = str(up.data.parent / "backup")
    assert run(up.data, "backup", backup).returncode == 1, "not into a folder with something"
    assert run(up.data, "restore", backup).returncode == 1, "not over an instance"


def test_given_killed_supervisor_when_started_again_then_nothing_left_and_nothing_lost(
    restored: Up,
) -> None:
    data, pids = restored.data, list(restored.instance["pids"].values())
    assert run(data, "key", "create", "--role", "cdc", "--region", "640200").returncode == 0
    stored = _one(restored.instance["app_dsn"], COUNT)
    restored.process.kill()
    restored.process.wait()
    # At once: what is still ending is found, waited for and taken over.
    with running(data) as second:
        assert not set(pids) & set(second.instance["pids"].values())
        assert not any(map(alive, pids))
        assert _one(second.instance["app_dsn"], COUNT) == stored > 0
        assert second.stop() == 0
    assert not list(pids_with_argument(str(data)))
    assert not _status(data)["running"]
    other_clock = run(data, "up", VAXTRAIL_CLOCK="stepped")
    assert other_clock.returncode == 1
    assert "时钟" in other_clock.stderr


def test_given_database_alone_when_asked_then_managed_by_up_and_open_to_psql(up: Up) -> None:
    assert run(up.data, "db", "status").returncode == 0
    assert run(up.data, "db", "stop").returncode == 1
    asked = run_apart(up.data, "db", "psql", "-tAc", "SELECT current_user")
    assert asked.stdout.strip() == "vaxtrail_app", asked.stderr
    asked = run_apart(up.data, "db", "psql", "--owner", "-tAc", "SELECT current_user")
    assert asked.stdout.strip() == "vaxtrail_owner", asked.stderr
    read = run_apart(up.data, "db", "psql", "-tAc", "SELECT count(*) FROM rm_accounts.api_key")
    assert int(read.stdout) > 0, read.stderr


def test_given_addresses_of_other_servers_when_started_then_none_of_its_own(
    database: Any, broker: Any
) -> None:
    with (
        open_folder() as folder,
        running(
            folder / "data",
            VAXTRAIL_DATABASE_URL=database.app_dsn,
            VAXTRAIL_OWNER_DATABASE_URL=database.owner_dsn,
            VAXTRAIL_MQTT_URL=broker.server_url,
        ) as up,
    ):
        pids = set(up.instance["pids"]) - {"migrate"}  # which may not have ended yet
        assert pids == PARTS - {"postgres", "broker"}
        refused = run(up.data, "backup", str(folder / "backup"))
        assert refused.returncode == 1
        assert "内置" in refused.stderr
