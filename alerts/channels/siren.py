"""The siren on site: a device that is switched on when an alert fires and off when it is over.

A recipient's address is the id of the device. It is asked over MQTT as people ask devices
(`device_command`), and its gateway answers there: the delivery waits in the outbox meanwhile. What
a device does by itself without the server is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import psycopg

from alerts.channels.channel import Later, Message, Permanent
from alerts.device_commands import hand_over, queries
from domain.alerting.watch import to_ms
from domain.cold_chain import commands, model
from domain.cold_chain.commands import Cmd
from domain.shared.decide import fold
from domain.shared.errors import NotFound
from domain.shared.events import Event
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger

# Kinds of notices that switch it on; those that end an alert, or say that somebody is on it.
BEGINS = ("fired", "escalated")
ENDS = ("resolved", "withdrawn", "closed", "acknowledged")
# What a gateway says to a command.
_ANSWERED = ("accepted", "applied", "failed")
# Seconds between two looks whether the gateway has answered.
LOOK_S = 1.0
# Commands in a row that a gateway may leave without an answer, each for as long as a command is of
# use: six hours.
ASKED_MAX = 36
# For so long an alert that was never ended keeps a siren from being switched off.
SOUNDS_MAX = timedelta(days=7)
# Names of commands, so that a delivery repeated after a crash asks nothing twice.
_COMMANDS = UUID("9f0a4c0e-6a2f-5d0b-9a53-3a8c5f6f2c11")


class Siren:
    """Switches sirens; several threads may use it at once."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now

    def send(self, message: Message) -> dict[str, str]:
        """Ask the siren, then wait (Later) until its gateway has answered: that is the evidence.

        Of notices that neither begin nor end an alert nothing is asked, and a siren that another
        alert still needs stays on. A gateway that is away is asked again, unless the alert is over.
        """
        kind = str(message.event.get("kind", ""))
        if kind not in BEGINS + ENDS:
            return {"asked": "nothing"}
        for number in range(ASKED_MAX):
            command_id = str(uuid5(_COMMANDS, f"{message.key}:{number}" if number else message.key))
            asked = self._row(queries.command, (command_id,))
            if asked is None:
                break
            if asked["state"] in _ANSWERED or self._now() <= asked["expires_at"]:
                return self._answered(command_id, asked)
        else:
            raise Permanent("the gateway did not answer in time")
        if kind in ENDS and self._needed(message):
            return {"asked": "nothing", "because": "another alert"}
        if kind in BEGINS and number and self._is_over(message):
            raise Permanent("the gateway did not answer before the alert was over")
        self._ask(command_id, message, on=kind in BEGINS)
        raise Later("the gateway has not answered yet", LOOK_S)

    def close(self) -> None:
        """Keep nothing open: the ledger is its owner's."""

    def _answered(self, command_id: str, asked: Mapping[str, Any]) -> dict[str, str]:
        match asked["state"]:
            case "applied":
                done = {"delivered_at": asked["changed_at"].isoformat()}
                return {"accepted_id": command_id, **done}
            case "accepted":
                return {"accepted_id": command_id}
            case "failed":
                raise Permanent(f"the device failed: {asked['answer']}")
        raise Later("the gateway has not answered yet", LOOK_S)

    def _is_over(self, message: Message) -> bool:
        asked = {"alert_id": message.thread, "ends": list(ENDS), "since": message.at}
        found = self._row(queries.is_over, asked)
        return bool(found and found["over"])

    def _needed(self, message: Message) -> bool:
        asked = {
            "device_id": message.address,
            "actor_id": _actor(message),
            "since": self._now() - SOUNDS_MAX,
            "ends": list(ENDS),
        }
        found = self._row(queries.sounds_for_another, asked)
        return bool(found and found["sounds"])

    def _ask(self, command_id: str, message: Message, *, on: bool) -> None:
        events = self._ledger.stream(model.device_stream(message.address))
        device = fold(model.evolve_device, None, (envelope.event for envelope in events))
        now = self._now()
        try:
            issued = commands.issue(
                device,
                command_id=command_id,
                cmd=Cmd.SIREN,
                arguments={"on": int(on)},
                now_ms=to_ms(now),
            )
        except NotFound as error:
            raise Permanent(f"there is no device {message.address}") from error
        region_code, actor_id = device.region_code if device else "", _actor(message)

        def put_down(cur: psycopg.Cursor[Any]) -> None:
            hand_over(cur, issued, region_code=region_code, actor_id=actor_id, now=now)

        def decision(history: list[Event]) -> list[Event]:
            return [] if history else list(issued)

        meta = Meta(
            occurred_at=now,
            recorded_at=now,
            region_code=region_code,
            actor_id=actor_id,
            source="alert",
        )
        stream = commands.command_stream(command_id)
        execute(self._ledger, Command(stream, decision, meta, before=put_down))

    def _row(self, query: Any, values: tuple[str, ...] | dict[str, Any]) -> Any:
        with self._ledger.datastore.get_connection() as conn:
            return conn.execute(query, values).fetchone()


def _actor(message: Message) -> str:
    return f"alert:{message.thread}"
