"""Conditions of equipment on the real database, fed by the real ingest, on a stepped clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest

from alerts.conditions import Conditions
from alerts.outbox import Pool
from domain.alerting.events import ConditionEnded, ConditionRaised
from domain.alerting.watch import to_ms
from domain.cold_chain.events import (
    DeviceRegistered,
    GatewayRegistered,
    MaintenanceOpened,
    ProbePlaced,
    ProbeRemoved,
    UnitRegistered,
)
from domain.cold_chain.maintenance import order_stream
from domain.cold_chain.model import device_stream, gateway_stream, unit_stream
from domain.cold_chain.record_events import TemperatureRecordSigned
from domain.cold_chain.records import Window, overdue, record_stream, windows
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.shared.ids import stream_id
from ingest.batch import Received
from ingest.worker import Worker
from projections import alerting as inbox
from projections import runner
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.conftest import eventually
from tests.alerts.test_process import alerting, thread, ticked
from tests.conftest import START, Database, ManualClock
from tests.ingest.field import message, started

pytestmark = pytest.mark.database

GATEWAYS, DEVICES = 10, 25
PROBES = ("t1", "t2", "t3", "t4")
REGION = "640202"


def site_of(gateway: int) -> str:
    return f"s{gateway}"


def devices_of(gateway: int) -> list[str]:
    return [f"D-{gateway}-{n}" for n in range(DEVICES)]


def registrations() -> Iterator[tuple[UUID, int, Event]]:
    """Yield ten sites with a gateway, five refrigerators and a hundred probes each."""
    for g in range(GATEWAYS):
        place: dict[str, Any] = {"site_id": site_of(g), "region_code": REGION}
        gateway_id = f"G-{g}"
        site = SiteRegistered(**place, org_code=f"o{g}", site_no=1, name=f"门诊{g}", kind="clinic")
        yield stream_id("registry.site", site_of(g)), 1, site
        yield gateway_stream(gateway_id), 1, GatewayRegistered(**place, gateway_id=gateway_id)
        for u in range(5):
            names = {"unit_id": f"U-{g}-{u}", "kind": "refrigerator", "name": f"{u}号冰箱"}
            unit = UnitRegistered(**place, **names, profile_id="vaccine_2_8")
            yield unit_stream(unit.unit_id), 1, unit
        for n, device_id in enumerate(devices_of(g)):
            device = DeviceRegistered(
                **place,
                device_id=device_id,
                gateway_id=gateway_id,
                channels=(*PROBES, "door", "mains"),
                interval_s=300,
            )
            at = START - timedelta(days=1)
            yield device_stream(device_id), 1, device
            for version, channel in enumerate(PROBES, start=2):
                spot: dict[str, Any] = {"channel": channel, "placed_at": at}
                spot["unit_id"] = f"U-{g}-{n % 5}"
                yield device_stream(device_id), version, ProbePlaced(device_id=device_id, **spot)


class Field:
    """A thousand probes that speak through the real ingest, and whoever watches them."""

    def __init__(
        self, ledger: Ledger, worker: Worker, following: Runner, clock: ManualClock
    ) -> None:
        self.ledger, self.worker, self.following, self.clock = ledger, worker, following, clock
        self.conn = following.conn
        self.restart()

    def restart(self) -> None:
        """Begin the alert process anew."""
        self.conditions = Conditions(self.ledger)

    def append(self, stream: UUID, version: int, event: Event) -> None:
        """Let something be registered now."""
        meta = Meta(occurred_at=self.clock.now(), recorded_at=self.clock.now())
        self.ledger.append([Envelope(stream, version, event, meta)])
        self.following.follow_once()

    def speak(self, devices: Sequence[str], **values: float) -> None:
        """Let devices send a reading of now."""
        ts = to_ms(self.clock.now())
        self.take(
            [
                (
                    d,
                    "tele",
                    {
                        "v": 1,
                        "ts": ts,
                        "boot": 1,
                        "seq": ts // 60_000,
                        "m": dict.fromkeys(PROBES, 5.0) | values,
                    },
                )
                for d in devices
            ]
        )

    def report(self, device_id: str, **said: Any) -> None:
        """Let a device tell something beside its readings."""
        self.take([(device_id, "event", {"ts": to_ms(self.clock.now()), **said})])

    def take(self, messages: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Let devices send messages: (device, kind, body)."""
        taken: list[Received] = []
        for device_id, kind, body in messages:
            g = device_id.split("-")[1]
            taken.append(message(f"cc/v1/{REGION}/s{g}/G-{g}/{kind}/{device_id}", body))
        self.worker.take(taken)
        self.worker.flush()

    def tick(self, minutes: float = 0) -> list[tuple[str, str]]:
        """Let time pass and tick; return what was told by it: (kind, subject)."""
        self.clock.advance(minutes=minutes)
        ((before,),) = self.conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchall()
        self.conditions.tick(self.conn, self.clock.now())
        self.following.follow_once()
        asked = "SELECT kind, alert_id::text FROM outbox WHERE id > %s ORDER BY id"
        told = self.conn.execute(asked, (before,)).fetchall()
        return [(kind, self.row(alert_id).subject_id) for kind, alert_id in told]

    def row(self, alert_id: str) -> inbox.AlertRow:
        """Return an alert as the inbox shows it."""
        found = inbox.alert(self.conn, alert_id)
        assert found is not None
        return found

    def firing(self) -> list[tuple[str, str, str, str]]:
        """Return what is on in the inbox: kind, subject, severity, silenced by."""
        rows = inbox.alerts(self.conn, state="firing", limit=100)
        return sorted((row.kind, row.subject_id, row.severity, row.silenced_by) for row in rows)


