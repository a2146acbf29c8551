"""The inbox: each lane in order, the live one first, and no block larger than may be taken."""

from __future__ import annotations

import time
from threading import Timer

from hypothesis import given
from hypothesis import strategies as st

from ingest.client import Packet
from ingest.inbox import (
    BACKFILL_MAX,
    BACKFILL_TAKEN,
    ENOUGH,
    LIVE_MAX,
    LIVE_TAKEN,
    Block,
    Inbox,
)

LIVE, BACKFILL = False, True
# What happens: None, something is taken; else messages come in a lane: how many, how large in KiB,
# and whether over a new connection.
STEPS = st.lists(
    st.none()
    | st.tuples(
        st.sampled_from((LIVE, BACKFILL)), st.integers(1, 1_500), st.integers(0, 300), st.booleans()
    ),
    max_size=30,
)


def messages(lane: bool, first: int, number: int, kib: int) -> list[Packet]:
    """Return messages with numbers of their own; the first of them is so large."""
    payloads = [b"x" * 1024 * kib, *[b""] * (number - 1)]
    topic = b"backfill" if lane else b"tele"
    return [(topic, payload, b"%d" % (first + n)) for n, payload in enumerate(payloads)]


@given(steps=STEPS)
def test_given_any_flow_when_taken_then_lanes_are_in_order_and_the_live_one_is_first(
    steps: list[tuple[bool, int, int, bool] | None],
) -> None:
    inbox, connections, sent = Inbox(), {LIVE: 1, BACKFILL: 2}, 0
    waiting: dict[bool, list[tuple[int, Packet]]] = {LIVE: [], BACKFILL: []}

    def take() -> None:
        block = inbox.take(0)
        lane = not waiting[LIVE]
        if block is None:
            assert not waiting[lane]
            return
        number = len(block.packets)
        assert [(block.connection, packet) for packet in block.packets] == waiting[lane][:number]
        most = BACKFILL_TAKEN if lane else LIVE_TAKEN
        sizes = [len(payload) for _, payload, _ in block.packets]
        assert 0 < number <= most.messages
        assert sum(sizes[:-1]) < most.bytes
        del waiting[lane][:number]

    for step in steps:
        if step is None:
            take()
            continue
        lane, number, kib, anew = step
        connections[lane] += 2 * anew
        waiting[lane] += [
            (connections[lane], packet) for packet in messages(lane, sent, number, kib)
        ]
        inbox.put(Block(connections[lane], messages(lane, sent, number, kib)), backfill=lane)
        sent += number
        assert inbox.backlog == bool(waiting[BACKFILL])
    while not inbox.empty:
        take()
    assert waiting == {LIVE: [], BACKFILL: []}
    assert not inbox.full(backfill=LIVE)
    assert not inbox.full(backfill=BACKFILL)


def test_given_a_full_lane_when_asked_then_it_alone_is_full() -> None:
    inbox = Inbox()
    inbox.put(Block(1, messages(BACKFILL, 0, BACKFILL_MAX.messages, 0)), backfill=True)
    assert inbox.full(backfill=True)
    assert not inbox.full()
    inbox.put(Block(2, messages(LIVE, 0, 1, LIVE_MAX.bytes // 1024)))
    assert inbox.full()
    assert inbox.take(0) == Block(2, messages(LIVE, 0, 1, LIVE_MAX.bytes // 1024))
    assert not inbox.full()
    assert inbox.full(backfill=True)


def test_given_nothing_when_woken_then_it_waits_no_longer() -> None:
    inbox = Inbox()
    inbox.wake()
    assert inbox.take(30.0) is None


def test_given_messages_apart_when_few_come_soon_then_they_wait_and_others_do_not() -> None:
    inbox, one = Inbox(), messages(LIVE, 0, 1, 0)

    def taken_after_s(number: int) -> float:
        began = time.monotonic()
        inbox.put(Block(1, messages(LIVE, 0, number, 0)))
        inbox.put(Block(1, one))
        block = inbox.take(5)
        assert block is not None
        assert len(block.packets) == number + 1
        return time.monotonic() - began

    assert taken_after_s(1) < 0.1
    inbox.apart_s = 0.3
    assert taken_after_s(1) > 0.2
    assert taken_after_s(ENOUGH) < 0.1
    time.sleep(0.3)
    assert taken_after_s(1) < 0.1


def test_given_messages_apart_when_one_may_be_of_an_alert_then_all_are_taken_at_once() -> None:
    urgent: Packet = (b"tele", b"9.5", b"")
    inbox, one = Inbox(lambda packets: urgent in packets), messages(LIVE, 0, 1, 0)
    inbox.put(Block(1, list(one)))
    assert inbox.take(0)
    inbox.apart_s = 0.5
    inbox.put(Block(1, [*one, urgent]))  # before somebody waits
    assert inbox.take(5) == Block(1, [*one, urgent])
    inbox.put(Block(1, list(one)))
    later = Timer(0.05, inbox.put, [Block(1, [urgent])])
    began = time.monotonic()
    later.start()
    assert inbox.take(5) == Block(1, [*one, urgent])
    assert time.monotonic() - began < 0.3
    inbox.put(Block(1, list(one)))
    assert inbox.take(5)
    assert time.monotonic() - began > 0.5


def test_given_few_that_wait_when_woken_then_nothing_is_taken_yet() -> None:
    inbox = Inbox()
    inbox.put(Block(1, messages(LIVE, 0, 1, 0)))
    assert inbox.take(0)
    inbox.apart_s = 0.3
    inbox.put(Block(1, messages(LIVE, 0, 1, 0)))
    inbox.wake()
    assert inbox.take(5) is None
    assert inbox.take(5)
