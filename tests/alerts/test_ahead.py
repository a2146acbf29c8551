"""Systems are told of an alert that fires before the delivery is put down, and told once."""

from __future__ import annotations

import threading

import pytest

from alerts.channels.channel import Message
from alerts.outbox import AHEAD_MAX, PLACE_MAX, Pool, Sender
from tests.alerts.conftest import Hook, add_recipient, deliveries, eventually, make_sender
from tests.alerts.notices_of import escalated, fired, noticed, tell
from tests.conftest import ManualClock

pytestmark = pytest.mark.database


def waiting(pool: Pool) -> list[int]:
    """Return what the senders are woken with."""
    with pool.connection() as conn:
        found = conn.execute("SELECT id FROM outbox WHERE NOT expanded ORDER BY id").fetchall()
    return [number for (number,) in found]


def test_given_transaction_when_committed_then_the_senders_hear_the_number_of_each_new_row(
    pool: Pool,
) -> None:
    with pool.connection() as conn:
        conn.execute("LISTEN outbox")
        tell(pool, noticed(fired(), 1))
        tell(pool, noticed(fired(), 1), noticed(escalated(1), 1))
        heard = [int(each.payload) for each in conn.notifies(timeout=5, stop_after=2)]
    assert heard == waiting(pool)


def test_given_alert_fires_when_sent_ahead_then_systems_of_it_get_one_request_and_it_is_recorded(
    pool: Pool, sender: Sender, hook: Hook, other_hook: Hook
) -> None:
    add_recipient(pool, "city_system", hook.url)
    add_recipient(pool, "elsewhere", other_hook.url, region_code="640221")
    tell(pool, noticed(fired(), 1))
    sender.send_ahead(waiting(pool))
    (hit,) = hook.hits
    assert deliveries(pool) == []
    assert "石嘴山市疾控中心" in hit.json["summary"]
    sender.send_due()
    assert [(who, state) for who, state, *_ in deliveries(pool)] == [("city_system", "sent")]
    tell(pool, noticed(escalated(1), 1))
    sender.send_ahead(waiting(pool))
    assert len(hook.hits) == 1
    sender.send_due()
    assert [each.json["kind"] for each in hook.hits] == ["fired", "escalated"]
    assert other_hook.hits == []


def test_given_request_ahead_that_fails_when_claimed_then_it_counts_and_is_sent_again_by_its_key(
    pool: Pool, sender: Sender, hook: Hook, clock: ManualClock
) -> None:
    hook.answers = [503]
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    sender.send_ahead(waiting(pool))
    sender.send_due()
    assert deliveries(pool) == [("city_system", "queued", 1, None)]
    clock.advance(seconds=1)
    sender.send_due()
    assert deliveries(pool) == [("city_system", "sent", 2, clock.now())]
    assert len(hook.hits) == 2
    assert len({hit.headers["idempotency-key"] for hit in hook.hits}) == 1


def test_given_killed_after_a_request_ahead_when_started_again_then_same_key_is_sent(
    pool: Pool, sender: Sender, hook: Hook, clock: ManualClock
) -> None:
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    sender.send_ahead(waiting(pool))
    again = make_sender(pool, clock, None)
    again.send_due()
    again.close()
    assert [state for _, state, *_ in deliveries(pool)] == ["sent"]
    assert len(hook.hits) == 2
    assert len({hit.headers["idempotency-key"] for hit in hook.hits}) == 1


def test_given_system_that_does_not_answer_when_alerts_follow_then_it_gets_one_request_ahead(
    pool: Pool, sender: Sender, hook: Hook, other_hook: Hook
) -> None:
    hook.hold = threading.Event()
    add_recipient(pool, "slow", hook.url)
    add_recipient(pool, "quick", other_hook.url)
    for _ in range(2):
        with pool.connection() as conn:
            conn.execute("DELETE FROM outbox")
        tell(pool, noticed(fired(), 1))
        sender.send_ahead(waiting(pool))
    assert (len(hook.hits), len(other_hook.hits)) == (1, 2)
    hook.hold.set()


def test_given_push_services_that_do_not_answer_when_sent_then_other_browsers_are_told(
    pool: Pool, places: None, clock: ManualClock
) -> None:
    answered, told = threading.Event(), list[str]()

    class Services:
        def send(self, message: Message) -> dict[str, str]:
            if "silent" in message.address:
                assert answered.wait(10)
            told.append(message.address)
            return {}

        def close(self) -> None:
            """Have nothing to close."""

    hosts = ["silent.example"] * PLACE_MAX + ["swift.example"]
    with pool.connection() as conn:
        for n, host in enumerate(hosts):
            conn.execute(
                "INSERT INTO recipient (recipient_id, name, channel, address, region_code)"
                " VALUES (%s, '', 'push', %s, '640200')",
                (f"browser_{n}", f"https://{host}/push/{n}"),
            )
    sender = Sender(pool, {"push": Services()}, now=clock.now, public_url="")
    tell(pool, noticed(fired(severity="critical"), 1, severity="critical"))
    sender.expand()
    threads = [threading.Thread(target=sender.send_next) for _ in hosts]
    for thread in threads:
        thread.start()
    eventually(lambda: told == ["https://swift.example/push/2"])
    answered.set()
    for thread in threads:
        thread.join()
    assert len(told) == len(hosts)


def test_given_storm_when_told_of_more_than_a_few_at_once_then_none_goes_ahead(
    pool: Pool, sender: Sender, hook: Hook
) -> None:
    add_recipient(pool, "city_system", hook.url)
    tell(pool, noticed(fired(), 1))
    sender.send_ahead(waiting(pool) * (AHEAD_MAX + 1))
    assert hook.hits == []
    sender.send_due()
    assert len(hook.hits) == 1
