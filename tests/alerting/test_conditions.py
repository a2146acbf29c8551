"""Conditions of equipment as pure rules: who is silent, and what values say of their probes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from domain.alerting.conditions import Found, Ground, silences
from domain.alerting.signals import Rows, Signals, usual

MIN = 60_000.0
T0 = 1_772_409_600_000.0  # a full hour
NONE = float("nan")


def ground(
    gateways: Sequence[tuple[str, int]], *, kind: str = "refrigerator", interval_s: int = 300
) -> Ground:
    """Return devices of one probe, each in a unit of its own: (site, how many) of each gateway."""
    sites = sorted({site for site, _ in gateways})
    behind = [n for n, (_, count) in enumerate(gateways) for _ in range(count)]
    index = np.arange(len(behind))
    at_site = np.array([sites.index(site) for site, _ in gateways], np.int64)
    return Ground(
        devices=tuple(f"d{n}" for n in index),
        interval_ms=np.full(len(behind), interval_s * 1000.0),
        gateway=np.array(behind, np.int64),
        unit=index,
        gateways=tuple(f"g{n}" for n in range(len(gateways))),
        gateway_site=at_site,
        sites=tuple(sites),
        regions=tuple("640202" for _ in sites),
        units=tuple(f"u{n}" for n in index),
        unit_kinds=(kind,) * len(behind),
        unit_site=at_site[behind],
        probe_device=index,
        probe_channel=np.zeros(len(behind), np.int64),
        probe_unit=index,
    )


def one_unit(probes: int, kind: str = "refrigerator", interval_s: int = 300) -> Ground:
    """Return devices of one probe each, all in one unit."""
    of_one = ground([("s", probes)], kind=kind, interval_s=interval_s)
    zeros = np.zeros(probes, np.int64)
    changed: dict[str, Any] = {"unit": zeros, "units": ("u",), "unit_kinds": (kind,)}
    changed |= {"unit_site": zeros[:1], "probe_unit": zeros}
    return Ground(**{name: getattr(of_one, name) for name in Ground.__dataclass_fields__} | changed)


def told(found: Iterable[Found], *, held: bool = False) -> list[tuple[str, str, str]]:
    """Return kind, subject and severity of those that are (not) held."""
    return [(one.kind, one.subject_id, one.severity) for one in found if one.held == held]


def silent_since(on: Ground, minutes: Sequence[float], **others: Any) -> list[Found]:
    """Return who is silent at T0 when each device was heard so many minutes before."""
    heard = T0 - np.array(minutes) * MIN
    wills = np.array(others.get("wills") or [NONE] * len(on.gateways)) * MIN
    return silences(on, heard, T0 - wills, T0)


# --- silence ---


def test_given_all_speak_when_asked_then_nothing() -> None:
    assert silent_since(ground([("a", 2), ("b", 1)]), [4.9, 14, 15.0]) == []


def test_given_one_of_many_is_silent_when_asked_then_it_alone_and_graver_after_an_hour() -> None:
    on = ground([("a", 6)])
    found = silent_since(on, [1, 1, 15.1, 1, 61, 1])
    assert told(found) == [("probe_offline", "d2", "minor"), ("probe_offline", "d4", "major")]
    assert found[0].since_ms == int(T0 - 15.1 * MIN)


def test_given_vehicles_and_slow_devices_when_asked_then_their_own_limits() -> None:
    vehicle = ground([("a", 6)], kind="refrigerated_vehicle", interval_s=60)
    assert told(silent_since(vehicle, [19.9, 20.1, 1, 1, 1, 1])) == [
        ("probe_offline", "d1", "minor")
    ]
    slow = ground([("a", 6)], interval_s=1800)
    assert told(silent_since(slow, [89, 91, 1, 1, 1, 1])) == [("probe_offline", "d1", "major")]


def test_given_a_dead_gateway_when_asked_minute_by_minute_then_told_once_and_nothing_else() -> None:
    on = ground([("a", 50), ("b", 50)])
    last = np.linspace(0, 4.9, 50)  # how long before its death each spoke
    spoken = []
    for minute in range(40):
        heard = [*(minute + last), *last]
        spoken.append(told(silent_since(on, heard)))
    begun = next(n for n, found in enumerate(spoken) if found)
    assert 13 <= begun <= 15
    assert all(found == [("gateway_offline", "g0", "major")] for found in spoken[begun:])
    (one,) = (f for f in silent_since(on, [*(30 + last), *last]) if not f.held)
    assert (one.facts, one.since_ms) == ({"devices": 50, "silent": 50}, int(T0 - 30 * MIN))


def test_given_most_of_a_gateway_silent_when_asked_then_it_is_told_for_them() -> None:
    on = ground([("a", 10)])
    assert told(silent_since(on, [20] * 8 + [1, 1])) == [("gateway_offline", "g0", "major")]
    assert len(told(silent_since(on, [20] * 7 + [1] * 3))) == 7
    # The eighth is overdue: it may be the gateway's trouble.
    assert told(silent_since(on, [20] * 7 + [9] + [1] * 2)) == []


def test_given_a_site_without_any_gateway_when_asked_then_told_as_one() -> None:
    on = ground([("a", 2), ("a", 3), ("b", 1)])
    found = silent_since(on, [40, 41, 42, 43, 44, 1])
    assert told(found) == [("site_offline", "a", "major")]
    assert (found[0].facts, found[0].since_ms) == (
        {"gateways": 2, "devices": 5},
        int(T0 - 40 * MIN),
    )
    # The second gateway is overdue only: the site may be dark in a moment.
    assert told(silent_since(on, [16, 16, 9, 9, 9, 1])) == []
    assert told(silent_since(on, [16, 16, 1, 1, 1, 1])) == [("gateway_offline", "g0", "major")]


def test_given_a_will_when_nothing_was_heard_since_then_believed_after_a_minute() -> None:
    on = ground([("a", 2)])
    assert told(silent_since(on, [2, 3], wills=[0.9])) == []
    assert told(silent_since(on, [2, 3], wills=[1.1])) == [("gateway_offline", "g0", "major")]
    assert told(silent_since(on, [1, 3], wills=[1.1])) == []


def test_given_nobody_listened_when_asked_then_silent_only_since_somebody_does() -> None:
    on = ground([("a", 2), ("b", 1)])
    heard, wills = T0 - np.array([200.0, 300, 1]) * MIN, np.full(2, NONE)
    assert silences(on, heard, wills, T0, T0 - 15 * MIN) == []
    assert silences(on, heard, wills, T0, np.inf) == []
    found = silences(on, heard, wills, T0, T0 - 16 * MIN)
    assert told(found) == [("gateway_offline", "g0", "major")]
    assert found[0].since_ms == int(T0 - 200 * MIN)


def test_given_devices_of_which_nothing_is_expected_when_asked_then_nothing() -> None:
    assert silent_since(ground([("a", 2)]), [NONE, NONE]) == []
    assert silences(ground([]), np.empty(0), np.empty(0), T0) == []


# --- values ---


class Story:
    """Signals of some ground, minute by minute."""

    def __init__(self, on: Ground) -> None:
        self.on = on
        self.signals = Signals(on, T0)
        self.usual = np.zeros(len(on.probe_device))

    def say(self, minute: float, *devices: int, **values: Any) -> None:
        """Let devices (all by default) say something; t: °C of each."""
        at = np.array(devices or range(len(self.on.devices)), np.int64)
        t = np.full((len(at), 4), NONE)
        t[:, 0] = values.get("t", 5.0)
        more = [
            np.full(len(at), float(values.get(n, NONE))) for n in ("rh", "door", "mains", "bat")
        ]
        self.signals.advance(T0 + minute * MIN)
        self.signals.take(Rows(at, np.full(len(at), T0 + minute * MIN), t, *more))

    def found(self, minute: float) -> list[tuple[str, str, str]]:
        """Return what is told at a minute."""
        return told(self.signals.found(T0 + minute * MIN, self.usual))

    def held(self, minute: float) -> list[tuple[str, str, str]]:
        """Return what is held back at a minute."""
        return told(self.signals.found(T0 + minute * MIN, self.usual), held=True)


def test_given_power_lost_when_a_minute_is_over_then_told_until_it_is_back() -> None:
    story = Story(ground([("a", 2), ("b", 1)]))
    story.say(0, mains=1)
    story.say(5, 0, mains=0, t=5.1)
    assert story.found(5.5) == []
    assert story.found(6) == [("power_lost", "u0", "major")]
    story.say(10, 0)  # says nothing of it
    assert story.found(11) == [("power_lost", "u0", "major")]
    story.say(15, 0, mains=1)
    assert story.found(17) == []


def test_given_all_units_of_a_site_without_power_when_asked_then_told_as_one() -> None:
    story = Story(ground([("a", 2), ("a", 1)]))
    story.say(0, mains=0, door=1)
    story.say(5, mains=0, door=1)
    assert story.found(5) == [("power_lost", "a", "major")]
    assert [kind for kind, *_ in story.held(5)] == ["power_lost"] * 3 + ["door_open"] * 3


@pytest.mark.parametrize(("kind", "minutes"), [("refrigerator", 3), ("cold_room", 5)])
def test_given_a_door_when_a_later_reading_still_finds_it_open_then_told(
    kind: str, minutes: int
) -> None:
    story = Story(ground([("a", 1)], kind=kind, interval_s=60))
    story.say(0, door=1)
    assert story.found(10) == []  # only seen open once
    story.say(minutes - 1, door=1)
    assert story.found(minutes) == []
    story.say(minutes, door=1)
    assert story.found(minutes) == [("door_open", "u0", "minor")]
    story.say(minutes + 1, door=0)
    assert story.found(minutes + 1) == []
    # What was not seen in between is not held against it.
    story.say(40, door=1)
    story.say(80, door=1)
    assert story.found(80) == []


def test_given_a_battery_when_it_runs_down_then_told_graver_and_over_when_it_is_well() -> None:
    story = Story(ground([("a", 1)]))
    found = []
    for minute, bat in enumerate((21, 19, 21, 9, 24, 26)):
        story.say(minute, bat=bat, t=5 + minute / 10)
        found.append([severity for *_, severity in story.found(minute)])
    assert found == [[], ["info"], ["info"], ["minor"], ["info"], []]


def test_given_a_damp_room_when_an_hour_is_over_then_told_and_never_of_a_refrigerator() -> None:
    for kind, expected in (("cold_room", [("humidity", "d0", "info")]), ("refrigerator", [])):
        story = Story(ground([("a", 1)], kind=kind))
        for minute in range(0, 61, 5):
            story.say(minute, rh=80, t=5 + minute % 2)
        assert story.found(60) == expected
        story.say(65, rh=60)
        assert story.found(65) == []


def test_given_a_probe_that_gives_no_value_when_its_device_speaks_then_told() -> None:
    story = Story(ground([("a", 1)]))
    story.say(0)
    for minute in (5, 10, 15):
        story.say(minute, t=NONE)
    assert story.found(15) == []
    story.say(16, t=NONE)
    assert story.found(16) == [("probe_offline", "d0/t1", "minor")]
    assert story.found(40) == []  # its device is silent: that is told of instead
    story.say(61, t=NONE)
    assert story.found(61) == [("probe_offline", "d0/t1", "major")]
    story.say(62, t=5)
    assert story.found(62) == []


def test_given_a_jump_when_read_then_told_for_half_an_hour() -> None:
    story = Story(ground([("a", 1)]))
    story.say(0, t=5)
    story.say(5, t=25.1)
    assert story.found(5) == [("implausible", "d0/t1", "minor")]
    story.say(10, t=25.1)
    story.say(30, t=4)  # after a hole: nobody knows how it came there
    assert story.found(34) == [("implausible", "d0/t1", "minor")]
    assert story.found(35) == []


def test_given_three_readings_one_way_when_too_fast_then_told() -> None:
    story = Story(ground([("a", 1)], interval_s=60))
    for minute, t in enumerate((5, 6.2, 7.4)):
        story.say(minute, t=t)
    assert story.found(2) == [("rate", "d0/t1", "minor")]
    assert story.found(12) == []
    story.say(20, t=5)
    for minute, t in enumerate((5, 7, 5, 7), start=21):  # up and down is no change of it
        story.say(minute, t=t)
    assert story.found(24) == []


def test_given_a_value_that_stays_when_a_sibling_moves_then_stuck() -> None:
    story = Story(one_unit(2))
    for minute in range(0, 61, 5):
        story.say(minute, 0, t=4.0)
        story.say(minute, 1, t=4.0 + 0.01 * minute)
    assert story.found(60) == [("stuck", "d0/t1", "minor")]
    story.say(65, 0, t=4.1)
    assert story.found(65) == []


def test_given_a_value_that_stays_alone_when_six_hours_are_over_then_stuck_unless_deep_cold() -> (
    None
):
    for kind, expected in (("refrigerator", [("stuck", "d0/t1", "minor")]), ("freezer", [])):
        story = Story(ground([("a", 1)], kind=kind))
        for minute in range(0, 361, 5):
            story.say(minute, t=4.0)
            assert minute == 360 or story.found(minute) == []
        assert story.found(360) == expected


def test_given_a_start_when_what_was_told_is_not_found_then_over_only_by_what_is_read() -> None:
    told_before = [
        ("power_lost", "site", "a"),
        ("power_lost", "unit", "u0"),
        ("door_open", "unit", "u0"),
        ("battery_low", "device", "d0"),
        ("humidity", "device", "d0"),
        ("stuck", "device", "d0/t1"),
        ("probe_offline", "device", "d0/t1"),
    ]
    story = Story(ground([("a", 2)], kind="cold_room"))

    def over(minute: float) -> list[bool]:
        now_ms = T0 + minute * MIN
        assert story.signals.settled("rate", "device", "d0/t1", now_ms)
        return [story.signals.settled(*each, now_ms) for each in told_before]

    story.say(0, rh=80, t=NONE)
    assert over(0) == [False] * 7
    story.say(5, rh=80, bat=24, mains=0, door=1, t=4.0)
    assert over(5) == [False] * 6 + [True]
    story.say(10, rh=50, bat=26, mains=1, door=0, t=4.2)
    assert over(10) == [True] * 7
    apart = Story(one_unit(2))
    for minute, t in ((0, 9.0), (5, 5.0)):
        apart.say(minute, 0, t=t)
        apart.say(minute, 1, t=5.0)
        assert apart.found(minute) == []
        ended = apart.signals.settled("disagree", "unit", "u", T0 + minute * MIN)
        assert ended == (t == 5.0)


def test_given_probes_of_a_unit_when_they_differ_by_more_than_usual_then_told() -> None:
    for values, expected in (((4.0, 6.1), True), ((4.0, 5.9), False), ((4.0, 4.1, 6.3), True)):
        story = Story(one_unit(len(values)))
        for minute in range(0, 31, 5):
            for device, t in enumerate(values):
                story.say(minute, device, t=t + minute % 2 / 5)
            story.found(minute)
        assert (story.found(30) == [("disagree", "u", "minor")]) == expected
        story.say(35, *range(len(values)), t=4.2)
        assert story.found(35) == []


def test_given_probes_that_always_differ_when_compared_then_only_with_what_is_usual() -> None:
    on = one_unit(3)
    assert usual(on, np.array([4.0, 5.5, NONE])).tolist() == [-0.75, 0.75, 0.0]
    assert usual(on, np.array([4.0, 5.0, 9.0])).tolist() == [-1.0, 0.0, 2.0]
    story = Story(one_unit(2))
    story.usual = usual(story.on, np.array([4.0, 6.5]))
    for minute in range(0, 31, 5):
        story.say(minute, 0, t=4.0)
        story.say(minute, 1, t=6.5)
        assert story.found(minute) == []


def test_given_other_ground_when_moved_to_then_what_stands_there_keeps_its_memory() -> None:
    story = Story(ground([("a", 2)]))
    story.say(0, mains=0, t=5)
    wider = ground([("a", 3)])
    moved = story.signals.on(wider)
    assert told(moved.found(T0 + 2 * MIN, np.zeros(3))) == [("power_lost", "a", "major")]
    assert moved.speaks(T0 + MIN).tolist() == [True, True, False]
    assert moved.recent[0].tolist()[:2] == [5, 5]
