"""Events of the records that the law asks for: signed temperatures, files of loggers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProbe:
    """What a probe said when the record was made: its newest reading in °C; None: none holds."""

    device_id: str
    channel: str
    value_c: float | None
    read_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureRecordSigned(Event):
    """A person signed the temperatures of a unit for half a day. Stream = unit, day and half.

    What the probes said at `shown_at`, and between `since` (the record before) and then: extremes
    in °C, minutes outside the unit's limits and without any reading, the alerts of that time. The
    person changes none of it: `own_c` is what a thermometer of their own read.
    """

    TOPIC: ClassVar[str] = "cold_chain.TemperatureRecordSigned"
    unit_id: str
    site_id: str
    region_code: str
    day: date  # of China's one time zone
    half: str  # morning | afternoon
    due_at: datetime
    shown_at: datetime
    as_of: str  # position of the logs
    since: datetime
    probes: tuple[ShownProbe, ...]
    min_c: float | None
    max_c: float | None
    outside_min: float | None
    unknown_min: float
    alert_ids: tuple[str, ...] = ()
    own_c: float | None = None
    remark: str = ""
    signed_by: str
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerFileRead(Event):
    """A logger's own file was read: evidence beside the on-line series. Stream = its SHA-256.

    The file itself is kept (`EvidenceKept`), and what it holds is read from there. Its times are
    local to `zone` (IANA); `since` and `until` are those of its first and last reading, None where
    it has daily summaries alone.
    """

    TOPIC: ClassVar[str] = "cold_chain.LoggerFileRead"
    sha256: str
    kind: str
    serial: str
    zone: str
    unit_id: str = ""
    bill_no: str = ""
    readings: int
    days: int  # daily summaries of the device itself
    since: datetime | None = None
    until: datetime | None = None
