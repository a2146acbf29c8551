"""An alert worked out again from what is stored is, byte for byte, what people are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from domain.alerting.model import condition_stream
from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain.events import ProbeRemoved
from domain.cold_chain.model import device_stream
from ingest.retold import retold
from ingest.worker import Worker
from projections import alerting
from projections.runner import Runner
from store.logs import Ledger
from tests.alerts.notices_of import raised
from tests.conftest import Database
from tests.ingest import field
from tests.ingest.field import MINUTE_MS, PLACED, batch_of
from tests.runtime.instance import run

pytestmark = pytest.mark.database

ORIGIN_MS = to_ms(PLACED)
HOT, COOL = [9.0, 9.5, 9.9, 9.4], [5.0, 5.1, 5.0, 4.9]


@pytest.fixture(scope="module")
def following(database: Database) -> Iterator[Runner]:
    made = Runner(database.app_dsn)
    yield made
    made.close()


class Told:
    """The alerts of one device, as shown and as worked out again."""

    def __init__(self, worker: Worker, ledger: Ledger, following: Runner, device: str) -> None:
        self.worker, self.ledger, self.following, self.device = worker, ledger, following, device

    def say(self, first: int, *values: float) -> None:
        """Let the device tell readings, numbered from `first` on."""
        self.worker.take([batch_of(self.device, first, values, start_ms=ORIGIN_MS)])

    def alerts(self) -> list[alerting.AlertRow]:
        """Return its alerts, by beginning."""
        self.worker.flush()
        self.following.follow_once()
        rows = alerting.alerts(self.following.conn, limit=100)
        mine = (row for row in rows if row.device_id == self.device)
        return sorted(mine, key=lambda row: row.started_at)

    def again(self, alert_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return an alert as worked out again and as shown."""
        found = retold(self.following.conn, self.ledger, alert_id)
        assert found is not None
        again, shown = found
        assert (again == shown) == (json.loads(again) == json.loads(shown))
        return json.loads(again), json.loads(shown)


@pytest.fixture
def of_device(worker: Worker, ledger: Ledger, following: Runner, device: str) -> Told:
    return Told(worker, ledger, following, device)


def test_given_alerts_open_over_and_corrected_when_worked_out_again_then_byte_identical(
    of_device: Told,
) -> None:
    of_device.say(0, *COOL)
    of_device.say(6, *HOT)
    of_device.say(10, *COOL)
    of_device.say(4, 8.5, 8.6)  # late: it began earlier
    of_device.say(20, *HOT)
    of_device.say(24, 11.0)  # it lasts, and this is its peak so far
    first, second = of_device.alerts()
    assert (first.state, first.cause, second.state) == ("resolved", "late_data", "firing")
    assert second.peak_c == 11.0
    for row in (first, second):
        again, shown = of_device.again(row.alert_id)
        assert again == shown


def test_given_a_probe_taken_away_and_readings_withdrawn_when_worked_out_again_then_identical(
    of_device: Told, ledger: Ledger
) -> None:
    of_device.say(0, *COOL)
    of_device.say(10, 9.0)
    of_device.say(12, 9.0)
    of_device.say(11, 5.0)  # late: it was never hot for long enough
    of_device.say(20, *HOT)
    removed_at = to_datetime(ORIGIN_MS + 25 * 5 * MINUTE_MS)
    removed = ProbeRemoved(device_id=of_device.device, channel="t1", removed_at=removed_at)
    field.append(ledger, [(device_stream(of_device.device), 3, removed)])
    of_device.say(25, 5.0)
    rows = of_device.alerts()
    assert [row.state for row in rows] == ["withdrawn", "closed_unverified"]
    for row in rows:
        again, shown = of_device.again(row.alert_id)
        assert again == shown


def test_given_what_is_shown_differs_when_replayed_then_told_with_status_1(
    of_device: Told, database: Database, tmp_path: Any
) -> None:
    of_device.say(0, *HOT)
    of_device.say(4, *COOL)
    (row,) = of_device.alerts()
    setting = {"VAXTRAIL_DATABASE_URL": database.app_dsn}
    done = run(tmp_path, "alert", "replay", row.alert_id, **setting)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["peak_c"] == 9.9
    change = "UPDATE rm_alerting.alert SET peak_c = 9.8 WHERE alert_id = %s"
    of_device.following.conn.execute(change, (row.alert_id,))
    done = run(tmp_path, "alert", "replay", row.alert_id, **setting)
    assert done.returncode == 1
    assert "  peak_c: 9.8 → 9.9" in done.stdout.splitlines()


def test_given_a_condition_when_worked_out_again_then_from_its_events(of_device: Told) -> None:
    alert_id = str(condition_stream("gateway_offline", "gw-1", 1))
    stream = condition_stream("gateway_offline", "gw-1", 1)
    field.append(of_device.ledger, [(stream, 1, raised(alert_id=alert_id))])
    of_device.following.follow_once()
    again, shown = of_device.again(alert_id)
    assert again == shown
    assert again["subject_id"] == "gw-1"


@pytest.mark.parametrize("alert_id", ["x", "00000000-0000-5000-8000-000000000000"])
def test_given_no_such_alert_when_replayed_then_told_in_both_languages(
    database: Database, tmp_path: Any, alert_id: str
) -> None:
    done = run(tmp_path, "alert", "replay", alert_id, VAXTRAIL_DATABASE_URL=database.app_dsn)
    assert done.returncode == 1
    zh, en = done.stderr.splitlines()
    assert (zh, en) == ("没有这条告警", "There is no such alert")


def test_given_the_stream_of_something_else_when_asked_for_then_none(of_device: Told) -> None:
    stream = str(device_stream(of_device.device))
    assert retold(of_device.following.conn, of_device.ledger, stream) is None
