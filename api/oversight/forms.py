"""A report in the form asked for: JSON, CSV, a workbook, the certificate, the evidence bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import Depends, Query, Request, Response

from api.asof import AsOf
from api.custody_scope import PERSONAL
from api.oversight import bundle, tables
from api.oversight.answers import Answer
from api.oversight.asking import Asking, AskingOf
from api.oversight.parts import PART_NAMES, PARTS
from api.oversight.rows import stored

CSV, ZIP, PDF = "text/csv", "application/zip", "application/pdf"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
JSON = "application/json"
_SHAPE_OF = {CSV: "csv", ZIP: "csv", XLSX: "xlsx", PDF: "pdf"}
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media: {"schema": {"type": "string"}} for media in _SHAPE_OF},
        "description": "The report",
    }
}
Format = Annotated[
    Literal["json", "csv", "xlsx", "pdf", "evidence"] | None,
    Query(
        description="Else by Accept. `csv` without `part`: all in a zip. `evidence`: a signed "
        "zip with the stored events, for `vaxtrail evidence check`."
    ),
]
PartAsked = Annotated[Literal[PART_NAMES] | None, Query(description="One part, as CSV.")]  # type: ignore[valid-type]  # the list stands with the parts


class Wanted(NamedTuple):
    """A report as it is asked for: by whom, as known when, in which form."""

    asking: Asking
    request: Request
    as_of: str | None
    shape: str
    part: str | None

    def answered(self, answer: Answer) -> Response:
        """Answer in this form."""
        content, media, name = self._written(answer)
        return self.asking.answered(content, answer.at, media, name)

    def _written(self, answer: Answer) -> tuple[Iterable[bytes], str, str]:
        """Return content, media type and file name."""
        match self.shape:
            case "csv" if self.part is not None:
                part = next(each for each in PARTS if each.name == self.part)
                return tables.csv_of(answer.body, part), CSV, f"{self.part}.csv"
            case "csv":
                return tables.csv_zip(answer.body), ZIP, "report.zip"
            case "xlsx":
                return tables.workbook(answer.body), XLSX, "report.xlsx"
            case "pdf":
                return [self._paper(answer)], PDF, "certificate.pdf"
            case "evidence":
                return self._bundle(answer), ZIP, "evidence.zip"
            case _:
                return answer.json(), JSON, ""

    def _paper(self, answer: Answer) -> bytes:
        from api.oversight.certificate import certificate  # it takes a moment to load

        url, query = self.request.url, self.request.query_params
        kept = {k: v for k, v in query.items() if k not in {"format", "as_of", "part"}}
        asked = urlencode({**kept, "as_of": str(answer.at), "format": "pdf"})
        link = f"{str(self.request.base_url).rstrip('/')}{quote(url.path)}?{asked}"
        return certificate(answer.body, link)

    def _bundle(self, answer: Answer) -> Iterator[bytes]:
        def withheld(event: Any) -> bool:
            """Tell whether an event names people whom this caller may not see."""
            said = event.get("e", {})
            names = any(said.get(name) for name in PERSONAL)
            return names and not self.asking.sees_people(answer.sites, said.get("site_id", ""))

        key = self.asking.deps.signing_key()
        with self.asking.deps.pool.connection() as conn:
            events = stored(conn, answer.positions)
        return bundle.bundled(answer, events, self._paper(answer), key, withheld)


def _wanted(
    request: Request,
    asking: AskingOf,
    as_of: AsOf = None,
    format: Format = None,
    part: PartAsked = None,
) -> Wanted:
    return Wanted(asking, request, as_of, format or _accepted(request), part)


def _accepted(request: Request) -> str:
    accept = request.headers.get("accept", "")
    asked = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return next((_SHAPE_OF[media] for media in asked if media in _SHAPE_OF), "json")


WantedOf = Annotated[Wanted, Depends(_wanted)]
