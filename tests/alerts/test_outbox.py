"""Notices reach each recipient once, are retried, given up visibly, and survive kills."""

from __future__ import annotations

import hashlib
import hmac
import threading
from datetime import timedelta

import pytest

from alerts.outbox import ATTEMPTS_MAX, BACKOFF_S, Pool, Sender
from tests.alerts.conftest import Hook, Mailbox, add_recipient, deliveries, make_sender
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


@pytest.mark.parametrize("status", [400, 404, 410])
def test_given_webhook_refuses_when_sent_then_failed_at_once_with_the_reason(
    pool: Pool, sender: Sender, hook: Hook, status: int
) -> None:
    hook.answers = [status]
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    send_all(sender)
    assert last_error(pool) == ("failed", f"HTTP {status}")


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
