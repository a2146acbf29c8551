"""A hand-held scanner: numbers its scans and says what step of the goods' way each belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulators import wire
from simulators.wire import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something people do with packs at a site and scan: planned ahead, sent when its time comes.

    `unit_seen` names the unit whose temperature is written down with it; with `since_ms` also its
    lowest and highest since then (a transport's record at the receipt).
    """

    at_ms: int
    site_id: str
    step: str
    codes: tuple[str, ...]
    fields: Mapping[str, object] = field(default_factory=dict)
    unit_seen: str = ""
    since_ms: int | None = None


@dataclass(slots=True)
class Scanner:
    """One scanner of a site. `seq` counts within `boot`."""

    region: str
    site_id: str
    scanner_id: str
    boot: int
    seq: int = 0

    def scan(
        self, ts_ms: int, step: str, codes: tuple[str, ...], fields: Mapping[str, object]
    ) -> Message:
        """Return the message of the next scan."""
        base = wire.prefix(self.region, self.site_id, self.scanner_id)
        seq, self.seq = self.seq, self.seq + 1
        return wire.scan(
            base, boot=self.boot, seq=seq, ts_ms=ts_ms, step=step, codes=codes, fields=fields
        )
