"""Equipment lists, newest values and placements out of events, and rebuilt to the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from domain.cold_chain import model
from domain.cold_chain.events import (
    EvidenceKept,
    MaintenanceAssigned,
    MaintenanceCancelled,
    MaintenanceDone,
    ReadingConflict,
)
from projections import cold_chain as read_model
from projections import rebuild
from projections.shared import placements
from store.envelope import Envelope
from store.logs import Ledger, Telemetry
from tests.cold_chain.given import (
    META,
    NOON,
    device,
    follow,
    gateway,
    minutes,
    moved,
    order,
    placed,
    read,
    removed,
    replaced,
    tell,
    tell_profiles,
    unit,
)
from tests.conftest import Database

pytestmark = pytest.mark.database


ORDERS = (
    order("O1", "U1"),
    order("O2", "V1", "532503"),
    MaintenanceAssigned(order_id="O2", assignee_id="coolfix"),
    MaintenanceDone(order_id="O2", result="已校准", parts=("探头",), done_at=minutes(5)),
    order("O3", "U1"),
    MaintenanceCancelled(order_id="O3", reason="重复"),
)


@pytest.fixture(scope="module")
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    """Follow a small world: two counties, one probe that moved, told out of order."""
    tell_profiles(ledger)
    tell(ledger, unit("U1"), unit("U2"), unit("V1", "532503", "frozen_minus_20"))
    tell(ledger, gateway("G640202"), gateway("G532503", "532503"))
    tell(ledger, device("D1"), device("D2"), device("D3", "532503"))
    tell(ledger, placed("D1", "U2", minutes(60)), placed("D1", "U1", NOON))
    tell(ledger, removed("D1", minutes(90)), placed("D3", "V1", NOON, "t2"))
    tell(ledger, gateway("G-old"), gateway("G-new"))
    tell(
        ledger, replace(device("D4"), gateway_id="G-old"), replace(device("D5"), gateway_id="G-old")
    )
    tell(ledger, moved("D5", "G-old", minutes(-9)), replaced("G-old", "G-new", NOON))
    tell(ledger, moved("D5", "G532503", minutes(-5)), moved("D5", "G640202", minutes(-7)))
    tell(ledger, *ORDERS)
    kept = EvidenceKept(sha256="ab" * 32, filename="2.txt", kind="fridge_tag_2", content=b"12345")
    ledger.append([Envelope(model.evidence_stream(kept.sha256), 1, kept, META)])
    follow(database)
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


def test_given_units_when_listed_by_region_then_pages_in_order(
    conn: psycopg.Connection[Any],
) -> None:
    assert [u.unit_id for u in read_model.units(conn, limit=2)] == ["U1", "U2"]
    assert [u.unit_id for u in read_model.units(conn, after="U2", limit=2)] == ["V1"]
    assert [u.unit_id for u in read_model.units(conn, region="6402", limit=9)] == ["U1", "U2"]
    assert [u.unit_id for u in read_model.units(conn, site_id="S532503", limit=9)] == ["V1"]
    [found] = read_model.units(conn, region="532503", limit=9)
    assert (found.profile_id, found.region_code, found.version) == ("frozen_minus_20", "532503", 1)


def test_given_gateways_and_profiles_when_listed_then_all(conn: psycopg.Connection[Any]) -> None:
    assert [g.gateway_id for g in read_model.gateways(conn, region="53", limit=9)] == ["G532503"]
    ids = [p.profile_id for p in read_model.profiles(conn, limit=9)]
    assert ids == ["frozen_minus_20", "ultra_cold", "vaccine_2_8", "who_30_day_logger"]
    [found] = read_model.profiles(conn, after="ultra_cold", limit=1)
    assert (found.temperature_c_min, found.temperature_c_max) == (2.0, 8.0)


def test_given_devices_when_listed_then_version_grows_with_placements(
    conn: psycopg.Connection[Any],
) -> None:
    found = {d.device_id: d for d in read_model.devices(conn, limit=9)}
    versions = {"D1": 4, "D2": 1, "D3": 2, "D4": 1, "D5": 4}
    assert {key: d.version for key, d in found.items()} == versions
    assert found["D1"].channels == ["t1", "t2", "rh", "door", "co2"]


def test_given_a_replaced_gateway_when_listed_then_its_devices_are_behind_the_other(
    conn: psycopg.Connection[Any],
) -> None:
    known = {g.gateway_id: g for g in read_model.gateways(conn, region="64", limit=9)}
    assert (known["G-old"].replacement_id, known["G-old"].replaced_at) == ("G-new", NOON)
    assert known["G-old"].version == 2
    assert known["G-new"].replacement_id is None
    found = {d.device_id: d for d in read_model.devices(conn, limit=9)}
    assert (found["D4"].gateway_id, found["D4"].site_id) == ("G-new", "S640202")
    # Moved before the gateway was replaced, though told after it; the last move stands.
    assert (found["D5"].gateway_id, found["D5"].region_code) == ("G532503", "532503")


def test_given_orders_when_listed_then_by_unit_organisation_and_state(
    conn: psycopg.Connection[Any],
) -> None:
    def listed(**wanted: Any) -> list[str]:
        return [o.order_id for o in read_model.orders(conn, **wanted, limit=9)]

    assert listed() == ["O1", "O2", "O3"]
    assert listed(unit_id="U1") == ["O1", "O3"]
    assert listed(state="open") == ["O1"]
    assert listed(region="5325") == listed(org_code="12532503000000000X") == ["O2"]
    opened, done, cancelled = read_model.orders(conn, limit=9)
    assert (opened.state, opened.closed_at, opened.version) == ("open", None, 1)
    assert (opened.assignee_id, opened.result, opened.parts) == ("", "", [])
    assert (done.state, done.assignee_id, done.closed_at) == ("done", "coolfix", minutes(5))
    assert (done.result, done.parts, done.version) == ("已校准", ["探头"], 3)
    assert (cancelled.state, cancelled.result, cancelled.closed_at) == ("cancelled", "重复", NOON)


def test_given_a_kept_file_when_listed_then_without_content(conn: psycopg.Connection[Any]) -> None:
    [found] = read_model.evidence(conn, region="640202", limit=9)
    assert (found.filename, found.size_bytes, found.kept_at) == ("2.txt", 5, NOON)
    assert read_model.evidence(conn, region="53", limit=9) == []


def test_given_a_probe_that_moved_when_listed_then_stays_end_where_the_next_begin(
    conn: psycopg.Connection[Any],
) -> None:
    found = placements.placements(conn, device_id="D1", limit=9)
    spans = [(p.unit_id, p.since, p.until) for p in found]
    assert spans == [("U1", NOON, minutes(60)), ("U2", minutes(60), minutes(90))]
    [other] = placements.placements(conn, unit_id="V1", limit=9)
    assert (other.channel, other.until, other.temperature_c_max) == ("t2", None, -15.0)
    assert placements.placements(conn, region="5325", limit=9) == [other]


def test_given_placements_when_paged_then_each_once(conn: psycopg.Connection[Any]) -> None:
    seen = []
    after = ("", "", placements.BEGINNING)
    while page := placements.placements(conn, after=after, limit=1):
        seen += page
        after = (page[0].device_id, page[0].channel, page[0].since)
    assert seen == placements.placements(conn, limit=9)
    assert len(seen) == 3


def test_given_devices_when_latest_asked_then_newest_values_or_none(
    conn: psycopg.Connection[Any],
) -> None:
    read(conn, "D1", [(NOON, 5.0)])
    conn.execute(
        """INSERT INTO device_state
               (device_no, region_code, ts, boot, seq, t1, door, extra, received_at)
           SELECT device_no, '640202', %s, 1, 2, 5.5, true, %s, %s FROM device_no
           WHERE device_id = 'D1'""",
        (NOON, Jsonb({"co2": 400}), minutes(1)),
    )
    spoke, silent, _ = read_model.latest(conn, region="6402", limit=9)
    assert (spoke.ts, spoke.received_at) == (NOON, minutes(1))
    assert spoke.values == {"t1": 5.5, "door": 1, "co2": 400}
    assert (silent.device_id, silent.ts, silent.values) == ("D2", None, {})
    assert [d.device_id for d in read_model.latest(conn, after="D4", limit=9)] == ["D5"]
    assert read_model.latest(conn, site_id="nowhere", limit=9) == []


def test_given_readings_in_conflict_when_listed_then_both_values(
    telemetry: Telemetry, conn: psycopg.Connection[Any]
) -> None:
    told = [
        ReadingConflict(
            device_id=device_id,
            boot=1,
            seq=seq,
            stored='{"ts":1,"m":{"t1":5.0}}',
            received='{"ts":1,"m":{"t1":4.0}}',
            received_ms=1_772_424_000_500,
        )
        for seq, device_id in enumerate(("D1", "D3", "D2"))
    ]
    telemetry.append([Envelope(uuid4(), 1, event, META) for event in told])
    first, second = read_model.conflicts(conn, region="6402", limit=9)
    assert (first.device_id, first.seq, second.device_id) == ("D1", 0, "D2")
    assert (first.stored["m"], first.received["m"]) == ({"t1": 5.0}, {"t1": 4.0})
    assert first.received_at == NOON + timedelta(milliseconds=500)
    assert read_model.conflicts(conn, after=first.position, region="6402", limit=9) == [second]


@pytest.mark.parametrize("name", ["cold_chain", "shared_placements", "shared_org_tree"])
def test_given_read_models_when_rebuilt_then_the_same_rows(
    ledger: Ledger, conn: psycopg.Connection[Any], name: str
) -> None:
    checked = rebuild.check(ledger, conn, rebuild.named(name))
    assert checked.same
    assert any(rows for rows, _ in checked.live.values())
