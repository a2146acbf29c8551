"""Probes that move and rules that change, told late or while nobody ran: judged as if known."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from random import Random

import psycopg
import pytest

from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain import model as cold_chain
from domain.cold_chain.events import DeviceRegistered, ProbePlaced, ProbeRemoved, UnitRegistered
from domain.cold_chain.model import device_stream, unit_stream
from domain.shared.errors import Conflict
from domain.shared.events import Event
from ingest.batch import Received
from ingest.worker import Worker
from store.logs import Ledger
from tests.alerting import oracle
from tests.conftest import Database, ManualClock
from tests.ingest import field
from tests.ingest.field import HIGH, MINUTE_MS, PLACED, UNIT, batch_of

pytestmark = pytest.mark.database

STEP_MS = 5 * MINUTE_MS
ORIGIN_MS = to_ms(PLACED)
# unit, rule, started, fired, peak (None while open), recovered, resolved
Told = tuple[str, str, int, int, float | None, int | None, int | None]


def at(step: int) -> datetime:
    """Return the moment of a reading by its number."""
    return to_datetime(ORIGIN_MS + step * STEP_MS)


def readings(device: str, first: int, *values: float) -> Received:
    """Return a message of readings, numbered from `first` on."""
    return batch_of(device, first, values, start_ms=ORIGIN_MS)


def tell(ledger: Ledger, device: str, *events: Event) -> None:
    """Append to what the registry says of a device."""
    known = len(ledger.stream(device_stream(device)))
    numbered = [(device_stream(device), known + n, event) for n, event in enumerate(events, 1)]
    field.append(ledger, numbered)


def removed(device: str, step: int) -> ProbeRemoved:
    """Return the removal of a device's first probe."""
    return ProbeRemoved(device_id=device, channel="t1", removed_at=at(step))


def told(database: Database, device: str) -> set[Told]:
    """Return what stands in the engine's record of a device."""
    found = database.query(
        "SELECT unit_id, rule_id, started_at, fired_at, peak_c, recovered_at, resolved_at"
        " FROM episode JOIN device_no USING (device_no) WHERE device_id = %s AND NOT withdrawn",
        device,
    )
    return {
        (
            unit,
            rule,
            to_ms(started),
            to_ms(fired),
            peak_c if resolved else None,
            to_ms(recovered) if recovered else None,
            to_ms(resolved) if resolved else None,
        )
        for unit, rule, started, fired, peak_c, recovered, resolved in found
    }


def units(database: Database, device: str) -> list[str]:
    """Return the units of the alerts that stand."""
    return sorted(unit for unit, *_ in told(database, device))


