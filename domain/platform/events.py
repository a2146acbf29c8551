"""Events of what is uploaded to a platform: one stream an upload.

An upload is one call: a bill (or a part of it of up to 3,500 codes), the temperatures of one
transport, a day of a device in a store, or a dose. `upload_id` follows from what it tells, so that
nothing is told twice under two names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSubmitted(Event):
    """An upload was sent for the first time; `fact_id` is the fact that it tells of, if any."""

    TOPIC: ClassVar[str] = "platform.UploadSubmitted"
    upload_id: str
    platform: str
    kind: str  # bill | transport | storage | injection
    bill_type: str = ""
    bill_code: str = ""
    fact_id: str = ""
    site_id: str = ""
    codes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadAccepted(Event):
    """The platform has it; `answer` is what it said: ok, or that it had the bill already."""

    TOPIC: ClassVar[str] = "platform.UploadAccepted"
    upload_id: str
    platform: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRejected(Event):
    """The platform refused it as it is, or the fact was withdrawn after it was told: for people."""

    TOPIC: ClassVar[str] = "platform.UploadRejected"
    upload_id: str
    platform: str
    answer: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResubmitted(Event):
    """It is sent anew, under a new request id: what was wrong is mended, or the platform lost it.

    `round` counts from 1; retries without an answer are no new round.
    """

    TOPIC: ClassVar[str] = "platform.UploadResubmitted"
    upload_id: str
    platform: str
    round: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettled(Event):
    """A person settled a rejected upload at the platform itself: it is not sent again."""

    TOPIC: ClassVar[str] = "platform.UploadSettled"
    upload_id: str
    platform: str
    reason: str
