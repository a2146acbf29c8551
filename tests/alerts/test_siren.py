"""The siren on site: switched on and off, asked again, its gateway's answer as evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from alerts.channels.channel import Later, Message, Permanent
from alerts.channels.siren import ASKED_MAX, Siren
from alerts.outbox import Pool
from domain.cold_chain import model as cold_chain
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.alerts.notices_of import FIRED_AT, noticed, resolved, tell
from tests.alerts.test_channels_cn import message
from tests.cold_chain.given import device
from tests.conftest import Database, ManualClock


@pytest.fixture
def siren(pool: Pool, ledger: Ledger, clock: ManualClock) -> Siren:
    """Register its device, once, and forget what it was asked."""
    stream = cold_chain.device_stream("SIREN-1")
    if not ledger.stream(stream):
        meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
        ledger.append([Envelope(stream, 1, device("SIREN-1"), meta)])
    with pool.connection() as conn:
        conn.execute("UPDATE device_command SET device_id = 'forgotten'")
    return Siren(ledger, clock.now)


def asked(database: Database) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT (arguments ->> 'on')::integer, state FROM device_command"
        " WHERE device_id = 'SIREN-1' AND cmd = 'siren' ORDER BY issued_at, command_id"
    )


def answer(database: Database, state: str, said: str = "") -> None:
    database.query("UPDATE device_command SET state = %s, answer = %s", state, said)


def test_given_an_alert_when_it_fires_then_the_siren_is_asked_once_and_its_answer_is_evidence(
    siren: Siren, database: Database, clock: ManualClock
) -> None:
    told = replace(message(clock, "SIREN-1"), key="once")
    for _ in range(3):
        with pytest.raises(Later, match="not answered"):
            siren.send(told)
    assert asked(database) == [(1, "waiting")]
    answer(database, "accepted")
    accepted = siren.send(told)
    answer(database, "applied")
    assert siren.send(told) == {**accepted, "delivered_at": clock.now().isoformat()}
    answer(database, "failed", "no power")
    with pytest.raises(Permanent, match="no power"):
        siren.send(told)


def test_given_a_gateway_that_is_away_when_time_is_over_then_asked_again_until_the_alert_is(
    siren: Siren, pool: Pool, database: Database, clock: ManualClock
) -> None:
    on = replace(message(clock, "SIREN-1"), key="away on")
    off = replace(on, key="away off", event={"kind": "resolved", "severity": "critical"})

    def looks(told: Message, minutes: float) -> None:
        clock.advance(minutes=minutes)
        with pytest.raises(Later):
            siren.send(told)

    looks(on, 0)
    looks(on, 9)
    assert asked(database) == [(1, "waiting")]
    looks(on, 2)
    assert asked(database) == [(1, "waiting")] * 2
    tell(pool, noticed(resolved(), 2, at=clock.now()))
    clock.advance(minutes=11)
    with pytest.raises(Permanent, match="before the alert was over"):
        siren.send(on)
    for _ in range(ASKED_MAX):
        looks(off, 11)
    clock.advance(minutes=11)
    with pytest.raises(Permanent, match="in time"):
        siren.send(off)
    assert [one for one, _ in asked(database)] == [1] * 2 + [0] * ASKED_MAX


def test_given_two_alerts_when_one_is_over_then_the_siren_sounds_until_both_are(
    siren: Siren, pool: Pool, database: Database, clock: ManualClock
) -> None:
    other = str(UUID(int=7))
    first = replace(message(clock, "SIREN-1"), key="first on")
    second = replace(message(clock, "SIREN-1"), key="second on", thread=other)
    for told in (first, second):
        with pytest.raises(Later):
            siren.send(told)
    ended = {"kind": "resolved", "severity": "critical"}
    clock.advance(minutes=1)
    tell(pool, noticed(resolved(), 2, at=clock.now()))
    off = replace(first, key="first off", event=ended)
    assert siren.send(off) == {"asked": "nothing", "because": "another alert"}
    clock.advance(minutes=1)
    tell(pool, noticed(resolved(other), 2, at=clock.now()))
    with pytest.raises(Later):
        siren.send(replace(second, key="second off", event=ended))
    assert [on for on, _ in asked(database)] == [1, 1, 0]
    amended = {**ended, "kind": "amended"}
    assert siren.send(replace(first, key="amended", event=amended)) == {"asked": "nothing"}


def test_given_no_such_siren_when_an_alert_fires_then_failed(
    siren: Siren, clock: ManualClock
) -> None:
    with pytest.raises(Permanent, match="no device"):
        siren.send(message(clock, "SIREN-9"))
