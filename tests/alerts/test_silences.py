"""People are told of every alert, or see why they were not; systems of each at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from alerts import notices, silences
from alerts.outbox import Pool, Sender
from alerts.silences import Silences
from domain.alerting import model
from domain.alerting.events import AlertFired, ConditionEnded, ConditionRaised
from domain.alerting.grouping import GROUPING
from domain.alerting.silence_events import SilenceCreated, SilenceEnded
from domain.shared.events import Event
from domain.shared.ids import stream_id
from projections import alerting
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.conftest import Hook, Mailbox, add_recipient, make_sender
from tests.alerts.notices_of import fired, raised, resolved
from tests.conftest import Database, ManualClock

pytestmark = pytest.mark.database
_numbers = count(1)


class Field:
    """The alert side of one store, moved by hand."""

    def __init__(
        self, conn: psycopg.Connection[Any], ledger: Ledger, following: Runner, clock: ManualClock
    ) -> None:
        self.conn, self.ledger, self.following, self.clock = conn, ledger, following, clock
        self.silences = Silences(ledger)
        self.alerts: dict[str, AlertFired | ConditionRaised] = {}
        self.senders: list[Sender] = []

    @property
    def sender(self) -> Sender:
        """The one that is at work."""
        return self.senders[-1]

    def write(self, event: Event, alert_id: str) -> None:
        """Store an event of an episode with its notice, as ingest and the clock do."""
        now, begun = self.clock.now(), self.alerts[alert_id]
        stream = model.episode_stream(alert_id)
        version = len(self.ledger.stream(stream)) + 1
        meta = Meta(occurred_at=now, recorded_at=now, region_code=begun.region_code)
        envelope = Envelope(stream, version, event, meta)
        row = notices.notice(envelope, severity=begun.severity, region_code=begun.region_code)
        self.ledger.append([envelope], before=lambda cur: notices.write(cur, [row]))

    def fire(self, severity: str = "major", **fields: Any) -> str:
        """Let an alert of temperature fire now."""
        probe = f"TH-{next(_numbers)}"
        alert_id = str(stream_id("alerting.episode", probe, "t1", "high", 1))
        now = self.clock.now()
        at = {"started_at": now - timedelta(minutes=30), "fired_at": now, "device_id": probe}
        event = replace(fired(severity=severity, alert_id=alert_id), **{**at, **fields})
        return self._begin(event)

    def raise_(self, kind: str, **fields: Any) -> str:
        """Let a condition of a unit begin now."""
        number = next(_numbers)
        about = {"subject_kind": "unit", "subject_id": "u1", "unit_id": "u1", "detail": "{}"}
        alert_id = str(stream_id("alerting.condition", kind, number))
        now = self.clock.now()
        event = raised(kind, alert_id=alert_id, severity="minor", **about)
        return self._begin(replace(event, fired_at=now, started_at=now, **fields))

    def _begin(self, event: AlertFired | ConditionRaised) -> str:
        self.alerts[event.alert_id] = event
        self.write(event, event.alert_id)
        return event.alert_id

    def over(self, alert_id: str) -> None:
        """End an alert now."""
        if isinstance(self.alerts[alert_id], AlertFired):
            self.write(resolved(alert_id), alert_id)
        else:
            ended = ConditionEnded(alert_id=alert_id, ended_at=self.clock.now(), cause="recovered")
            self.write(ended, alert_id)

    def silence(self, minutes: float = 60, **fields: Any) -> str:
        """Silence site s1 from now on."""
        now = self.clock.now()
        made: dict[str, Any] = {
            "silence_id": f"q{next(_numbers)}",
            "region_code": "640202",
            "site_id": "s1",
            "unit_id": "",
            "kinds": (),
            "begins_at": now,
            "ends_at": now + timedelta(minutes=minutes),
            "daily": (),
            "stock_moved": False,
            "reason": "检修",
            "actor_id": "k1",
        }
        event = SilenceCreated(**{**made, **fields})
        with self.conn.cursor() as cur:
            silences.keep(cur, event)
        return event.silence_id

    def end(self, silence_id: str) -> None:
        """End a silence now."""
        ended = SilenceEnded(silence_id=silence_id, ended_at=self.clock.now(), actor_id="k1")
        with self.conn.cursor() as cur:
            silences.keep(cur, ended)

    def go(self, minutes: float = 0) -> None:
        """Let time pass, and everybody do what is due then."""
        self.following.follow_once()
        self.sender.expand()
        self.clock.advance(minutes=minutes)
        for _ in range(2):
            self.silences.tick(self.conn, self.clock.now())
            self.silences = Silences(self.ledger)
            self.following.follow_once()
            self.sender.expand()
        self.sender.send_due()

    def row(self, alert_id: str) -> alerting.AlertRow:
        """Return an alert in the inbox."""
        found = alerting.alert(self.following.conn, alert_id)
        assert found is not None
        return found

    def suppressed(self, alert_id: str) -> str:
        """Return why people are not told."""
        return self.row(alert_id).silenced_by


@pytest.fixture
def field(
    database: Database,
    ledger: Ledger,
    following: Runner,
    places: None,
    pool: Pool,
    mailbox: Mailbox,
    clock: ManualClock,
) -> Iterator[Field]:
    add_recipient(pool, "keeper", "keeper@x.example", severity_min="info")
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        made = Field(conn, ledger, following, clock)
        made.senders.append(make_sender(pool, clock, mailbox, GROUPING))
        conn.execute("DELETE FROM silence")
        conn.execute("DELETE FROM condition")
        yield made
        for alert_id in made.alerts:  # or they would speak for those of the next test
            made.over(alert_id)
        following.follow_once()
        for each in made.senders:
            each.close()


def test_given_a_silence_when_an_alert_fires_then_shown_not_told_and_told_when_it_ends(
    field: Field, pool: Pool, mailbox: Mailbox, hook: Hook
) -> None:
    add_recipient(pool, "system", hook.url)
    silence = field.silence(minutes=60)
    alert_id, short = field.fire(), field.fire("minor")
    field.go(2)
    row = field.row(alert_id)
    assert row.silenced_by == f"silence:{silence}"
    assert row.silenced_until == field.clock.now() + timedelta(minutes=58)
    assert (row.state, row.escalate_at) == ("firing", None)
    assert mailbox.mails == []
    assert [hit.json["kind"] for hit in hook.hits][:2] == ["fired", "fired"]
    field.over(short)
    field.go(57)
    assert mailbox.mails == []
    field.go(2)
    field.go(1)
    assert field.suppressed(alert_id) == ""
    assert field.row(alert_id).escalate_at is not None
    (mail,) = mailbox.mails
    assert "仍未恢复" in mail["Subject"]
    assert "2026" in mail.get_content()
    assert {"suppressed", "resumed"} <= {hit.json["kind"] for hit in hook.hits}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"severity": "critical"}, True),
        ({"severity": "minor", "side": "low", "limit_c": -0.5}, True),
        ({"severity": "major"}, False),
    ],
)
def test_given_a_silence_when_critical_or_freezing_then_told_at_once(
    field: Field, mailbox: Mailbox, more: dict[str, Any], told: bool
) -> None:
    field.silence()
    alert_id = field.fire(**more)
    field.go(1)
    assert bool(mailbox.mails) == told
    assert (field.suppressed(alert_id) == "") == told


def test_given_goods_were_moved_when_critical_then_silent_and_told_as_goods_come_back(
    field: Field, mailbox: Mailbox
) -> None:
    field.silence(stock_moved=True, unit_id="u1")
    alert_id = field.fire("critical")
    field.go(1)
    assert field.suppressed(alert_id).startswith("silence:")
    field.conn.execute(
        "INSERT INTO rm_traceability.node (k, lot_id, level, site_id, unit_id, status, held,"
        " recalled, doses_given, doses_wasted, flags)"
        " VALUES (1, 'l', 1, 's1', 'u1', 'in_stock', false, false, 0, 0, '{}')"
    )
    field.go(1)
    field.conn.execute("DELETE FROM rm_traceability.node")
    assert len(mailbox.mails) == 1


def test_given_quiet_hours_when_slight_then_it_waits_for_the_morning_and_the_rest_does_not(
    field: Field, mailbox: Mailbox
) -> None:
    now = field.clock.now()
    night = datetime(now.year, now.month, now.day, 15, 0, tzinfo=UTC)  # 23:00 there
    field.clock.set(night if night > now else night + timedelta(days=1))
    field.silence(daily=(22 * 60, 7 * 60), minutes=30 * 24 * 60)
    slight, grave = field.fire("minor", unit_id="u2"), field.fire("major", unit_id="u3")
    field.go(1)
    assert [field.row(grave).silenced_by, len(mailbox.mails)] == ["", 1]
    assert field.row(slight).silenced_until == field.clock.now() + timedelta(hours=7, minutes=59)
    field.go(8 * 60 - 2)
    assert len(mailbox.mails) == 1
    field.go(1)
    field.go(1)
    assert len(mailbox.mails) == 2


def test_given_alerts_of_one_site_when_told_then_one_message_and_what_follows_after_a_pause(
    field: Field, pool: Pool, mailbox: Mailbox, hook: Hook
) -> None:
    add_recipient(pool, "system", hook.url)
    first = [field.fire("major", unit_id=f"u{n}") for n in range(4)]
    field.fire("minor", unit_id="u8", side="low", limit_c=2.0)
    field.go()
    assert (len(mailbox.mails), len(hook.hits)) == (0, 5)
    field.go(0.5)
    (mail,) = mailbox.mails
    assert "5条告警" in mail["Subject"]
    assert len(mail["Subject"]) <= 70
    text = mail.get_content()
    assert all(alert_id[:8].upper() in text for alert_id in first)
    assert text.index("重要") < text.index("一般")
    field.fire("major", unit_id="u9")
    field.go(1)
    assert len(mailbox.mails) == 1
    frozen = field.fire("critical", unit_id="u1", side="low")
    field.go()
    assert len(mailbox.mails) == 2
    assert "紧急" in mailbox.mails[1]["Subject"]
    assert frozen[:8].upper() in mailbox.mails[1].get_content()
    assert "2条告警" in mailbox.mails[1]["Subject"]


def test_given_a_message_of_several_when_it_fails_then_the_same_is_sent_again_under_its_key(
    field: Field, mailbox: Mailbox, pool: Pool
) -> None:
    mailbox.answers = ["451 later"]
    for unit in ("u1", "u2"):
        field.fire(unit_id=unit)
    field.go(1)
    field.fire(unit_id="u3")
    field.go(2)
    field.go(5)
    assert ["2条告警" in mail["Subject"] for mail in mailbox.mails] == [True, False]
    assert mailbox.mails[0]["Message-ID"] != mailbox.mails[1]["Message-ID"]
    states = field.conn.execute("SELECT DISTINCT state FROM delivery").fetchall()
    assert states == [("sent",)]


def test_given_very_many_when_told_then_one_message_tells_all_that_waits(
    field: Field, mailbox: Mailbox
) -> None:
    for n in range(GROUPING.storm_max):
        field.fire("critical", site_id=f"s{n}", unit_id=f"u{n}")
        field.go()
    assert len(mailbox.mails) == GROUPING.storm_max
    late = [field.fire("critical", site_id=f"t{n}", unit_id=f"v{n}") for n in range(30)]
    field.go()
    assert len(mailbox.mails) == GROUPING.storm_max
    field.go(1)
    assert len(mailbox.mails) == GROUPING.storm_max + 1
    assert "30条告警" in mailbox.mails[-1]["Subject"]
    assert all(each[:8].upper() in mailbox.mails[-1].get_content() for each in late)


def test_given_power_is_lost_when_door_and_probes_follow_then_it_speaks_for_them(
    field: Field, mailbox: Mailbox
) -> None:
    power = field.raise_("power_lost", severity="major")
    field.conn.execute(
        "INSERT INTO condition VALUES ('power_lost', 'u1', 'unit', %s, 'major', '640202', '', 1)",
        (power,),
    )
    door, battery = field.raise_("door_open"), field.raise_("battery_low")
    field.go(1)
    assert field.suppressed(door) == f"alert:{power}"
    assert (field.suppressed(power), field.suppressed(battery)) == ("", "")
    field.over(power)
    field.conn.execute("DELETE FROM condition")
    field.go(6)
    field.go(6)
    assert field.suppressed(door) == ""
    assert "门未关好" in "".join(mail.get_content() for mail in mailbox.mails[1:])


def test_given_a_graver_alert_of_the_unit_when_the_lesser_is_due_again_then_it_is_not(
    field: Field, mailbox: Mailbox
) -> None:
    lesser = field.fire("minor")
    field.go(1)
    graver = field.fire("major")
    field.go(1)
    field.go(118)
    assert field.suppressed(lesser) == f"alert:{graver}"
    field.over(graver)
    field.go(1)
    assert field.suppressed(lesser) == ""


def test_given_it_comes_and_goes_when_it_was_told_often_then_muted_until_it_stays(
    field: Field, mailbox: Mailbox
) -> None:
    seen = []
    for _ in range(7):
        alert_id = field.fire("minor", device_id="TH-flap")
        field.go(1)
        seen.append(field.suppressed(alert_id).partition(":")[0])
        field.over(alert_id)
        field.go(9)
    assert seen == [""] * 5 + ["flap"] * 2
    steady = field.fire("minor", device_id="TH-flap")
    field.go(1)
    assert field.suppressed(steady).startswith("flap:")
    field.go(30)
    field.go(1)
    assert field.suppressed(steady) == ""


class Chance:
    """Things that happen in any order; `on`: what fires."""

    def __init__(self, field: Field, mailbox: Mailbox, pool: Pool, seed: int) -> None:
        self.field, self.mailbox, self.pool, self.rng = field, mailbox, pool, random.Random(seed)
        self.on: list[str] = []
        self.quiet: list[str] = []

    def step(self) -> None:
        """Let something happen."""
        self.rng.choice(
            (self.fire, self.fire, self.over, self.silence, self.end, self.fail, self.anew)
        )()
        self.field.clock.advance(seconds=self.rng.choice([0, 1, 31, 400]))
        if self.rng.random() < 0.5:
            self.field.sender.expand()

    def fire(self) -> None:
        """Let an alert fire somewhere."""
        severity = self.rng.choice(["minor", "major", "critical"])
        unit, site = f"u{self.rng.randrange(4)}", self.rng.choice(["s1", "s2"])
        self.on.append(self.field.fire(severity, unit_id=unit, site_id=site))

    def over(self) -> None:
        """Let one be over."""
        if self.on:
            self.field.over(self.on.pop(self.rng.randrange(len(self.on))))

    def silence(self) -> None:
        """Silence a site for a while."""
        site = self.rng.choice(["s1", "s2"])
        self.quiet.append(self.field.silence(self.rng.choice([5, 60]), site_id=site))

    def end(self) -> None:
        """End a silence."""
        if self.quiet:
            self.field.end(self.quiet.pop())

    def fail(self) -> None:
        """Let the next mail not be taken."""
        self.mailbox.answers = ["451 later"]

    def anew(self) -> None:
        """End the process and begin anew."""
        self.field.senders.append(make_sender(self.pool, self.field.clock, self.mailbox, GROUPING))
        self.field.silences = Silences(self.field.ledger)

    def check(self) -> None:
        """Require of what is on: somebody is put down to be told, or the reason why not is live."""
        self.field.go()
        for alert_id in self.on:
            asked = {"now": self.field.clock.now(), "alert_id": alert_id}
            ((why, told),) = self.field.conn.execute(_HELD_OR_TOLD, asked).fetchall()
            assert told or (why and self.field.suppressed(alert_id) == why)


_HELD_OR_TOLD = """
SELECT held_back(o, %(now)s), EXISTS (
    SELECT FROM delivery d JOIN outbox n ON n.id = d.outbox_id
    WHERE d.alert_id = o.alert_id AND n.kind IN ('fired', 'resumed'))
FROM outbox o WHERE o.alert_id = %(alert_id)s AND o.kind = 'fired' ORDER BY o.id DESC LIMIT 1
"""


@pytest.mark.parametrize("seed", range(4))
def test_given_any_order_and_restarts_when_all_is_done_then_told_once_or_shown_why_not(
    field: Field, mailbox: Mailbox, pool: Pool, seed: int
) -> None:
    chance = Chance(field, mailbox, pool, seed)
    for _ in range(40):
        chance.step()
        if chance.rng.random() < 0.3:
            chance.check()
    mailbox.answers = []
    for _ in range(8):
        field.clock.advance(minutes=12)
        chance.check()
    texts = [mail.get_content() for mail in mailbox.mails]
    for alert_id in chance.on:
        number = alert_id[:8].upper()
        assert field.suppressed(alert_id) or any(number in text for text in texts)
    states = dict(field.conn.execute("SELECT state, count(*) FROM delivery GROUP BY 1").fetchall())
    assert states == {"sent": sum(map(_told_in, texts))}


def _told_in(text: str) -> int:
    """Return how many notices a mail tells."""
    chinese = text.partition("----")[0]
    return max(1, sum(line.startswith("- ") for line in chinese.splitlines()))
