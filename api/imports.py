"""Equipment and probes out of spreadsheets, over HTTP: tried, imported, an empty one given."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import orjson
import psycopg
from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.asof import Position
from api.auth import Principal, permission
from api.commands import CallOf
from api.importing import Report, import_table, template
from api.routing import PREFIX, ModuleRoute
from api.schemas import Body
from domain.shared.errors import Invalid
from domain.shared.roles import Role
from store.commands import Answer, Outcome, answered, remember

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class May(StrEnum):
    """Permissions of imports."""

    IMPORT = "cold_chain.import"


class ImportRoute(ModuleRoute):
    """A workbook is larger than other bodies."""

    body_bytes_max: ClassVar[int] = 8 * 1_048_576


router = APIRouter(prefix=PREFIX, tags=["cold_chain"], route_class=ImportRoute)


class Kind(StrEnum):
    """What a table may list here: units with their devices in one, or each in its own."""

    EQUIPMENT = "equipment"
    UNITS = "units"
    DEVICES = "devices"
    CALIBRATIONS = "calibrations"


class ImportIn(Body):
    """A table: CSV (UTF-8 or GB18030) or .xlsx, of which the first sheet counts.

    With `dry_run` nothing is stored: the answer says what would be.
    """

    kind: Annotated[Kind, Field(strict=False)]
    content_base64: Annotated[str, Field(min_length=1, examples=["dW5pdF9pZA0K"])]
    dry_run: bool = False


class LineOut(Body):
    """What a line does, or why it is wrong (`code`), in both languages; line 1 is the header."""

    line: int = Field(ge=1)
    result: Literal["created", "unchanged", "wrong"]
    code: str
    zh: str
    en: str


class ImportReport(Body):
    """What an import did, or would do. Lines that are wrong are left out, the others are stored."""

    dry_run: bool
    created: int
    unchanged: int
    wrong: int
    lines: list[LineOut]
    position: str = Field(pattern=r"^L[0-9]+\.T[0-9]+$", examples=["L12.T34"])


Registrar = Annotated[Principal, permission(May.IMPORT, Role.CDC, Role.STEWARD)]


@router.post("/imports", response_model=ImportReport)
def import_equipment(body: ImportIn, who: Registrar, call: CallOf) -> Response:
    """Import equipment and probes: every good line, in one transaction; the report names the rest.

    The same table again changes nothing.
    """
    try:
        content = base64.b64decode(body.content_base64, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("bad_base64", field="content_base64") from None
    telemetry = call.deps.telemetry.last_position()
    reports: list[Report] = []

    def answer(_: Outcome) -> Answer:
        return _answer(reports[-1], telemetry, dry_run=body.dry_run)

    remembered = None if body.dry_run else call.idempotency(answer)
    earlier = answered(call.deps.ledger, remembered) if remembered else None
    if earlier is not None:
        return call.answered(earlier, answer)
    meta = msgspec.structs.replace(call.meta(), source="import")

    def keep(cur: psycopg.Cursor[Any], report: Report) -> None:
        reports.append(report)
        remember(cur, remembered, Outcome(report.position, 0), at=meta.recorded_at)

    report = import_table(
        body.kind.value,
        content,
        call.deps.ledger,
        meta,
        allow=who.require_region,
        dry_run=body.dry_run,
        after=keep,
    )
    reports.append(report)
    return call.answered(Outcome(report.position, 0), answer)


@router.get(
    "/imports/{kind}/template",
    response_class=Response,
    responses={200: {"content": {XLSX: {}, "text/csv": {}}, "description": "An empty table"}},
)
def read_template(
    kind: Kind, _who: Registrar, form: Annotated[Literal["xlsx", "csv"], Query()] = "xlsx"
) -> Response:
    """Return an empty table with its headers; a workbook explains them on its second sheet."""
    media_type = {"xlsx": XLSX, "csv": "text/csv; charset=utf-8"}[form]
    name = f'attachment; filename="{kind.value}.{form}"'
    content = template(kind.value, form)
    return Response(content, media_type=media_type, headers={"Content-Disposition": name})


def _answer(report: Report, telemetry: int, *, dry_run: bool) -> Answer:
    position = str(Position(report.position, telemetry))
    body = {
        "dry_run": dry_run,
        "created": report.created,
        "unchanged": report.unchanged,
        "wrong": len(report.errors),
        "lines": [told._asdict() for told in report.lines],
        "position": position,
    }
    return Answer(200, {"Vaxtrail-Position": position}, orjson.dumps(body))
