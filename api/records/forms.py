"""In which form and language a record or report is asked for, and its answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response
from pydantic import Field

from api.asof import POSITION_PATTERN, Position
from api.errors import wants_english
from api.oversight.forms import CSV, PDF
from api.records.sheet import Sheet, csv_of, plain
from api.routing import json_answer
from api.schemas import Body

FORMS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media: {"schema": {"type": "string"}} for media in (CSV, PDF)},
        "description": "The record or report",
    }
}
Format = Annotated[
    Literal["json", "csv", "pdf"] | None, Query(description="Else by Accept, else JSON.")
]
Language = Annotated[
    Literal["zh", "en"] | None,
    Query(description="Of CSV and PDF; else by Accept-Language, else Chinese."),
]


class Series(Body):
    """A line: UTC milliseconds and °C, null where readings do not meet; thinned to its peaks.

    `evidence`: of a logger's file, no part of the on-line series.
    """

    name: str
    evidence: bool
    t: list[int]
    v: list[float | None]


class SheetOut(Body):
    """A record or report: its fields, its tables by name, the lines of its charts."""

    head: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    series: list[Series]
    as_of: str = Field(pattern=POSITION_PATTERN)


class Asked(NamedTuple):
    """What is asked for: json | csv | pdf, and 0 Chinese or 1 English."""

    form: str
    language: int

    def answered(self, sheet: Sheet, at: Position) -> Response:
        """Answer a sheet in this form, as it is at a position."""
        headers = {"Vaxtrail-Position": str(at)}
        if self.form == "json":
            return json_answer({**plain(sheet), "as_of": str(at)}, headers=headers)
        name = quote(f"{sheet.file}.{self.form}")
        headers |= {
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Content-Language": ("zh", "en")[self.language],
        }
        if self.form == "csv":
            return Response(b"".join(csv_of(sheet, self.language)), 200, headers, media_type=CSV)
        from api.records.printing import paper  # it takes a moment to load

        return Response(paper(sheet, self.language, str(at)), 200, headers, media_type=PDF)


def _asked(request: Request, format: Format = None, lang: Language = None) -> Asked:
    accept = request.headers.get("accept", "")
    media = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    accepted = next((form for form, of in (("csv", CSV), ("pdf", PDF)) if of in media), "json")
    english = wants_english(request.headers.get("accept-language", ""))
    return Asked(format or accepted, int(lang == "en" if lang else english))


AskedOf = Annotated[Asked, Depends(_asked)]
