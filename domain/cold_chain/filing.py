"""Files of loggers, filed as evidence of a unit or of a shipment: read once, and kept whole.

They are never part of an on-line series: whoever asks for a unit's readings sees them beside it.
Stream: `cold_chain.logger_file` (SHA-256).

Codes of refusals: unknown_zone, unknown_unit, bad_text (Invalid), those of `logger_files.read`;
already_registered (Conflict).
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.cold_chain.logger_files import LoggerFile
from domain.cold_chain.model import Unit
from domain.cold_chain.record_events import LoggerFileRead
from domain.shared.decide import register
from domain.shared.errors import Invalid
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.text import checked_text


def file_stream(sha256: str) -> UUID:
    """Return the stream of a logger's file."""
    return stream_id("cold_chain.logger_file", sha256)


def evolve_file(_state: LoggerFileRead | None, event: LoggerFileRead) -> LoggerFileRead | None:
    """Return what is known of a file after `event`."""
    return event


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; Invalid("unknown_zone")."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid("unknown_zone", field="zone", value=name) from None


def file_logger(
    state: LoggerFileRead | None,
    *,
    sha256: str,
    file: LoggerFile,
    zone: str,
    unit_id: str = "",
    unit: Unit | None = None,
    bill_no: str = "",
) -> list[Event]:
    """File a logger's file, of a unit or of a shipment where it is said; again, nothing changes."""
    if unit_id and unit is None:
        raise Invalid("unknown_unit", field="unit_id", unit_id=unit_id)
    found = zone_of(zone)
    return register(
        state,
        LoggerFileRead(
            sha256=sha256,
            kind=file.kind,
            serial=file.serial,
            zone=zone,
            unit_id=unit_id,
            bill_no=checked_text(bill_no, "bill_no", required=False),
            readings=len(file.times),
            days=len(file.own_days),
            since=utc(file.times[0], found) if file.times else None,
            until=utc(file.times[-1], found) if file.times else None,
        ),
    )


def utc(local: datetime, zone: ZoneInfo) -> datetime:
    """Return a local time in UTC; of an hour that came twice, the first."""
    return local.replace(tzinfo=zone).astimezone(UTC)
