"""What wraps every event in a log: where it stands, when it happened, who says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid5

import msgspec

from domain.shared.events import Event


class Meta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Metadata of a stored event; times are aware UTC.

    `occurred_at` is when it happened (EPCIS eventTime), `recorded_at` when this store learned it
    (recordTime). `source` names the way in: mqtt, api, capture, import, engine, cli.
    `content_hash` is the CBV 2.0 hash (hex) of the EPCIS event that said it.
    """

    occurred_at: datetime
    recorded_at: datetime
    actor_id: str = ""
    actor_role: str = ""
    org_code: str = ""
    region_code: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    source: str = ""
    device_id: str = ""
    reason: str = ""
    content_hash: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its stream, its version in that stream and its metadata."""

    originator_id: UUID
    originator_version: int
    event: Event
    meta: Meta

    @property
    def event_id(self) -> str:
        """Return the id of the event: it follows from stream and version."""
        return str(uuid5(self.originator_id, str(self.originator_version)))


class Recorded(NamedTuple):
    """An envelope at its position in a log."""

    position: int
    envelope: Envelope
