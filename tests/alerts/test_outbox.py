"""Notices reach each recipient once, are retried, given up visibly, and survive kills."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from alerts.channels.channel import Channel, Message
from alerts.channels.webhook import Webhook
from alerts.main import WORKERS
from alerts.notices import AEFI_CLUSTER, Notice
from alerts.outbox import ATTEMPTS_MAX, BACKOFF_S, PLACE_MAX, Pool, Sender
from tests.alerts.conftest import (
    AT_ONCE,
    LOOPBACK,
    Hook,
    Mailbox,
    add_recipient,
    deliveries,
    eventually,
    make_sender,
)
from tests.alerts.notices_of import (
    ALERT,
    FIRED_AT,
    escalated,
    fired,
    noticed,
    resolved,
    tell,
    withdrawn,
)
from tests.conftest import ManualClock

pytestmark = pytest.mark.database

# Alerts of other probes.
ALERTS = [str(UUID(int=number)) for number in range(1, 4)]


def send_all(sender: Sender) -> None:
    sender.expand()
    sender.send_due()


def test_given_recipients_when_alert_fires_then_those_of_region_severity_and_level_are_told(
    pool: Pool, sender: Sender, mailbox: Mailbox
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example", region_code="640202")
    add_recipient(pool, "city", "city@x.example", region_code="640200")
    add_recipient(pool, "nation", "nation@x.example", region_code="000000")
    add_recipient(pool, "head", "head@x.example", level=1)
    add_recipient(pool, "elsewhere", "e@x.example", region_code="640221")
    add_recipient(pool, "only_critical", "c@x.example", severity_min="critical")
    add_recipient(pool, "other_site", "o@x.example", site_id="s2")
    add_recipient(pool, "this_site", "t@x.example", site_id="s1")
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    told = [recipient for recipient, *_ in deliveries(pool)]
    assert told == ["city", "keeper", "nation", "this_site"]
    tell(pool, noticed(escalated(1), 1))
    send_all(sender)
    assert "head" in [recipient for recipient, *_ in deliveries(pool)]
    assert ("head@x.example", mailbox.mails[-1]["Subject"]) in mailbox.read()


def test_given_mail_when_delivered_then_it_speaks_both_languages_and_evidence_is_kept(
    pool: Pool, sender: Sender, mailbox: Mailbox
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    mail = mailbox.mails[0]
    text = mail.get_content()
    assert "石嘴山市疾控中心" in text
    assert "Shizuishan CDC" in text
    assert f"https://vaxtrail.example/api/v1/alerts/{ALERT}" in text
    assert len(mail["Subject"]) <= 70
    with pool.connection() as conn:
        row = conn.execute("SELECT state, sent_at, evidence FROM delivery").fetchone()
    assert row is not None
    assert (row[0], row[1]) == ("sent", FIRED_AT)
    assert row[2]["message_id"] == mail["Message-ID"]


def test_given_webhook_when_events_follow_then_each_is_signed_and_in_order(
    pool: Pool, sender: Sender, hook: Hook
) -> None:
    add_recipient(pool, "city_system", hook.url, level=9)
    tell(pool, noticed(fired(), 1), noticed(escalated(1), 1), noticed(resolved(), 2))
    send_all(sender)
    assert [hit.json["kind"] for hit in hook.hits] == ["fired", "escalated", "resolved"]
    assert hook.hits[2].json["alert"]["peak_c"] == 9.8
    for hit in hook.hits:
        stamp, mac = hit.headers["x-signature"].removeprefix("t=").split(",v1=")
        expected = hmac.new(b"whsec", stamp.encode() + b"." + hit.body, hashlib.sha256)
        assert mac == expected.hexdigest()
    keys = [hit.headers["idempotency-key"] for hit in hook.hits]
    assert keys[0] == f"{ALERT}:fired:1:0:city_system:webhook"
    assert len(set(keys)) == 3


def test_given_transient_failures_when_time_passes_then_backed_off_and_sent_under_one_key(
    pool: Pool, sender: Sender, hook: Hook, clock: ManualClock
) -> None:
    hook.answers = [503, 429]
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    assert deliveries(pool) == [("city_system", "queued", 1, None)]
    assert not sender.send_next()
    clock.advance(seconds=BACKOFF_S[0])
    sender.send_due()
    assert deliveries(pool) == [("city_system", "queued", 2, None)]
    clock.advance(seconds=BACKOFF_S[1] - 1)
    assert not sender.send_next()
    clock.advance(seconds=1)
    sender.send_due()
    assert deliveries(pool) == [("city_system", "sent", 3, clock.now())]
    assert len({hit.headers["idempotency-key"] for hit in hook.hits}) == 1


def test_given_earlier_message_waiting_when_next_event_comes_then_it_waits_too(
    pool: Pool, sender: Sender, hook: Hook, clock: ManualClock
) -> None:
    hook.answers = [503]
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1), noticed(resolved(), 2))
    send_all(sender)
    assert len(hook.hits) == 1
    clock.advance(seconds=BACKOFF_S[0])
    sender.send_due()
    assert [hit.json["kind"] for hit in hook.hits] == ["fired", "fired", "resolved"]


@pytest.mark.parametrize(
    ("status", "state"), [(400, "failed"), (410, "failed"), (401, "queued"), (404, "queued")]
)
def test_given_webhook_refuses_when_sent_then_failed_at_once_unless_its_operator_mends_it(
    pool: Pool, sender: Sender, hook: Hook, status: int, state: str
) -> None:
    hook.answers = [status]
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    assert last_error(pool) == (state, f"HTTP {status}")


def test_given_mail_server_refuses_when_sent_then_4yz_is_retried_and_5yz_failed(
    pool: Pool, sender: Sender, mailbox: Mailbox, clock: ManualClock
) -> None:
    mailbox.answers = ["451 try again", "550 no such user"]
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    assert last_error(pool) == ("queued", "451 try again")
    clock.advance(seconds=1)
    sender.send_due()
    assert last_error(pool) == ("failed", "550 no such user")


def test_given_nobody_listens_when_attempts_run_out_then_failed(
    pool: Pool, sender: Sender, clock: ManualClock
) -> None:
    add_recipient(pool, "city_system", "http://127.0.0.1:9/nobody")
    tell(pool, noticed(fired(), 1))
    sender.expand()
    for _ in range(ATTEMPTS_MAX):
        assert sender.send_next()
        clock.advance(seconds=BACKOFF_S[-1])
    assert not sender.send_next()
    assert states(pool) == {"failed": 1}
    assert "Connect" in last_error(pool)[1]


def test_given_no_mail_server_configured_when_sent_then_failed_and_said(
    pool: Pool, clock: ManualClock
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    sender = make_sender(pool, clock, None)
    send_all(sender)
    sender.close()
    assert last_error(pool) == ("failed", "no email channel is configured")


def test_given_recipient_removed_when_due_then_not_sent(
    pool: Pool, sender: Sender, mailbox: Mailbox
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    sender.expand()
    with pool.connection() as conn:
        conn.execute("DELETE FROM recipient")
    sender.send_due()
    assert last_error(pool) == ("failed", "the recipient was removed")
    assert mailbox.mails == []


def test_given_killed_between_send_and_record_when_started_again_then_same_key_is_sent(
    pool: Pool, sender: Sender, mailbox: Mailbox
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    # What such a kill leaves: the message went out, the row still says 'sending'.
    with pool.connection() as conn:
        conn.execute("UPDATE delivery SET state = 'sending', sent_at = NULL")
    sender.send_due()
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert [state for _, state, *_ in deliveries(pool)] == ["sent"]


def test_given_one_sender_in_the_middle_when_another_looks_then_it_leaves_the_row_alone(
    pool: Pool, sender: Sender, hook: Hook
) -> None:
    hook.hold = threading.Event()
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    sender.expand()
    busy = threading.Thread(target=sender.send_due)
    busy.start()
    assert hook.reached.wait(5)
    assert states(pool) == {"sending": 1}
    assert not sender.send_next()
    hook.hold.set()
    busy.join()
    assert len(hook.hits) == 1
    assert states(pool) == {"sent": 1}


def test_given_one_recipient_in_flight_when_others_look_then_only_other_recipients_are_served(
    pool: Pool, sender: Sender, hook: Hook, other_hook: Hook
) -> None:
    hook.hold = threading.Event()
    add_recipient(pool, "slow", hook.url)
    add_recipient(pool, "swift", other_hook.url)
    tell(pool, *(noticed(fired(alert_id=alert_id), 1) for alert_id in ALERTS))
    sender.expand()
    with at_work(sender, hook):
        while sender.send_next():
            pass
        assert told(pool, "sent") == ["swift"] * len(ALERTS)
        assert told(pool, "sending") == ["slow"]
        assert transactions(pool) == 0
    assert told(pool, "queued") == ["slow"] * (len(ALERTS) - 1)


def test_given_one_place_answers_nobody_when_many_live_there_then_others_are_served(
    pool: Pool, hook: Hook, other_hook: Hook, clock: ManualClock
) -> None:
    hook.hold = threading.Event()
    for number in range(WORKERS):
        add_recipient(pool, f"slow_{number}", hook.url)
    add_recipient(pool, "swift", other_hook.url)
    tell(pool, noticed(fired(), 1))
    senders = [make_sender(pool, clock, None) for _ in range(2)]
    senders[0].expand()
    threads = [threading.Thread(target=one.send_due) for one in senders * (WORKERS // 2)]
    for thread in threads:
        thread.start()
    assert other_hook.reached.wait(4)
    eventually(lambda: len(told(pool, "sending")) == PLACE_MAX)
    assert len(hook.hits) == PLACE_MAX
    hook.hold.set()
    for thread in threads:
        thread.join()
    for one in senders:
        one.send_due()
        one.close()
    assert states(pool) == {"sent": WORKERS + 1}


def test_given_many_senders_at_once_when_an_attempt_fails_then_it_counts_once(
    pool: Pool, sender: Sender, hook: Hook
) -> None:
    add_recipient(pool, "city_system", hook.url)
    rounds = 10
    hook.answers = [503] * rounds
    for number in range(rounds):
        tell(pool, noticed(fired(alert_id=str(UUID(int=number))), 1))
        sender.expand()
        ready = threading.Barrier(4)

        def look(ready: threading.Barrier = ready) -> None:
            ready.wait()
            sender.send_next()

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [attempts for _, _, attempts, _ in deliveries(pool)] == [1] * rounds
    assert len(hook.hits) == rounds


@pytest.mark.parametrize("error", [UnicodeError("label\0empty"), ZeroDivisionError("\ud800")])
def test_given_channel_fails_in_a_way_nobody_thought_of_when_sent_then_only_that_delivery_waits(
    pool: Pool, clock: ManualClock, hook: Hook, error: Exception
) -> None:
    class Broken:
        def send(self, message: Message) -> dict[str, str]:
            raise error

        def close(self) -> None:
            """Have nothing to close."""

    channels: dict[str, Channel] = {"email": Broken(), "webhook": Webhook(LOOPBACK)}
    sender = Sender(pool, channels, now=clock.now, public_url="", grouping=AT_ONCE)
    add_recipient(pool, "a_keeper", "keeper@x.example")
    add_recipient(pool, "b_system", hook.url)
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    assert told(pool, "sent") == ["b_system"]
    assert deliveries(pool)[0][:3] == ("a_keeper", "queued", 1)
    with pool.connection() as conn:
        row = conn.execute("SELECT last_error FROM delivery WHERE state = 'queued'").fetchone()
    assert row is not None
    assert type(error).__name__ in row[0]
    sender.close()


def test_given_session_of_a_sender_ends_in_the_middle_when_another_looks_then_it_takes_over(
    pool: Pool, sender: Sender, hook: Hook
) -> None:
    hook.hold = threading.Event()
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    sender.expand()

    def cut_off() -> None:
        with pytest.raises(psycopg.OperationalError):
            sender.send_next()

    busy = threading.Thread(target=cut_off)
    busy.start()
    assert hook.reached.wait(5)
    with pool.connection() as conn:
        conn.execute(
            "SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l JOIN pg_database b"
            " ON b.oid = l.database WHERE b.datname = current_database()"
            " AND l.locktype = 'advisory'"
        )
    hook.hold.set()
    busy.join()
    assert states(pool) == {"sending": 1}
    assert sender.send_next()
    assert [row[1:3] for row in deliveries(pool)] == [("sent", 2)]
    assert len({hit.headers["idempotency-key"] for hit in hook.hits}) == 1


def test_given_two_senders_at_once_when_many_notices_then_one_message_a_key(
    pool: Pool, hook: Hook, clock: ManualClock
) -> None:
    senders = [make_sender(pool, clock, None) for _ in range(2)]
    for number in range(5):
        add_recipient(pool, f"system_{number}", hook.url)
    tell(pool, noticed(fired(), 1), noticed(resolved(), 2))
    tell(pool, noticed(fired(), 1))  # the same notice again changes nothing
    threads = [threading.Thread(target=send_all, args=(one,)) for one in senders * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in senders:
        one.send_due()
        one.close()
    keys = [hit.headers["idempotency-key"] for hit in hook.hits]
    assert len(keys) == len(set(keys)) == 10
    assert states(pool) == {"sent": 10}


def test_given_alert_withdrawn_when_expanded_then_those_who_were_told_are_told(
    pool: Pool, sender: Sender, mailbox: Mailbox, clock: ManualClock
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    add_recipient(pool, "newcomer", "new@x.example")
    add_recipient(pool, "head", "head@x.example", level=1)
    clock.advance(minutes=1)
    tell(pool, noticed(withdrawn(), 2))
    send_all(sender)
    assert [address for address, _ in mailbox.read()] == ["keeper@x.example"] * 2
    assert "撤销" in mailbox.read()[1][1]
    assert mailbox.mails[1]["References"] == mailbox.mails[0]["References"]
    assert clock.now() - FIRED_AT == timedelta(minutes=1)


@contextmanager
def at_work(sender: Sender, hook: Hook) -> Iterator[None]:
    """Have a second thread send what the hook holds until the block ends."""
    assert hook.hold is not None
    busy = threading.Thread(target=sender.send_next)
    busy.start()
    assert hook.reached.wait(5)
    try:
        yield
    finally:
        hook.hold.set()
        busy.join()


def told(pool: Pool, state: str) -> list[str]:
    return [row[0] for row in deliveries(pool) if row[1] == state]


def transactions(pool: Pool) -> int:
    """Return how many other sessions of the database have one open."""
    with pool.connection() as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            " AND backend_type = 'client backend'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def last_error(pool: Pool) -> tuple[str, str]:
    with pool.connection() as conn:
        row = conn.execute("SELECT state, last_error FROM delivery").fetchone()
    assert row is not None
    return row[0], row[1]


def states(pool: Pool) -> dict[str, int]:
    with pool.connection() as conn:
        return dict(conn.execute("SELECT state, count(*) FROM delivery GROUP BY state").fetchall())


@pytest.mark.parametrize(("hours", "told"), [(24, ["keeper", "system"]), (25, ["system"])])
def test_given_alert_found_in_old_data_when_expanded_then_systems_learn_it_and_nobody_is_roused(
    pool: Pool, sender: Sender, hook: Hook, clock: ManualClock, hours: int, told: list[str]
) -> None:
    add_recipient(pool, "keeper", "keeper@x.example")
    add_recipient(pool, "system", hook.url)
    found_at = clock.advance(hours=hours)
    tell(pool, noticed(fired(), 1, at=found_at), noticed(resolved(), 2, at=found_at))
    sender.expand()
    assert sorted({recipient for recipient, *_ in deliveries(pool)}) == told


def test_given_a_cluster_of_adverse_events_when_told_then_people_of_the_region_at_once(
    pool: Pool, sender: Sender, mailbox: Mailbox
) -> None:
    add_recipient(pool, "city", "city@x.example", region_code="640200")
    add_recipient(pool, "elsewhere", "e@x.example", region_code="640221")
    payload = {"lot_id": "8474354.A1", "cases": 3, "serious": 0, "days": 1.0}
    rule = {"started_at": FIRED_AT.isoformat(), "limit": 3, "window_days": 7}
    about: dict[str, Any] = {
        "level": 0,
        "severity": "major",
        "region_code": "640202",
        "created_at": FIRED_AT,
    }
    told = Notice(
        key=f"{ALERT}:cluster:640202",
        alert_id=ALERT,
        kind=AEFI_CLUSTER,
        payload=payload | rule,
        **about,
    )
    tell(pool, told)
    send_all(sender)
    assert [recipient for recipient, *_ in deliveries(pool)] == ["city"]
    text = mailbox.mails[0].get_content()
    assert "https://vaxtrail.example/api/v1/vaccination/aefi-clusters" in text
