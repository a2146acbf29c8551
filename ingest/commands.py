"""What the server asks of devices, on `…/cmd/{device}`, and what they say to it.

    {"v": 1, "cmd_id": …, "exp": UTC ms, "cmd": …, and its arguments}

The server asks for missing readings and sets clocks by itself (gaps.py, clock_rules.py); people
ask through the table `device_command`. There is no signature: no gateway has a key for one yet,
so that a command is the server's own rests on the broker, where nobody else may publish it. Devices
answer by reports on `…/event/{device}`:

    {"kind": "cmd", "ts": …, "cmd_id": …, "state": accepted | applied | failed, "text": …}
    {"kind": "lost", "ts": …, "boot": …, "from": …, "to": …}   both inclusive
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from domain.alerting.watch import to_ms
from domain.cold_chain.commands import Cmd, Reply, command_stream
from domain.cold_chain.events import BOOT_UNSEQUENCED, DeviceCommandAnswered, DeviceCommandIssued
from domain.cold_chain.gaps import GapNotes
from ingest import gaps
from ingest.batch import Batch, Report
from ingest.clock_rules import ClockRules
from ingest.directory import Directory
from ingest.ranges import SEQ_END, version_of
from ingest.refusals import Refused
from ingest.topics import Topic
from store.sql import load_queries

WAITING_MAX = 200  # sent in one second
TEXT_LENGTH_MAX = 200

Connection = psycopg.Connection[Any]
Seq = Annotated[int, msgspec.Meta(ge=0, lt=SEQ_END)]
Boot = Annotated[int, msgspec.Meta(ge=0, lt=BOOT_UNSEQUENCED)]

queries = load_queries(Path(__file__).with_suffix(".sql"))


class Publication(NamedTuple):
    """A message to send."""

    topic: str
    payload: bytes
    qos: int


class _Lost(msgspec.Struct):
    to: Seq
    first: Seq = msgspec.field(name="from")
    boot: Boot = 0


class _Reply(msgspec.Struct):
    cmd_id: UUID
    state: Literal["accepted", "applied", "failed"]
    text: str = ""


def note_report(notes: GapNotes, replies: list[Reply], device_id: str, report: Report) -> None:
    """Note what a device's report says of lost readings or of a command; others say nothing here.

    A gateway's own status (no device) neither. Refused("bad_field") when it is not of the agreed
    form.
    """
    if not device_id:
        return
    try:
        if report.kind == "lost":
            lost = msgspec.json.decode(report.payload, type=_Lost)
            first, past = version_of(lost.boot, lost.first), version_of(lost.boot, lost.to + 1)
            if past <= first:
                raise Refused("bad_field", text="$.to")
            notes.lost.append((device_id, (first, past)))
        elif report.kind == "cmd":
            reply = msgspec.json.decode(report.payload, type=_Reply)
            text = reply.text.replace("\x00", "")[:TEXT_LENGTH_MAX]
            replies.append(Reply(str(reply.cmd_id), device_id, reply.state, text))
    except msgspec.DecodeError as error:
        raise Refused("bad_field", text=error) from error


def write(cur: psycopg.Cursor[Any], replies: Sequence[Reply], batch: Batch) -> None:
    """Write what was answered; add its events to the batch, to be written after this.

    Answers to what the server asked by itself are reports and no more.
    """
    for reply in replies:
        values = {**reply._asdict(), "now": batch.now}
        for version, region_code in cur.execute(queries.answer_command, values).fetchall():
            event = DeviceCommandAnswered(**reply._asdict(), answered_ms=batch.now_ms)
            stream = command_stream(reply.command_id)
            meta = {"region_code": region_code, "device_id": reply.device_id}
            batch.add_ledger(stream, version, event, **meta)


def ask_again(conn: Connection, regions: Sequence[str], now: datetime) -> None:
    """Let what was taken for devices of these regions wait anew: no process knows that it went out.

    A device does a command once, however often it comes.
    """
    conn.execute(queries.ask_again, {"regions": list(regions), "now": now})


def due_commands(
    conn: Connection,
    directory: Directory,
    regions: Sequence[str],
    clocks: ClockRules,
    now: datetime,
    *,
    asking: bool = True,
) -> list[Publication]:
    """Return what is to be sent to the devices of these regions now; it counts as sent.

    regions: 6-digit codes; none = all. asking: for missing readings too.
    """
    issued = [
        *_waiting(conn, directory, regions, now),
        *gaps.due(conn, regions, now, asking=asking),
        *clocks.due(conn, now),
    ]
    return [
        _publication(directory, command, to_ms(now))
        for command in issued
        if command.device_id in directory.devices
    ]


def _waiting(
    conn: Connection, directory: Directory, regions: Sequence[str], now: datetime
) -> list[DeviceCommandIssued]:
    """Take what waits; what is for a device that is not known here yet goes on waiting."""
    values: dict[str, Any] = {"regions": list(regions), "now": now}
    found = conn.execute(queries.waiting_devices, values).fetchall()
    known = [device_id for (device_id,) in found if device_id in directory.devices]
    if not known:
        return []
    values |= {"device_ids": known, "limit": WAITING_MAX}
    taken = conn.execute(queries.take_waiting, values).fetchall()
    return [
        DeviceCommandIssued(
            command_id=command_id,
            device_id=device_id,
            cmd=cmd,
            arguments=arguments,
            expires_ms=to_ms(expires_at),
        )
        for command_id, device_id, cmd, arguments, expires_at, _ in sorted(taken, key=itemgetter(5))
    ]


def _publication(directory: Directory, command: DeviceCommandIssued, now_ms: int) -> Publication:
    place = directory.places(command.device_id)[-1]
    topic = Topic(place.region_code, place.site_id, place.gateway_id, "tele", command.device_id)
    body = {"v": 1, "cmd_id": command.command_id, "exp": command.expires_ms, "cmd": command.cmd}
    body |= command.arguments
    if command.cmd != Cmd.TIME_SYNC:
        return Publication(topic.answer("cmd"), msgspec.json.encode(body), 1)
    # Not kept for a gateway that is away: a time that comes late sets a clock wrong.
    return Publication(topic.answer("cmd"), msgspec.json.encode(body | {"server_ms": now_ms}), 0)
