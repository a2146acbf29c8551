"""What a person may ask of a device, and what it answers.

Stream: `cold_chain.device_command`. A command that is not done by `expires_ms` is not to be done
any more. A device answers accepted, then applied or failed, or one of those at once.

Codes of refusals: bad_command, bad_arguments (Invalid); unknown_device (NotFound).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from domain.cold_chain.events import BOOT_UNSEQUENCED, DeviceCommandIssued
from domain.cold_chain.gaps import SEQ_END
from domain.cold_chain.model import INTERVAL_S_MAX, INTERVAL_S_MIN, Device
from domain.shared.errors import Invalid, NotFound
from domain.shared.ids import stream_id

# A command is to be done within so long, or never.
EXPIRES_MS = 10 * 60_000


class Cmd(StrEnum):
    """What can be asked."""

    BACKFILL = "backfill"
    TIME_SYNC = "time_sync"
    SET_INTERVAL = "set_interval"
    IDENTIFY = "identify"
    FW_INFO = "fw_info"
    SET_THRESHOLD = "set_threshold"
    SIREN = "siren"


# Thousandths of °C that a probe's threshold may have: where its sensor measures.
_MILLI_C = (-200_000, 100_000)
# Whole numbers that a command takes, with their bounds, both inclusive. `to` is the last one;
# `probe` 1 to 4 are the channels t1 to t4, `on` 1 is on and 0 off.
ARGUMENTS: Mapping[Cmd, Mapping[str, tuple[int, int]]] = {
    Cmd.BACKFILL: {
        "boot": (0, BOOT_UNSEQUENCED - 1),
        "from": (0, SEQ_END - 1),
        "to": (0, SEQ_END - 1),
    },
    Cmd.TIME_SYNC: {},
    Cmd.SET_INTERVAL: {"interval_s": (INTERVAL_S_MIN, INTERVAL_S_MAX)},
    Cmd.IDENTIFY: {},
    Cmd.FW_INFO: {},
    Cmd.SET_THRESHOLD: {
        "rule_version": (1, 2**31 - 1),
        "probe": (1, 4),
        "low_mc": _MILLI_C,
        "high_mc": _MILLI_C,
    },
    Cmd.SIREN: {"on": (0, 1)},
}
# Of which two arguments the first is not above the second.
_ORDERED: Mapping[Cmd, tuple[str, str]] = {
    Cmd.BACKFILL: ("from", "to"),
    Cmd.SET_THRESHOLD: ("low_mc", "high_mc"),
}


class Reply(NamedTuple):
    """What a device says to a command: accepted | applied | failed, and a text."""

    command_id: str
    device_id: str
    outcome: str
    text: str


def command_stream(command_id: str) -> UUID:
    """Return the stream of a command."""
    return stream_id("cold_chain.device_command", command_id)


def issue(
    device: Device | None,
    *,
    command_id: str,
    cmd: str,
    arguments: Mapping[str, int],
    now_ms: int,
) -> list[DeviceCommandIssued]:
    """Ask something of a registered device, None when there is none."""
    if device is None:
        raise NotFound("unknown_device")
    if cmd not in list(Cmd):
        raise Invalid("bad_command", field="cmd", value=cmd)
    return [
        DeviceCommandIssued(
            command_id=command_id,
            device_id=device.registered.device_id,
            cmd=cmd,
            arguments=_checked(Cmd(cmd), arguments),
            expires_ms=now_ms + EXPIRES_MS,
        )
    ]


def _checked(cmd: Cmd, arguments: Mapping[str, int]) -> dict[str, int]:
    wanted = ARGUMENTS[cmd]
    fits = arguments.keys() == wanted.keys() and all(
        low <= arguments[name] <= high for name, (low, high) in wanted.items()
    )
    lower, upper = _ORDERED.get(cmd, ("", ""))
    if not fits or (lower and arguments[lower] > arguments[upper]):
        takes = ", ".join(f"{name} {low}–{high}" for name, (low, high) in wanted.items())
        raise Invalid("bad_arguments", field="arguments", cmd=cmd.value, takes=takes or "–")
    return dict(arguments)
