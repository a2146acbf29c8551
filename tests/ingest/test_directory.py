"""Who may send: a device through the gateway that it had at the time its message tells of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest

from domain.alerting.watch import to_ms
from domain.cold_chain.events import DeviceMoved, GatewayReplaced
from domain.cold_chain.model import device_stream, gateway_stream
from ingest.batch import Received
from ingest.worker import Worker
from store.logs import Ledger
from tests.conftest import START, Database, ManualClock
from tests.ingest import field
from tests.ingest.field import GATEWAY, REGION, SITE, said

pytestmark = pytest.mark.database

LEFT = START - timedelta(hours=2)
_numbers = count(1)


@pytest.fixture
def worker(database: Database, ledger: Ledger, clock: ManualClock) -> Iterator[Worker]:
    """Give a worker of a field with devices `d-1` and `d-2` behind a gateway that was replaced."""
    if next(_numbers) == 1:
        field.register(ledger, "d-1", "d-2")
        replaced = GatewayReplaced(gateway_id=GATEWAY, replacement_id="gw-2", replaced_at=LEFT)
        field.append(ledger, [(gateway_stream(GATEWAY), 2, replaced)])
        moved = DeviceMoved(
            device_id="d-2",
            gateway_id="gw-9",
            site_id="other",
            region_code="640205",
            moved_at=LEFT + timedelta(hours=1),
        )
        field.append(ledger, [(device_stream("d-2"), 3, moved)])
    made = field.started(database.app_dsn, clock)
    yield made
    made.close()


def told(device_id: str, place: str, first_min: int, n: int) -> Received:
    """Return a message through a gateway: n readings, a minute apart, from minutes after LEFT."""
    body = json.loads(field.batch_of(device_id, next(_numbers) * 100, [4.0] * n).payload)
    body["base"] |= {"ts": to_ms(LEFT) + first_min * 60_000, "step": 60_000}
    return field.message(f"cc/v1/{place}/backfill/{device_id}", body)


OLD, NEW, AWAY = f"{REGION}/{SITE}/{GATEWAY}", f"{REGION}/{SITE}/gw-2", "640205/other/gw-9"


@pytest.mark.parametrize(
    ("device_id", "place", "first_min", "n", "taken"),
    [
        ("d-1", OLD, -10, 10, True),  # the last of them one minute before the gateway was left
        ("d-1", OLD, -10, 11, False),  # one reading more is of the time after
        ("d-1", OLD, 10, 1, False),
        ("d-1", NEW, 10, 5, True),
        ("d-1", NEW, -30, 5, True),  # what the device kept from before the gateway came
        ("d-1", AWAY, 10, 1, False),
        ("d-2", OLD, -40, 2, True),
        ("d-2", NEW, 20, 2, True),
        ("d-2", NEW, 60, 1, False),
        ("d-2", AWAY, 60, 2, True),
        ("d-2", AWAY, -90, 2, True),
    ],
)
def test_given_a_gateway_replaced_when_messages_come_then_by_the_time_they_tell_of(
    worker: Worker, device_id: str, place: str, first_min: int, n: int, taken: bool
) -> None:
    (answer,) = said(worker.take([told(device_id, place, first_min, n)]))
    if taken:
        assert answer["n"] == n
    else:
        assert answer["code"] == "acl"


def test_given_a_gateway_replaced_when_a_device_reports_then_by_the_time_too(
    worker: Worker,
) -> None:
    def report(place: str, minutes: int) -> Received:
        body = {"ts": to_ms(LEFT) + minutes * 60_000, "kind": "door"}
        return field.message(f"cc/v1/{place}/event/d-1", body)

    answers = said(worker.take([report(OLD, -1), report(OLD, 1), report(NEW, 1)]))
    assert [answer.get("code") for answer in answers] == [None, "acl", None]


def test_given_a_device_when_its_places_are_asked_then_all_in_order(worker: Worker) -> None:
    directory = worker._directory
    assert [place.gateway_id for place in directory.places("d-2")] == [GATEWAY, "gw-2", "gw-9"]
    assert directory.devices["d-2"].region_code == "640205"
