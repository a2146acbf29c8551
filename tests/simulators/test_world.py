"""The simulated city: the same seed says the same things, and what it says is well formed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from stdnum.cn import uscc

from simulators.city import City, org_code, registrations, shizuishan
from simulators.goods import at_local, local_day
from simulators.instance import moment
from simulators.wire import Message, Tally
from simulators.world import World

# 2026-09-07 09:00 in China, UTC milliseconds.
START_MS = 1_788_742_800_000
STEP_MS = 15 * 60_000
STEPS = 28 * 4  # until the next noon: the clinics have begun


def _messages(seed: int, city: City) -> Iterator[Message]:
    end_ms = START_MS + STEPS * STEP_MS
    world = World(city, start_ms=START_MS, end_ms=end_ms, seed=seed)
    for step in range(1, STEPS + 1):
        yield from world.until(START_MS + step * STEP_MS)


@pytest.fixture(scope="module")
def day() -> list[Message]:
    """Return what is said with the first seed."""
    return list(_messages(1, shizuishan()))


def _digest(messages: Iterable[Message]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(f"{message.topic}\n{len(message.payload)}\n".encode() + message.payload)
    return digest.hexdigest()


def test_given_one_seed_when_the_days_are_run_twice_then_the_messages_are_the_same(
    day: list[Message],
) -> None:
    assert _digest(day) == _digest(_messages(1, shizuishan()))


def test_given_another_seed_when_the_days_are_run_then_the_messages_differ(
    day: list[Message],
) -> None:
    assert _digest(day) != _digest(_messages(2, shizuishan()))


def test_given_a_day_when_the_identities_are_counted_then_repeats_and_refusals_are_told(
    day: list[Message],
) -> None:
    tally, stored, scans = Tally(), set[tuple[str, int, int]](), set[tuple[str, int, int]]()
    refused: Counter[str] = Counter()
    rows_refused = 0
    for message in day:
        tally.published(message)
        if message.refused:
            refused[message.refused] += 1
            rows_refused += message.readings
            continue
        body = json.loads(message.payload)
        sender = message.topic
        if message.scans:
            scans.add((sender, body["boot"], body["seq"]))
            continue
        base = body.get("base", body)
        rows = len(body.get("rows", [None]))
        stored |= {(sender, body["boot"], base["seq"] + n) for n in range(rows)}
    scans_refused = refused["unknown_code"] + refused["bad_code"]
    assert len(stored) == tally.readings - tally.readings_repeated - rows_refused
    assert len(scans) == tally.scans - tally.scans_repeated - scans_refused
    assert set(refused) == {"schema", "clock", "unknown_device", "unknown_code", "bad_code"}
    assert tally.readings_repeated > 0
    assert tally.scans_repeated > 0


def test_given_the_city_when_it_is_registered_then_everything_stands_under_its_site() -> None:
    city = shizuishan()
    assert {site.region for site in city.of_kind("county_cdc")} == {"640202", "640205", "640221"}
    assert sum(len(unit.devices) for unit in city.units) == 60
    assert len([unit for unit in city.units if unit.plate]) == 2
    commands = [
        command
        for group in registrations(city, placed_at=moment("2026-09-07T09:00:00+08:00"))
        for command in group
    ]
    counted = Counter(path for path, _ in commands)
    assert counted["/sites"] == counted["/organisations"] == len(city.sites)
    assert counted["/devices"] == 60
    assert counted["/probes"] > 100


def test_given_region_and_number_when_a_code_is_made_then_it_is_a_valid_credit_code() -> None:
    for number in (1, 42, 900_000):
        code = org_code("12", "640202", number)
        assert uscc.is_valid(code)
        assert code[8:10] == "MA"


def test_given_a_start_when_planned_then_every_clinic_has_goods_next_morning() -> None:
    city = shizuishan()
    world = World(city, start_ms=START_MS, end_ms=START_MS + 73 * 3_600_000, seed=1)
    assert set(world.plan.delivered) == {site.site_id for site in city.of_kind("clinic")}
    morning = at_local(local_day(START_MS) + 1, 8)
    for received_ms, packs in world.plan.delivered.values():
        assert morning < received_ms < morning + 4 * 3_600_000
        assert len(packs) == 2 * len(city.products)
