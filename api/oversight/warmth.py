"""What the probes of a unit or vehicle read in a time, asked once for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from api.oversight.rows import Connection, queries
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from projections.shared.placements import TemperatureSummary, temperature_summary
from projections.traceability.views import time_of

Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Warmth:
    """Readings as the logs stood; `until_ms`: when the last of them was recorded, None = none."""

    conn: Connection
    ledger: int
    telemetry: int
    until_ms: int | None
    _known: dict[tuple[str, int, int, Limits | None], TemperatureSummary] = field(
        default_factory=dict
    )

    def of(
        self, unit_id: str, t0_ms: int, t1_ms: int | None, limits: Limits | None = None
    ) -> TemperatureSummary | None:
        """Return what was read in [t0, t1), None = until the end; None where nothing can be.

        Minutes are counted outside `limits`, by themselves outside those of the unit.
        """
        end = self.until_ms if t1_ms is None else t1_ms
        if not unit_id or end is None or t0_ms >= end:
            return None
        asked = (unit_id, t0_ms, end, limits)
        if asked not in self._known:
            self._known[asked] = temperature_summary(
                self.conn,
                unit_id,
                time_of(t0_ms),
                time_of(end),
                ledger=self.ledger,
                telemetry=self.telemetry,
                limits=limits,
            )
        return self._known[asked]

    def devices(self, unit_id: str, t0: datetime, t1: datetime) -> Sequence[str]:
        """Return the devices whose temperature probes stood in a unit in a time."""
        asked = {
            "unit": unit_id,
            "channels": list(TEMPERATURE_CHANNELS),
            "t0": t0,
            "t1": t1,
            "as_of": self.ledger,
        }
        return [row[0] for row in self.conn.execute(queries.devices_in, asked)]
