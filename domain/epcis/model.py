"""Capture jobs: which stream, and what the newest attempt says."""

from __future__ import annotations

from uuid import UUID

from domain.epcis.events import CaptureEnded
from domain.shared.ids import stream_id

BEHAVIOURS = ("rollback", "proceed")


def capture_id_of(region_code: str, behaviour: str, sha256: str) -> str:
    """Return the id of the job that captures these bytes for a region: the same again is one."""
    return str(stream_id("epcis.capture", f"{region_code}/{behaviour}/{sha256}"))


def capture_stream(capture_id: str) -> UUID:
    """Return the stream of a capture job."""
    return stream_id("epcis.job", capture_id)


def kept_stream(region_code: str, event_id: str) -> UUID:
    """Return the stream of an event that speaks of no registered place: each region has its own."""
    return stream_id("epcis.kept", f"{region_code}/{event_id}")


def evolve_capture(_state: CaptureEnded | None, event: CaptureEnded) -> CaptureEnded | None:
    """Return the job after `event`."""
    return event
