"""What ingest found out about devices, over HTTP: gaps in their numbers, clocks; and commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import psycopg
from fastapi import Response
from psycopg.rows import dict_row
from pydantic import Field

from alerts import device_commands
from api.auth import STAFF, Principal, permission
from api.commands import CallOf, Receipt, receipt, state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, json_answer, module_router
from api.schemas import Body, Items, Name, NameAsked, NameInPath, Region, RegionAsked
from domain.alerting.watch import to_ms
from domain.cold_chain import commands, model
from domain.cold_chain.commands import Cmd
from domain.cold_chain.gaps import SEQ_END
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from store.commands import Answer, Command, Outcome, execute
from store.sql import load_queries

router = module_router("cold_chain")
queries = load_queries(FilePath(__file__).with_suffix(".sql"))

_EVER = datetime(1, 1, 1, tzinfo=UTC)


class May(StrEnum):
    """Permissions of this file."""

    READ = "cold_chain.read_devices"
    COMMAND = "cold_chain.command_device"


class Gap(Body):
    """Readings `first_seq … past_seq-1` of a boot that had not come when later ones did.

    `missing` of them had not come when it was last looked at; `asked`: how often in vain since
    something came.
    """

    device_id: Name
    region_code: Region
    boot: int
    first_seq: int
    past_seq: int
    missing: int
    state: Literal["open", "filled", "lost", "abandoned"]
    opened_at: datetime
    closed_at: datetime | None
    asked: int
    asked_at: datetime | None


class CommandIn(Body):
    """What to ask of a device, with the whole numbers that it takes."""

    cmd: Annotated[Cmd, Field(strict=False, examples=["backfill"])]
    arguments: Annotated[
        dict[str, int],
        Field(max_length=4, examples=[{"boot": 12, "from": 48211, "to": 48270}]),
    ] = {}  # noqa: RUF012  # pydantic copies it


class DeviceCommand(Body):
    """A command and what became of it; `answer`: what the device said."""

    command_id: UUID
    device_id: Name
    region_code: Region
    cmd: Cmd
    arguments: dict[str, int]
    actor_id: str
    issued_at: datetime
    expires_at: datetime
    state: Literal["waiting", "sent", "accepted", "applied", "failed", "expired"]
    answer: str
    changed_at: datetime


class WrongClock(Body):
    """A device whose clock is wrong, by how much it is behind (below 0: ahead)."""

    device_id: Name
    region_code: Region
    severity: Literal["minor", "major"]
    offset_ms: int
    since: datetime


Reader = Annotated[Principal, permission(May.READ, *STAFF, Role.VENDOR)]


@router.get("/gaps", response_model=Items[Gap])
def list_gaps(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    device_id: NameAsked = None,
    state: Literal["open", "filled", "lost", "abandoned"] | None = None,
) -> Response:
    """List the gaps in what the devices of the caller's region numbered, oldest first."""
    opened_at, after_id, first = page.after_key(str, str, int) or ("", "", 0)
    wanted = {
        "region": who.narrowed(region),
        "device_id": device_id,
        "state": state,
        "opened_at": _moment(opened_at),
        "after_id": after_id,
        "first": first,
        "limit": page.limit + 1,
    }
    return page.answer(
        _rows(deps, queries.gaps, wanted),
        lambda row: [
            row["opened_at"].isoformat(),
            row["device_id"],
            row["boot"] * SEQ_END + row["first_seq"],
        ],
    )


@router.get("/clocks", response_model=Items[WrongClock])
def list_wrong_clocks(
    *, who: Reader, deps: DepsOf, page: PageOf, region: RegionAsked = None
) -> Response:
    """List the devices of the caller's region whose clock is wrong."""
    wanted = {"region": who.narrowed(region), "after": page.after_text(), "limit": page.limit + 1}
    rows = _rows(deps, queries.wrong_clocks, wanted)
    return page.answer(rows, lambda row: [row["device_id"]])


@router.post("/devices/{device_id}/commands", status_code=201, response_model=Receipt)
def command_device(
    device_id: NameInPath,
    body: CommandIn,
    who: Annotated[
        Principal, permission(May.COMMAND, Role.CDC, Role.STEWARD, Role.STORE_KEEPER, Role.VENDOR)
    ],
    call: CallOf,
) -> Response:
    """Ask something of a device: it is sent within a second or so, and to be done in 10 minutes."""
    ledger = call.deps.ledger
    device = state_of(ledger, model.device_stream(device_id), model.evolve_device)
    if device is None or not who.covers(device.region_code):
        raise NotFound("unknown_device", device_id=device_id)
    command_id = uuid4()
    meta = call.meta(region_code=device.region_code)
    now = meta.recorded_at
    issued = commands.issue(
        device,
        command_id=str(command_id),
        cmd=body.cmd,
        arguments=body.arguments,
        now_ms=to_ms(now),
    )

    def hand_over(cur: psycopg.Cursor[Any]) -> None:
        scope = {"region_code": device.region_code, "actor_id": who.key_id}
        device_commands.hand_over(cur, issued, **scope, now=now)

    telemetry = call.deps.telemetry.last_position()

    def answer(outcome: Outcome) -> Answer:
        return receipt(outcome, f"{PREFIX}/device-commands/{command_id}", telemetry)

    command = Command(
        commands.command_stream(str(command_id)),
        lambda _history: issued,
        meta,
        before=hand_over,
        idempotency=call.idempotency(answer),
    )
    return call.answered(execute(ledger, command), answer)


@router.get("/device-commands", response_model=Items[DeviceCommand])
def list_device_commands(
    *,
    who: Reader,
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
    device_id: NameAsked = None,
) -> Response:
    """List what people asked of the devices of the caller's region, oldest first."""
    issued_at, command_id = page.after_key(str, str) or ("", str(UUID(int=0)))
    wanted = {
        "region": who.narrowed(region),
        "device_id": device_id,
        "issued_at": _moment(issued_at),
        "command_id": _uuid(command_id),
        "limit": page.limit + 1,
    }
    now = deps.clock.now()
    rows = [_shown(row, now) for row in _rows(deps, queries.commands, wanted)]
    return page.answer(rows, lambda row: [row["issued_at"].isoformat(), str(row["command_id"])])


@router.get("/device-commands/{command_id}", response_model=DeviceCommand)
def read_device_command(command_id: UUID, who: Reader, deps: DepsOf) -> Response:
    """Return one command."""
    found = _rows(deps, queries.command, (command_id,))
    if not found or not who.covers(found[0]["region_code"]):
        raise NotFound("unknown_command", id=str(command_id))
    return json_answer(_shown(found[0], deps.clock.now()))


def _rows(deps: Deps, query: Any, values: Mapping[str, object] | tuple[object, ...]) -> list[Any]:
    with deps.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(query, values).fetchall()


def _shown(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    stands = row["state"] in {"applied", "failed"} or now <= row["expires_at"]
    return row if stands else {**row, "state": "expired"}


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text) if text else _EVER
    except ValueError:
        raise Invalid("bad_cursor", field="cursor") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("bad_cursor", field="cursor") from None