@pytest.fixture(scope="module")
def registered(ledger: Ledger, following: Runner) -> None:
    meta = Meta(occurred_at=START, recorded_at=START)
    ledger.append([Envelope(*each, meta) for each in registrations()])
    following.follow_once()


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    """Give the one clock of these tests: it goes on from one to the next."""
    return ManualClock()


@pytest.fixture
def field(
    database: Database,
    ledger: Ledger,
    pool: Pool,
    registered: None,
    following: Runner,
    clock: ManualClock,
) -> Iterator[Field]:
    worker = started(database.app_dsn, clock)
    worker.show("")  # it hears the broker, as far as others can tell
    made = Field(ledger, worker, following, clock)
    yield made
    worker.close()


ALL = [device for g in range(GATEWAYS) for device in devices_of(g)]
ALIVE = [device for g in range(1, GATEWAYS) for device in devices_of(g)]


def test_given_a_restart_and_one_dead_gateway_when_grace_is_over_then_one_notice(
    field: Field,
) -> None:
    field.speak(ALL)
    assert field.tick() == []
    field.clock.advance(hours=2)  # the server was away
    field.restart()
    told = []
    for minute in range(32):
        if minute % 10 == 4:
            field.speak(ALIVE)
        found = field.tick(1)
        told.append(found)
        assert not found or minute > 14
    assert [each for each in told if each] == [[("fired", "G-0")]]
    assert field.firing() == [("gateway_offline", "G-0", "major", "")]
    field.restart()  # what was told stays, and is not told again
    assert [field.tick(1) for _ in range(3)] == [[], [], []]
    field.speak(ALL)
    assert field.tick(1) == [("resolved", "G-0")]
    assert field.firing() == []


def test_given_ingest_away_when_all_are_silent_then_nobody_is_told(field: Field) -> None:
    field.speak(ALL)
    field.tick(1)
    field.worker.close()
    assert [field.tick(30) for _ in range(3)] == [[], [], []]
    assert field.firing() == []


def test_given_power_and_a_door_when_told_by_readings_and_by_reports_then_raised_and_ended(
    field: Field,
) -> None:
    device, other = "D-3-0", "D-4-0"
    field.speak(ALL, mains=1, door=0)
    assert field.tick(1) == []
    field.speak([device], mains=0)
    field.report(other, kind="door", open=True)
    field.report(other, kind="door", open="wide")
    assert field.tick(2) == [("fired", "U-3-0")]
    field.clock.advance(minutes=2)
    field.speak([other], t1=5.2)
    assert field.tick(1) == [("fired", "U-4-0")]
    field.report(other, kind="door", open=False)
    field.report(device, kind="power", on=True)
    assert sorted(field.tick(1)) == [("resolved", "U-3-0"), ("resolved", "U-4-0")]


