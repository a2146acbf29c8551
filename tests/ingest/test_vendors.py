"""Vendors' messages held against the registry: stored, kept aside, divided among workers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.cold_chain.events import (
    DeviceRegistered,
    GatewayRegistered,
    PayloadProfilePublished,
)
from domain.cold_chain.model import Device
from domain.cold_chain.payload_profiles import profile_stream
from ingest import vendors
from ingest.batch import Batch, Item, Received
from ingest.directory import Directory
from ingest.profiles import load
from ingest.refusals import Refused
from ingest.state import DeviceStates
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.hub import HUB, TS_MS

NOW = datetime(2026, 3, 3, tzinfo=UTC)
FREE = HUB.replace('"hub"', '"free"').replace("hub/{gateway}/post", "free/post")


def directory(**fields: Any) -> Directory:
    """Return a registry: gateways G (640202) and H (640205), devices a and b behind G, c behind H.

    The profile HUB names gateways in its topic, FREE names none.
    """
    known = Directory(**fields)
    for gateway_id, region, devices in (("G", "640202", "ab"), ("H", "640205", "c")):
        known.gateways[gateway_id] = GatewayRegistered(
            gateway_id=gateway_id, site_id="s", region_code=region
        )
        for device_id in devices:
            known.devices[device_id] = Device(
                DeviceRegistered(
                    device_id=device_id,
                    gateway_id=gateway_id,
                    site_id="s",
                    region_code=region,
                    channels=("t1",),
                    interval_s=300,
                )
            )
    for file in (HUB, FREE):
        told = load(file.encode()).profile
        event = PayloadProfilePublished(profile_id=told.profile_id, version=1, profile=told)
        known.profiles.take(event)
    return known


def take(
    known: Directory, topic: str, devices: str, **received: Any
) -> tuple[list[str], Batch, Item]:
    """Return the devices whose readings of a message are taken, the batch and the item."""
    rows = [{"n": 1, "ts": TS_MS, "t": 5}]
    body = json.dumps({"d": [{"sn": device_id, "r": rows} for device_id in devices]}).encode()
    item = Item(Received(topic, body, **received))
    batch = Batch(now=NOW, items=[item], directory=known, memory=DeviceStates())
    return [message.device_id for message in vendors.take(batch, item)], batch, item


def refused(known: Directory, topic: str, devices: str) -> str:
    with pytest.raises(Refused) as caught:
        take(known, topic, devices)
    return str(caught.value.args[0])


def test_given_devices_of_the_gateway_in_the_topic_when_taken_then_all() -> None:
    taken, batch, _ = take(directory(), "hub/G/post", "ab")
    assert taken == ["a", "b"]
    assert len(batch.items) == 1


def test_given_a_topic_without_a_gateway_when_taken_then_any_registered_device() -> None:
    assert take(directory(), "free/post", "ac")[0] == ["a", "c"]


@pytest.mark.parametrize(
    ("topic", "devices", "reason"),
    [
        ("hub/G/post", "x", "unknown_device"),
        ("free/post", "x", "unknown_device"),
        ("hub/I/post", "a", "unknown_gateway"),
        ("hub/H/post", "a", "elsewhere"),
        ("tub/G/post", "a", "bad_topic"),
        ("cc/v1/x", "a", "bad_topic"),
    ],
)
def test_given_a_device_that_is_not_the_gateways_when_taken_then_refused(
    topic: str, devices: str, reason: str
) -> None:
    assert refused(directory(), topic, devices) == reason


def test_given_some_unknown_devices_when_taken_then_the_rest_is_stored_and_the_message_kept() -> (
    None
):
    taken, batch, item = take(directory(), "hub/G/post", "axb")
    assert taken == ["a", "b"]
    aside = batch.items[1]
    assert aside.refused is not None
    assert aside.refused.code == "unknown_device"
    assert aside.received == Received(item.received.topic, item.received.payload)


def test_given_a_replay_that_mends_a_part_when_taken_then_the_message_stays_in_quarantine() -> None:
    asked = {"replay_id": UUID(int=1), "replayed_by": "k1"}
    _, batch, item = take(directory(), "hub/G/post", "ax", **asked)
    assert item.received.replay_id is None
    assert batch.items[1].received.replay_id == UUID(int=1)


def test_given_several_workers_when_taken_then_each_device_by_one_and_strays_by_one() -> None:
    first = directory(regions=("640202",))
    second = directory(regions=("640205",), strays=False)
    taken, batch, _ = take(first, "free/post", "acx")
    assert (taken, len(batch.items)) == (["a"], 2)
    taken, batch, _ = take(second, "free/post", "acx")
    assert (taken, len(batch.items)) == (["c"], 1)
    assert refused(first, "other/post", "a") == "bad_topic"
    assert take(second, "other/post", "a")[0] == []
    assert refused(second, "hub/G/post", "c") == "elsewhere"


def test_given_a_profile_in_force_when_messages_come_then_stored_kept_and_mended_by_replay(
    database: Database, ledger: Ledger, clock: ManualClock
) -> None:
    told = load(HUB.encode()).profile
    field.register(ledger, "a")
    field.append(
        ledger,
        [
            (
                profile_stream("hub"),
                1,
                PayloadProfilePublished(profile_id="hub", version=1, profile=told),
            )
        ],
    )
    rows = [{"n": n, "ts": field.NOW_MS - 1000 + n, "t": 5} for n in range(3)]
    sent = field.message(
        f"hub/{field.GATEWAY}/post", {"d": [{"sn": "a", "r": rows}, {"sn": "b", "r": rows}]}
    )
    worker = field.started(database.app_dsn, clock)
    try:
        assert field.told(worker.take([sent, sent])) == []
        count = "SELECT count(*) FROM reading JOIN device_no USING (device_no) WHERE device_id = %s"
        assert database.query(count, "a") == [(3,)]
        ((code, state, identifier),) = database.query("SELECT code, state, id FROM quarantine")
        assert (code, state) == ("unknown_device", "open")
        replay = "UPDATE quarantine SET state = 'replay', actor_id = 'k1' WHERE id = %s"
        database.query(replay, identifier)
        worker.replay()
        assert database.query("SELECT state FROM quarantine") == [("open",)]
        field.register(ledger, "b")
        database.query(replay, identifier)
        worker.replay()
        assert database.query("SELECT state FROM quarantine") == [("resolved",)]
        assert database.query(count, "a") == database.query(count, "b") == [(3,)]
    finally:
        worker.close()
