"""What may be asked of a device."""

from __future__ import annotations

import pytest

from domain.cold_chain.commands import ARGUMENTS, EXPIRES_MS, Cmd, command_stream, issue
from domain.cold_chain.events import DeviceCommandIssued
from domain.cold_chain.model import evolve_device
from domain.shared.errors import Invalid, NotFound
from tests.cold_chain.given import device
from tests.spec import Outcome, spec

NOW_MS = 1_772_409_600_000
MISSING = {"boot": 3, "from": 10, "to": 19}
LIMITS = {"rule_version": 4, "probe": 1, "low_mc": 2_000, "high_mc": 8_000}


def asked(cmd: str, arguments: dict[str, int], *, known: bool = True) -> Outcome:
    given = spec(evolve_device, None).given(*([device("d")] if known else []))
    return given.when(issue, command_id="c1", cmd=cmd, arguments=arguments, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("cmd", "arguments"),
    [
        ("backfill", MISSING),
        ("backfill", {**MISSING, "to": 10}),
        ("set_interval", {"interval_s": 60}),
        ("time_sync", {}),
        ("identify", {}),
        ("fw_info", {}),
        ("set_threshold", LIMITS),
        ("siren", {"on": 1}),
        ("siren", {"on": 0}),
    ],
)
def test_given_a_device_when_something_is_asked_then_issued(
    cmd: str, arguments: dict[str, int]
) -> None:
    asked(cmd, arguments).then(
        DeviceCommandIssued(
            command_id="c1",
            device_id="d",
            cmd=cmd,
            arguments=arguments,
            expires_ms=NOW_MS + EXPIRES_MS,
        )
    )


@pytest.mark.parametrize(
    ("cmd", "arguments", "code"),
    [
        ("reboot", {}, "bad_command"),
        ("backfill", {}, "bad_arguments"),
        ("backfill", {**MISSING, "to": 9}, "bad_arguments"),
        ("backfill", {**MISSING, "boot": 2**22 - 1}, "bad_arguments"),
        ("set_interval", {"interval_s": 0}, "bad_arguments"),
        ("identify", {"interval_s": 60}, "bad_arguments"),
        ("set_threshold", {**LIMITS, "low_mc": 8_001}, "bad_arguments"),
        ("set_threshold", {**LIMITS, "probe": 5}, "bad_arguments"),
        ("siren", {"on": 2}, "bad_arguments"),
    ],
)
def test_given_a_device_when_it_cannot_be_asked_then_refused(
    cmd: str, arguments: dict[str, int], code: str
) -> None:
    asked(cmd, arguments).refused(Invalid, code)


def test_given_no_device_when_something_is_asked_then_refused() -> None:
    asked("identify", {}, known=False).refused(NotFound, "unknown_device")


def test_given_the_commands_when_listed_then_each_says_what_it_takes() -> None:
    assert set(ARGUMENTS) == set(Cmd)
    assert command_stream("c1") != command_stream("c2")
