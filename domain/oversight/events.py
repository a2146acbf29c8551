"""Events of oversight: who may read what for which case, what was read, which lots must stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionOpened(Event):
    """A key may read reports for one case until a time, and nothing else.

    Of `lot_ids` alone where there are any; else of all that concerns the region.
    """

    TOPIC: ClassVar[str] = "oversight.InspectionOpened"
    inspection_id: str
    key_id: str
    case_no: str
    region_code: str  # 000000 = the whole country
    lot_ids: tuple[str, ...] = ()
    valid_until: datetime
    grounds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionEnded(Event):
    """An inspection was ended before its time."""

    TOPIC: ClassVar[str] = "oversight.InspectionEnded"
    inspection_id: str
    key_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionRead(Event):
    """An answer was given under an inspection: what was asked, and the SHA-256 (hex) of it."""

    TOPIC: ClassVar[str] = "oversight.InspectionRead"
    inspection_id: str
    case_no: str
    path: str
    query: str
    as_of: str  # the position of the answer, L<ledger>.T<telemetry>
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHoldPlaced(Event):
    """Nothing that a lot's chain needs may be dropped, for one case."""

    TOPIC: ClassVar[str] = "oversight.LegalHoldPlaced"
    lot_id: str
    case_no: str
    grounds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHoldLifted(Event):
    """A case no longer needs the lot."""

    TOPIC: ClassVar[str] = "oversight.LegalHoldLifted"
    lot_id: str
    case_no: str
    grounds: str
