"""Who asks for a report, how far it may see, and what is put on record of it.

Oversight asks in its own region. An inspector's key opens nothing by itself: it needs an inspection
in force, which names the case, the region, perhaps the lots, and the time; each answer given under
it is an event before it leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any, cast
from uuid import uuid4

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse

from api.asof import Position
from api.auth import Principal
from api.commands import state_of
from api.custody_scope import CLINICAL, PERSONAL, in_region
from api.deps import Deps, DepsOf
from domain.oversight import model
from domain.oversight.events import InspectionOpened, InspectionRead
from domain.shared.errors import NotAllowed, NotFound
from domain.shared.roles import Role
from projections.shared.org_tree import Name
from store.commands import Command, execute
from store.envelope import Meta

Sites = Mapping[str, Name]
# Bytes of an answer that are sent at once.
PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Asking:
    """A request for a report: `who` is bounded by the inspection where there is one."""

    deps: Deps
    who: Principal
    inspection: InspectionOpened | None
    path: str
    query: str
    trace_id: str

    @property
    def lot_ids(self) -> tuple[str, ...]:
        """Return the only lots that may be asked about, none where all may."""
        return self.inspection.lot_ids if self.inspection else ()

    def require_lot(self, lot_id: str, refusal: str, /, **facts: object) -> None:
        """Hide lots that the inspection is not about: NotFound(refusal)."""
        if self.lot_ids and lot_id not in self.lot_ids:
            raise NotFound(refusal, **facts)

    def masked(self, row: Mapping[str, Any], sites: Sites) -> dict[str, Any]:
        """Return a row without the people whom this caller has no business with: null."""
        if self.sees_people(sites, row["site_id"]):
            return dict(row)
        return {k: None if k in PERSONAL and v else v for k, v in row.items()}

    def sees_people(self, sites: Sites, site_id: str) -> bool:
        """Tell whether the caller may see the pseudonyms of people at a site."""
        return self.who.role in CLINICAL and in_region(self.who, sites, site_id)

    def answered(
        self, content: Iterable[bytes], at: Position, media: str, name: str = ""
    ) -> Response:
        """Answer piece by piece; under an inspection, whole, after it is on record."""
        headers = {"Vaxtrail-Position": str(at)}
        if name:
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        if self.inspection is not None:
            whole = b"".join(content)
            self._record(whole, at, self.inspection)
            return Response(whole, 200, headers, media_type=media)
        pieces = _gathered(content)
        first = next(pieces, b"")  # what goes wrong until here is answered as a problem
        return StreamingResponse(chain([first], pieces), 200, headers, media_type=media)

    def _record(self, content: bytes, at: Position, inspection: InspectionOpened) -> None:
        now = self.deps.clock.now()
        read = InspectionRead(
            inspection_id=inspection.inspection_id,
            case_no=inspection.case_no,
            path=self.path,
            query=self.query,
            as_of=str(at),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        meta = Meta(
            occurred_at=now,
            recorded_at=now,
            actor_id=self.who.key_id,
            actor_role=Role.INSPECTOR.value,
            region_code=inspection.region_code,
            correlation_id=self.trace_id,
            source="api",
        )
        stream = model.read_stream(uuid4().hex)
        execute(self.deps.ledger, Command(stream, lambda _known: [read], meta))


def _gathered(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is small together."""
    waiting: list[bytes] = []
    size = 0
    for piece in content:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def asking_of(request: Request, deps: DepsOf) -> Asking:
    """Return who asks; NotAllowed("no_inspection") for an inspector without one in force."""
    who = cast(Principal, request.state.principal)
    inspection = None
    if who.role is Role.INSPECTOR:
        stream = model.inspection_stream(who.key_id)
        found = state_of(deps.ledger, stream, model.evolve_inspection)
        if found is None or not found.in_force(deps.clock.now()):
            raise NotAllowed("no_inspection")
        inspection = found.opened
        who = replace(who, role=Role.REGULATOR, region_code=inspection.region_code)
    path, query = request.url.path, request.url.query
    return Asking(deps, who, inspection, path, query, request.scope["trace_id"])


AskingOf = Annotated[Asking, Depends(asking_of)]
