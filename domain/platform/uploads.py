"""One call to the platform, and what has no fact behind it: a day of a device in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from itertools import count
from typing import Any

# The most codes that the platform takes in one call.
CODES_MAX = 3_500
# Its days and times are local.
ZONE = timezone(timedelta(hours=8))
# Kind of bill of an injection.
INJECTION = "322"


class Kind(StrEnum):
    """What an upload tells."""

    BILL = "bill"
    TRANSPORT = "transport"
    STORAGE = "storage"
    INJECTION = "injection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One call: `fields` under the platform's names, sites by our ids in `parties`.

    `parties`: the platform's field -> our site; who that is there, is looked up when it is sent.
    `bill_code` is the platform's key: unique to the upload, so a duplicate is our own.
    """

    upload_id: str
    kind: Kind
    bill_type: str = ""
    bill_code: str
    fact_id: str = ""
    site_id: str
    occurred_at: datetime
    fields: Mapping[str, Any]
    parties: Mapping[str, str]

    @property
    def day(self) -> date:
        """Return the local day on which it is counted."""
        return self.occurred_at.astimezone(ZONE).date()

    @property
    def codes(self) -> Sequence[str]:
        """Return the codes it names."""
        found: Sequence[str] = self.fields.get("trace_codes", ())
        return found


def local(moment: datetime | None) -> str:
    """Return a time as the platform writes it; empty for none."""
    return "" if moment is None else moment.astimezone(ZONE).strftime("%Y-%m-%d %H:%M:%S")


def key_of(*parts: str) -> str:
    """Return the id that follows from what an upload tells: 32 hex digits."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def parts(codes: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield numbered parts of codes that fit into a call; one empty part where there are none."""
    for number, start in zip(count(1), range(0, max(len(codes), 1), CODES_MAX), strict=False):
        yield number, codes[start : start + CODES_MAX]


@dataclass(frozen=True, slots=True)
class Hour:
    """Degrees Celsius of a device in an hour that begins at `at`."""

    at: datetime
    low: float
    high: float
    mean: float


def storage(*, device_id: str, name: str, site_id: str, day: date, hours: Sequence[Hour]) -> Upload:
    """Return the upload of a local day of a device in a store."""
    begins = datetime.combine(day, time(), ZONE).astimezone(UTC)
    key = key_of(Kind.STORAGE, device_id, day.isoformat())
    content = [
        {"time": local(h.at), "min": h.low, "max": h.high, "avg": round(h.mean, 2)} for h in hours
    ]
    return Upload(
        upload_id=key,
        kind=Kind.STORAGE,
        bill_code=f"{device_id}-{day:%Y%m%d}",
        site_id=site_id,
        occurred_at=begins,
        fields={"equi_code": device_id, "equi_name": name, "content": content},
        parties={"owner": site_id},
    )
