"""What a message of an unknown device tells, for whoever is to register it; nothing is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ingest import wire
from ingest.refusals import Refused


def read_sample(
    device_id: str, payload: bytes, now_ms: int
) -> tuple[Collection[str], Sequence[int]] | None:
    """Return the channels and times (UTC ms) of a message of readings, None when it is refused."""
    try:
        message = wire.decode(device_id, payload, now_ms)
    except Refused:
        return None
    used = [name for name, values in message.columns.items() if any(v is not None for v in values)]
    return used, message.ts_ms
