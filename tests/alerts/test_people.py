"""Persons are told as they are on duty, by one contact after another, and it is on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from alerts import floor, people, trial_calls
from alerts.channels import robots
from alerts.channels.channel import Channel
from alerts.channels.email import Email, Smtp
from alerts.channels.offered import SHAPES
from alerts.channels.sms import Account, Sms
from alerts.channels.webhook import Webhook
from alerts.escalate import Escalator
from alerts.outbox import FALL_BACK_WITHIN, SILENCE, Pool, Sender
from alerts.trial_calls import TrialCalls
from domain.alerting import model
from domain.alerting.duty import REPORTED_AFTER
from domain.alerting.duty_events import DutyAssigned, LeaveTaken
from domain.alerting.events import AlertEscalated
from domain.shared.errors import Conflict
from projections.runner import Runner
from simulators.receivers import Receivers, serving
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.conftest import AT_ONCE, LOOPBACK, PUBLIC_URL, Mailbox, add_recipient
from tests.alerts.notices_of import (
    ALERT,
    EPISODE,
    FIRED_AT,
    escalated,
    fired,
    noticed,
    resolved,
    tell,
)
from tests.conftest import Database, ManualClock

ROBOT = "robot-of-this-person-"


@pytest.fixture
def books(clock: ManualClock) -> Iterator[Receivers]:
    """Serve all providers, at the time of the tests."""
    with serving(Receivers(now=lambda: clock.now().timestamp())) as made:
        yield made


@pytest.fixture
def channels(
    pool: Pool, places: None, mailbox: Mailbox, books: Receivers
) -> Iterator[dict[str, Channel]]:
    """Give mail, short messages and a robot, and nobody on duty."""
    with pool.connection() as conn:
        conn.execute("DELETE FROM trial_call")
        conn.execute("DELETE FROM person")
    with closing(Webhook(LOOPBACK, timeout_s=5)) as webhook:
        own = books.phones
        account = Account(
            books.url, own.key_id, own.secret, own.signature, own.template, app=own.app
        )
        yield {
            "email": Email(Smtp("127.0.0.1", mailbox.port, sender="alarm@vaxtrail.example")),
            "sms": Sms(SHAPES["aliyun"](account), account, webhook.ask),
            "wecom": robots.KINDS["wecom"](books.url, webhook.ask, books.now),
        }


@pytest.fixture
def sender(pool: Pool, channels: dict[str, Channel], clock: ManualClock) -> Sender:
    """Give a sender that gathers nothing."""
    return Sender(pool, channels, now=clock.now, public_url=PUBLIC_URL, grouping=AT_ONCE)


def person(pool: Pool, person_id: str, *contacts: tuple[str, str], locale: str = "zh") -> None:
    """Put down a person with contacts (channel, address) in order."""
    who = people.Person(
        person_id=person_id, name=f"名{person_id}", locale=locale, region_code="640202", key_id=""
    )
    with pool.connection() as conn:
        people.put(conn, who)
        for rank, (channel, address) in enumerate(contacts, start=1):
            conn.execute(
                "INSERT INTO recipient (recipient_id, name, channel, address, region_code,"
                " person_id, rank) VALUES (%s, %s, %s, %s, '640202', %s, %s)",
                (f"{person_id}-{rank}", person_id, channel, address, person_id, rank),
            )


def on_duty(pool: Pool, person_id: str, **fields: Any) -> None:
    """Give a person a duty of site s1, from long ago on, unless said otherwise."""
    duty: dict[str, Any] = {
        "duty_id": f"d-{person_id}",
        "deputy_id": "",
        "region_code": "640202",
        "site_id": "s1",
        "level": 0,
        "severity_min": "minor",
        "begins_at": FIRED_AT - timedelta(days=1),
        "ends_at": None,
    }
    with pool.connection() as conn, conn.cursor() as cur:
        people.keep(cur, DutyAssigned(person_id=person_id, **duty | fields))


def on_leave(pool: Pool, person_id: str, begins_at: datetime, ends_at: datetime) -> None:
    with pool.connection() as conn, conn.cursor() as cur:
        leave = LeaveTaken(
            leave_id=f"l-{person_id}", person_id=person_id, begins_at=begins_at, ends_at=ends_at
        )
        people.keep(cur, leave)


def told(pool: Pool, alert_id: str = ALERT) -> dict[str, people.Told]:
    with pool.connection() as conn:
        return {one.person_id: one for one in people.evidence(conn, alert_id)}


def phone(number: int) -> tuple[str, str]:
    return "sms", f"+861380000000{number}"


def mail(name: str) -> tuple[str, str]:
    return "email", f"{name}@x.example"


def robot(name: str) -> tuple[str, str]:
    return "wecom", ROBOT + name


def three(pool: Pool) -> None:
    """Put three people on duty, each with another channel first."""
    person(pool, "a", phone(1), mail("a"))
    person(pool, "b", mail("b"), robot("b"))
    person(pool, "c", robot("c"), phone(3))
    for name in "abc":
        on_duty(pool, name)


def run(sender: Sender, clock: ManualClock, seconds: int) -> None:
    """Let the alert process work for so long."""
    sender.expand()
    for _ in range(seconds + 1):
        sender.fall_back()
        sender.send_due()
        clock.advance(seconds=1)


@pytest.mark.parametrize("down", ["sms", "email", "wecom"])
def test_given_one_channel_down_when_an_alert_fires_then_three_people_accepted_within_a_minute(
    down: str,
    pool: Pool,
    channels: dict[str, Channel],
    mailbox: Mailbox,
    books: Receivers,
    clock: ManualClock,
) -> None:
    sender = Sender(pool, channels, now=clock.now, public_url=PUBLIC_URL)  # messages are gathered
    three(pool)
    books.faults[down].extend(["fail"] * 1_000)
    mailbox.answers.extend(["451 later"] * 1_000 if down == "email" else [])
    tell(pool, noticed(fired(), 1))
    run(sender, clock, 60)
    found = told(pool)
    assert sorted(found) == ["a", "b", "c"]
    for one in found.values():
        assert one.accepted_at is not None
        assert (one.accepted_at - one.queued_at).total_seconds() <= 60
        assert one.accepted_by != down
    # And one who was reached gets nothing more when the channel is up again.
    books.faults[down].clear()
    mailbox.answers.clear()
    before = len(books.told) + len(mailbox.mails)
    clock.advance(hours=7)
    run(sender, clock, 1)
    assert len(books.told) + len(mailbox.mails) == before


def test_given_a_contact_refused_when_told_then_the_next_at_once_and_each_step_on_record(
    pool: Pool, sender: Sender, books: Receivers, mailbox: Mailbox, clock: ManualClock
) -> None:
    person(pool, "a", phone(1), mail("a"), locale="en")
    on_duty(pool, "a")
    books.faults["sms"].append("refuse")
    tell(pool, noticed(fired(), 1))
    run(sender, clock, 1)
    (one,) = told(pool).values()
    assert (one.accepted_by, one.failed_by) == ("email", ["sms"])
    assert one.accepted_at == one.queued_at + timedelta(seconds=1)
    assert str(mailbox.mails[0]["Subject"]).startswith("[major] Temperature alert")
    assert mailbox.mails[0].get_content().index("Site: ") < 80
    with pool.connection() as conn:
        assert [bool(each.failed_at) for each in people.contacts(conn, "a")] == [True, False]
        conn.execute("UPDATE person SET key_id = 'k-a'")
        people.record_read(conn, alert_id=ALERT, key_id="k-a", at=clock.now())
        people.record_read(conn, alert_id=ALERT, key_id="k-b", at=clock.now())
    assert told(pool)["a"].read_at == clock.now()
    tell(pool, noticed(resolved(), 2))
    run(sender, clock, 1)
    with pool.connection() as conn:  # the phone works again
        assert [bool(each.failed_at) for each in people.contacts(conn, "a")] == [False, False]
    assert len(books.told) == 1


def test_given_critical_when_it_fires_then_two_contacts_of_each_and_not_what_waits_in_vain(
    pool: Pool, sender: Sender, books: Receivers, mailbox: Mailbox, clock: ManualClock
) -> None:
    person(pool, "a", phone(1), mail("a"), robot("a"))
    on_duty(pool, "a")
    tell(pool, noticed(fired(severity="critical"), 1, severity="critical"))
    run(sender, clock, 60)
    assert (len(books.texts("sms")), len(mailbox.mails), len(books.texts("wecom"))) == (1, 1, 0)


def test_given_rosters_when_alerts_fire_then_who_is_on_duty_then_and_deputies_for_leave(
    pool: Pool, sender: Sender, clock: ManualClock
) -> None:
    for number, name in enumerate(("day", "night", "deputy", "county", "far"), start=1):
        person(pool, name, phone(number))
    on_duty(pool, "day", ends_at=FIRED_AT + timedelta(hours=1), deputy_id="deputy")
    on_duty(pool, "night", begins_at=FIRED_AT + timedelta(hours=1))
    on_duty(pool, "county", region_code="640200", site_id="", level=2)
    on_duty(pool, "far", region_code="640221", site_id="")
    add_recipient(pool, "group", "group@x.example")
    tell(pool, noticed(fired(), 1))
    run(sender, clock, 1)
    assert sorted(told(pool)) == ["day"]
    on_leave(pool, "day", FIRED_AT, FIRED_AT + timedelta(hours=1))
    other = "00000000-0000-0000-0000-000000000001"
    tell(pool, noticed(fired(alert_id=other), 2))
    run(sender, clock, 1)
    assert sorted(told(pool, other)) == ["deputy"]
    clock.advance(hours=2)
    late = "00000000-0000-0000-0000-000000000002"
    tell(pool, noticed(fired(alert_id=late), 3))
    tell(pool, noticed(resolved(), 4))  # goes to who was told, on duty or not
    run(sender, clock, 1)
    assert sorted(told(pool, late)) == ["night"]
    assert sorted(told(pool)) == ["day"]


def test_given_nobody_answers_when_levels_are_due_then_who_is_on_duty_then_stands_in_the_event(
    pool: Pool,
    sender: Sender,
    ledger: Ledger,
    following: Runner,
    database: Database,
    clock: ManualClock,
) -> None:
    for number, (name, level) in enumerate({"a": 0, "b": 1, "c": 1, "city": 2}.items(), start=1):
        person(pool, name, phone(number))
        on_duty(pool, name, level=level, **({"site_id": ""} if name == "city" else {}))
    on_leave(pool, "c", FIRED_AT, FIRED_AT + timedelta(minutes=15))
    event, meta = fired(severity="critical"), Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    ledger.append([Envelope(EPISODE, 1, event, meta)])
    following.follow_once()
    tell(pool, noticed(event, 1, severity="critical"))
    run(sender, clock, 1)
    with psycopg.connect(database.app_dsn, autocommit=True) as conn:
        escalator = Escalator(ledger, conn)
        for minute in (10, 10, 20):
            escalator.tick(FIRED_AT + timedelta(minutes=minute))
            following.follow_once()
    acts = [each.event for each in ledger.stream(model.alert_stream(ALERT))]
    levels = [act.person_ids for act in acts if isinstance(act, AlertEscalated)]
    assert levels == [("a", "b"), ("a", "b", "c", "city")]
    run(sender, clock, 1)
    assert {name: one.level for name, one in told(pool).items()} == {
        **{"a": 0, "b": 1, "c": 2, "city": 2}
    }
    ledger.append([Envelope(EPISODE, 2, resolved(), meta)])
    following.follow_once()


def test_given_three_people_when_a_change_leaves_two_at_any_time_then_refused(
    pool: Pool, sender: Sender, clock: ManualClock
) -> None:
    three(pool)
    now = clock.now()

    def ended(person_id: str) -> None:
        with pool.connection() as conn, conn.transaction(), floor.kept(conn, [person_id], now):
            conn.execute("UPDATE duty SET ends_at = %s WHERE person_id = %s", (now, person_id))

    def away(person_id: str, days: int) -> None:
        with pool.connection() as conn, conn.transaction(), floor.kept(conn, [person_id], now):
            on = now + timedelta(days=days)
            on_leave_in(conn, person_id, on, on + timedelta(hours=1))

    def without_contact(recipient_id: str) -> None:
        with pool.connection() as conn, conn.transaction(), floor.kept(conn, ["a"], now):
            conn.execute("DELETE FROM recipient WHERE recipient_id = %s", (recipient_id,))

    without_contact("a-2")
    for change, argument in ((ended, "b"), (without_contact, "a-1")):
        with pytest.raises(Conflict, match="floor_undercut") as refused:
            change(argument)
        assert (refused.value.facts["site_id"], refused.value.facts["left"]) == ("s1", 2)
    with pytest.raises(Conflict, match="floor_undercut") as refused:
        away("c", 3)
    assert refused.value.facts["at"] == (now + timedelta(days=3)).isoformat()
    # A fourth takes over after two days: whoever is there by then may go from then on.
    person(pool, "d", phone(4))
    on_duty(pool, "d", begins_at=now + timedelta(days=2))
    away("c", 3)
    with pytest.raises(Conflict, match="floor_undercut"):
        ended("b")
    with pool.connection() as conn:
        assert floor.shortages(conn, now) == []


def on_leave_in(conn: psycopg.Connection[Any], who: str, begins_at: datetime, to: datetime) -> None:
    with conn.cursor() as cur:
        leave = LeaveTaken(leave_id=f"l-{who}", person_id=who, begins_at=begins_at, ends_at=to)
        people.keep(cur, leave)


def test_given_a_roster_that_runs_out_when_looked_at_then_shown_and_those_above_told_once_a_day(
    pool: Pool, sender: Sender, books: Receivers, clock: ManualClock
) -> None:
    three(pool)
    person(pool, "county", phone(5))
    on_duty(pool, "county", site_id="", region_code="640200", level=2)
    gap = clock.now() + timedelta(hours=3)
    with pool.connection() as conn:
        conn.execute("UPDATE duty SET ends_at = %s WHERE person_id = 'c'", (gap,))
        (found,) = floor.shortages(conn, clock.now())
        assert (found.site_id, found.people, found.since) == ("s1", 2, gap)
        watch = floor.Watch()
        assert watch.tick(conn, clock.now()) == 0
        clock.set(gap)
        assert [watch.tick(conn, clock.now()) for _ in range(2)] == [1, 0]
        assert floor.Watch().tick(conn, clock.now()) == 0
    run(sender, clock, 1)
    (text,) = books.texts("sms")  # the county alone: those of the site are told of its alerts
    assert "告警接收人不足" in text
    assert "1处不足三人" in text


def test_given_a_chain_when_called_for_trial_then_all_told_it_is_none_and_reported_once(
    pool: Pool,
    sender: Sender,
    books: Receivers,
    mailbox: Mailbox,
    ledger: Ledger,
    clock: ManualClock,
) -> None:
    three(pool)
    person(pool, "mute")
    on_duty(pool, "mute", level=1)
    add_recipient(pool, "group", "group@x.example", level=0)
    clock.set(FIRED_AT + timedelta(hours=4))  # noon in Beijing
    with pool.connection() as conn:
        calls = [TrialCalls(ledger) for _ in range(2)]
        assert [each.tick(conn, clock.now()) for each in calls] == [1, 0]
        run(sender, clock, 5)
        (made,) = trial_calls.listed(conn, region="64", before=None, limit=9)
        assert calls[0].tick(conn, clock.now() + timedelta(seconds=15)) == 0
        over = made.made_at + REPORTED_AFTER
        assert [each.tick(conn, over) for each in calls] == [1, 0]
        assert trial_calls.one(conn, made.call_id) is not None
    report = trial_calls.report_of(ledger, made.call_id)
    assert report is not None
    assert {(one.person_id, one.channel) for one in report.reached} == {
        ("a", "sms"),
        ("b", "email"),
        ("c", "wecom"),
    }
    assert report.missed == ("mute",)
    assert [str(each["To"]) for each in mailbox.mails] == ["b@x.example"]
    texts = [*books.texts("sms"), *books.texts("wecom"), str(mailbox.mails[0]["Subject"])]
    for text in texts:
        assert "告警通知演练" in text
        assert "重要" not in text
    assert "[TEST, NOT AN ALERT]" in mailbox.mails[0].get_content()
    assert SILENCE < FALL_BACK_WITHIN
    assert escalated(1).person_ids == ()
