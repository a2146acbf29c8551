"""What a platform is to us: it takes uploads, tells recalls, and says what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

from domain.platform.uploads import Kind


class Unanswered(Exception):
    """No answer that can be relied on: the same request may be made again."""


class Answer(NamedTuple):
    """What the platform said: `code` as in domain/platform/model.py, and its words."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall of a lot, as the platform tells it."""

    recall_no: str
    lot_id: str
    recalled_at: datetime
    recall_class: str
    issued_by: str
    reason: str


class Platform(Protocol):
    """One platform. Every method may raise Unanswered."""

    name: str

    def upload(self, kind: Kind, request_id: str, fields: Mapping[str, Any]) -> Answer:
        """Send one upload; the same request id is the same upload, however often it comes."""

    def recalls(self, since: datetime, until: datetime) -> tuple[Sequence[Recall], int]:
        """Return the recalls told in a window of time, and how many could not be read."""

    def held(self, kind: Kind, day: date) -> frozenset[str]:
        """Return the codes of the bills that it has of a local day."""

    def close(self) -> None:
        """Give up connections."""