def test_given_power_gone_and_probes_apart_when_started_again_then_neither_over_nor_told_again(
    field: Field,
) -> None:
    dark, odd = "D-1-0", "D-2-0"

    def pass_by(minutes: int) -> list[tuple[str, str]]:
        told = []
        for n in range(minutes // 5):
            now = dict.fromkeys(PROBES, 5.0 + n % 2)
            field.speak([each for each in ALL if each != odd], **now)
            field.speak([odd], **{**now, "t1": 9.9 + n % 2})
            told += field.tick(5)
        return [each for each in told if "-2-0" in each[1] or "-1-0" in each[1]]

    pass_by(5)
    field.report(dark, kind="power", on=False)
    assert pass_by(80) == [("fired", "U-1-0"), ("fired", "U-2-0")]
    field.restart()
    assert pass_by(60) == []
    field.report(dark, kind="power", on=True)
    field.speak(ALL)
    assert sorted(field.tick(1)) == [("resolved", "U-1-0"), ("resolved", "U-2-0")]


def test_given_a_report_that_comes_after_newer_readings_when_it_is_the_newest_of_its_kind_then_told(
    field: Field,
) -> None:
    device = "D-2-3"
    then = to_ms(field.clock.now())
    field.clock.advance(seconds=30)
    field.speak(ALL)
    field.tick(1)
    field.take([(device, "event", {"ts": then, "kind": "power", "on": False})])
    assert field.tick(2) == [("fired", "U-2-3")]
    field.report(device, kind="power", on=True)
    field.take([(device, "event", {"ts": then + 1, "kind": "power", "on": False})])
    field.speak([device])
    assert field.tick(1) == [("resolved", "U-2-3")]


def test_given_a_silent_device_when_it_gets_graver_then_told_once_more_and_over_when_removed(
    field: Field,
) -> None:
    device = "D-5-7"
    rest = [each for each in ALL if each != device]
    field.speak(ALL)
    field.tick(1)
    told = []
    for _ in range(5):
        field.clock.advance(minutes=13)
        field.speak(rest)
        told += field.tick(1)
    assert told == [("fired", device)] * 2
    assert field.firing() == [("probe_offline", device, "major", "")]
    for version, channel in enumerate(PROBES, start=6):
        gone = ProbeRemoved(device_id=device, channel=channel, removed_at=field.clock.now())
        field.append(device_stream(device), version, gone)
    assert field.tick(1) == [("closed", device)]
    row = inbox.alerts(field.conn, kind="probe_offline", limit=1)[0]
    assert (row.state, row.cause, row.device_id) == ("closed_unverified", "removed", device)


def test_given_an_order_on_a_unit_when_its_power_is_lost_then_held_back_for_its_hours(
    field: Field,
) -> None:
    device = "D-6-1"
    order = MaintenanceOpened(
        order_id="o1",
        unit_id="U-6-1",
        site_id="s6",
        region_code=REGION,
        org_code="o6",
        kind="repair",
        task="换压缩机",
    )
    field.append(order_stream("o1"), 1, order)
    field.speak(ALL, mains=1)
    field.clock.advance(minutes=1)
    field.speak([device], mains=0)
    assert field.tick(2) == [("fired", "U-6-1")]
    asked = "SELECT held_back(o, %s) FROM outbox o WHERE kind = 'fired' ORDER BY id DESC LIMIT 1"
    held = [
        field.conn.execute(asked, (field.clock.now() + timedelta(hours=hours),)).fetchall()
        for hours in (0, 9)
    ]
    assert held == [[("order:o1",)], [("",)]]
    field.speak([device], mains=1)
    assert field.tick(2) == [("resolved", "U-6-1")]


def test_given_a_wrong_clock_when_told_by_ingest_then_raised_until_it_is_right(
    field: Field,
) -> None:
    device = "D-7-1"
    field.speak(ALL)
    put = (
        "INSERT INTO device_clock (device_id, severity, offset_ms, since) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (device_id) DO UPDATE SET severity = excluded.severity"
    )
    field.conn.execute(put, (device, "minor", 90_000, field.clock.now()))
    assert field.tick(1) == [("fired", device)]
    (row,) = inbox.alerts(field.conn, kind="clock_skew", limit=5)
    assert row.detail == '{"offset_s":90.0}'
    field.conn.execute(put, (device, "", 0, field.clock.now()))
    assert field.tick(1) == [("resolved", device)]


def test_given_a_site_that_signs_records_when_it_misses_some_then_told_until_all_are_signed(
    field: Field,
) -> None:
    units = [f"U-9-{n}" for n in range(5)]

    def sign(of: Window, unit_ids: Sequence[str]) -> None:
        for unit_id in unit_ids:
            signed = TemperatureRecordSigned(
                unit_id=unit_id,
                site_id="s9",
                region_code=REGION,
                day=of.day,
                half=of.half.value,
                due_at=of.due_at,
                shown_at=field.clock.now(),
                as_of="L1.T1",
                since=of.opens,
                probes=(),
                min_c=None,
                max_c=None,
                outside_min=None,
                unknown_min=0.0,
                signed_by="P-1",
                late=False,
            )
            field.append(record_stream(unit_id, of), 1, signed)

    sign(overdue(field.clock.now(), 1)[0], units[:1])  # from now on the site keeps records
    today = field.clock.now().date()
    coming = [w for w in windows(today, today + timedelta(days=2)) if w.opens > field.clock.now()]
    told = []
    for of in coming[:2]:
        field.clock.set(of.due_at)
        field.speak(ALL)
        told.append([each for each in field.tick() if each[1] == "s9"])
        told.append(field.tick(1))
    assert told == [[("fired", "s9")], [], [("fired", "s9")], []]
    assert ("record_missed", "s9", "minor", "") in field.firing()
    sign(coming[1], units[:4])
    assert field.tick(1) == []
    sign(coming[1], units[4:])
    assert field.tick(1) == [("resolved", "s9")]


def test_given_two_leaders_when_both_tell_then_each_condition_is_told_once(
    field: Field, database: Database
) -> None:
    field.speak(ALL, mains=1)
    field.tick(1)
    field.speak(["D-8-0"], mains=0)
    other = Conditions(field.ledger)
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        changes = list(
            other._changes(
                conn, other._equipment.ground(conn, now := field.clock.advance(minutes=2)), now
            )
        )
        assert field.tick() == [("fired", "U-8-0")]
        other._store(changes, now)
    assert [kind for kind, *_ in field.firing()] == ["power_lost"]
    field.speak(["D-8-0"], mains=1)
    assert field.tick(1) == [("resolved", "U-8-0")]


def test_given_a_stepped_clock_when_moved_then_conditions_are_told_before_it_is_done(
    field: Field, database: Database
) -> None:
    field.speak([each for each in ALL if each != "D-9-0"], mains=1)
    field.speak(["D-9-0"], mains=0)
    with thread(runner.run, app_dsn=database.app_dsn), alerting(database, field.clock):
        moment = field.clock.advance(minutes=2)
        eventually(partial(ticked, field.clock, moment))
        told = field.conn.execute("SELECT kind, payload ->> 'subject_id' FROM outbox").fetchall()
    assert told == [("fired", "U-9-0")]


def test_given_all_of_this_when_rebuilt_then_the_same_rows_and_streams_begin_with_raised(
    field: Field, database: Database
) -> None:
    field.following.follow_once()
    assert runner.check(database.app_dsn, "alerting").same
    topics = [ConditionRaised.TOPIC, ConditionEnded.TOPIC]
    told = [each.envelope for each in field.ledger.read(0, 1000, topics)]
    assert len(told) > 10
    for envelope in told:
        begins = isinstance(envelope.event, ConditionRaised)
        assert begins or envelope.originator_version > 1


def test_given_read_models_not_built_when_ticked_then_nothing_happens(
    field: Field, database: Database
) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER SCHEMA rm_cold_chain RENAME TO away")
        field.restart()
        assert field.tick(1) == []
        owner.execute("ALTER SCHEMA away RENAME TO rm_cold_chain")