def test_given_an_ended_stay_when_corrected_to_an_earlier_end_then_its_alerts_go_with_it(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    for unit in ("short-u", "short-v"):
        field.register_unit(ledger, unit, field.PROFILE)
    field.register_device(ledger, "short")
    tell(ledger, "short", field.placed("short", "short-u", at(0)))
    worker.take([readings("short", 0, *[5.0] * 20, *[9.0] * 10)])
    tell(ledger, "short", removed("short", 40))
    worker.take([readings("short", 30, *[5.0] * 15)])
    assert units(database, "short") == ["short-u"]
    tell(ledger, "short", field.placed("short", "short-v", at(10)))
    worker.settle()
    assert units(database, "short") == ["short-v"]


@pytest.mark.parametrize("open_stay", [False, True])
def test_given_a_stay_told_while_nobody_ran_when_started_then_judged_at_once(
    worker: Worker, ledger: Ledger, database: Database, clock: ManualClock, open_stay: bool
) -> None:
    device = f"down-{open_stay}"
    field.register_device(ledger, device)
    worker.take([readings(device, 0, *[12.0] * 30)])
    worker.close()
    tell(ledger, device, field.placed(device, UNIT, at(0)))
    if not open_stay:
        tell(ledger, device, removed(device, 25))
    field.started(database.app_dsn, clock).close()
    assert units(database, device) == [UNIT]
    position = ledger.last_position()
    database.query("UPDATE ingest_worker SET settled_ledger_id = 0")
    field.started(database.app_dsn, clock).close()
    assert ledger.last_position() == position, "to settle again changes nothing"


def test_given_ended_stays_when_first_rules_are_published_then_they_are_judged(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    field.register_unit(ledger, "ruled-late", "ruled_late")
    field.register_device(ledger, "ruled")
    tell(ledger, "ruled", field.placed("ruled", "ruled-late", at(2)), removed("ruled", 8))
    worker.take([readings("ruled", 0, *[12.0] * 10)])
    assert not units(database, "ruled")
    field.publish(ledger, "ruled_late", 1, HIGH)
    worker.settle()
    assert units(database, "ruled") == ["ruled-late"]


def test_given_a_device_that_cannot_be_judged_when_settled_then_others_are_and_it_is_later(
    worker: Worker, ledger: Ledger, database: Database, clock: ManualClock
) -> None:
    degrees = {"faulty": 12.25, "sound": 12.0}
    for device, value in degrees.items():
        field.register_device(ledger, device)
        worker.take([readings(device, 0, *[value] * 9)])
    for device in degrees:
        tell(ledger, device, field.placed(device, UNIT, at(0)))
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE episode ADD CONSTRAINT sound CHECK (peak_c <> 12.25)")
        worker.settle()
        worker.settle()  # telling of the fault may have taken the first turn's time
        owner.execute("ALTER TABLE episode DROP CONSTRAINT sound")
    assert [units(database, device) for device in degrees] == [[], [UNIT]]
    worker.close()
    field.started(database.app_dsn, clock).close()
    assert units(database, "faulty") == [UNIT], "the next start tries again"


def test_given_very_many_devices_to_settle_when_one_sends_then_it_need_not_wait_for_them(
    worker: Worker, ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.worker.SETTLE_S", 0.0)
    devices = [f"many-{n}" for n in range(4)]
    for device in devices:
        field.register_device(ledger, device)
        worker.take([readings(device, 0, *[12.0] * 9)])
    for device in devices:
        tell(ledger, device, field.placed(device, UNIT, at(0)))
    worker.settle()
    assert sum(len(units(database, device)) for device in devices) == 1, "a device a turn"
    worker.take([readings(device, 9, 12.0) for device in devices])
    assert [units(database, device) for device in devices] == [[UNIT]] * 4


class _Story:
    """A device whose moves are told in any order, with units and profiles of its own.

    Unit n is of profile n % 2; the second profile has no rules until `publish`.
    """

    def __init__(self, ledger: Ledger, seed: int, tag: str) -> None:
        self.random = Random(seed)
        self.ledger = ledger
        self.device = f"fuzz-{tag}-{seed}"
        self.rows: list[oracle.Row] = []
        self.values = [5.0]
        while len(self.values) < 60:
            other = self.random.choice([5.0, 9.0, 12.0])
            self.values.append(other if self.random.random() < 0.3 else self.values[-1])
        self.ruled: set[int] = set()
        self.units: list[UnitRegistered] = []
        for n in range(3):
            unit_id = f"{self.device}-u{n}"
            field.register_unit(ledger, unit_id, f"{self.device}-p{n % 2}")
            (unit,) = ledger.stream(unit_stream(unit_id))
            assert isinstance(unit.event, UnitRegistered)
            self.units.append(unit.event)
        self.publish(0)
        field.register_device(ledger, self.device)
        (registered,) = ledger.stream(device_stream(self.device))
        assert isinstance(registered.event, DeviceRegistered)
        self.state = cold_chain.evolve_device(None, registered.event)

    def publish(self, profile: int) -> None:
        """Publish the rules of a profile, for all times."""
        if profile not in self.ruled:
            self.ruled.add(profile)
            field.publish(self.ledger, f"{self.device}-p{profile}", 1, HIGH)

    def move(self) -> None:
        """Place the probe somewhere or take it away, at any moment."""
        moment = at(self.random.randrange(-2, 70))
        unit = self.random.choice([*self.units, None])
        asked = {"channel": "t1"}
        try:
            events = (
                cold_chain.remove_probe(self.state, removed_at=moment, **asked)
                if unit is None
                else cold_chain.place_probe(
                    self.state, unit=unit, unit_id=unit.unit_id, placed_at=moment, **asked
                )
            )
        except Conflict:
            return
        tell(self.ledger, self.device, *events)
        for event in events:
            assert isinstance(event, ProbePlaced | ProbeRemoved)
            self.state = cold_chain.evolve_device(self.state, event)

    def send(self, first: int, past: int) -> Received:
        """Return the message of some of its readings."""
        values = self.values[first:past]
        self.rows += [
            (ORIGIN_MS + n * STEP_MS, n, value) for n, value in enumerate(values, start=first)
        ]
        return readings(self.device, first, *values)

    def expected(self) -> set[Told]:
        """Return what the rule finds in all readings, by the text of the rule."""
        assert self.state is not None
        stands = self.state.stands.get("t1", ())
        ends = [to_ms(stand.since) for stand in stands[1:]] + [None]
        names = [unit.unit_id for unit in self.units]
        found: set[Told] = set()
        for stand, end_ms in zip(stands, ends, strict=True):
            if stand.unit_id and names.index(stand.unit_id) % 2 in self.ruled:
                since_ms, past_ms = to_ms(stand.since), end_ms or 2**60
                rows = [row for row in self.rows if since_ms <= row[0] < past_ms]
                found |= {
                    (
                        stand.unit_id,
                        "high",
                        one.start_ms,
                        one.fired_ms,
                        one.peak_c if one.resolved_ms else None,
                        one.recovered_ms,
                        one.resolved_ms,
                    )
                    for one in oracle.episodes(lambda _: HIGH, rows, end_ms)
                }
        return found


def acts_of(story: _Story, restarts: int) -> list[tuple[str, int, int]]:
    """Return what happens in a story: its 60 readings, cut and shuffled, and the rest between."""
    pick = story.random
    cuts = sorted({0, 60, *(pick.randrange(60) for _ in range(12))})
    acts = [("send", *cut) for cut in pairwise(cuts)]
    pick.shuffle(acts)
    for act in ["move"] * 5 + ["publish"] + ["restart"] * restarts:
        acts.insert(pick.randrange(len(acts) + 1), (act, 0, 0))
    return acts


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("restarts", [0, 3])
def test_given_any_order_of_readings_moves_and_rules_when_judged_then_alerts_are_the_rules(
    worker: Worker,
    ledger: Ledger,
    database: Database,
    clock: ManualClock,
    restarts: int,
    seed: int,
) -> None:
    story = _Story(ledger, seed, f"r{restarts}")
    up = True
    for act, first, past in acts_of(story, restarts):
        if act == "move":
            story.move()
        elif act == "publish":
            story.publish(1)
        elif up and act == "restart":
            worker.close()
            up = False
        elif not up:
            worker, up = field.started(database.app_dsn, clock), True
        if act == "send":
            worker.take([story.send(first, past)])
    worker.close()
    field.started(database.app_dsn, clock).close()
    assert told(database, story.device) == story.expected()
