"""What the probes of units and vehicles read in some times: each asked once, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from api.oversight.rows import Connection, queries
from domain.cold_chain.model import TEMPERATURE_CHANNELS
from projections.shared.placements import (
    Limits,
    Span,
    TemperatureSummary,
    temperature_summaries,
)
from projections.traceability.views import time_of

Stay = tuple[str, int, int | None]  # unit, from and until ms; None = until the end


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
        self.load([(unit_id, t0_ms, t1_ms)], limits)
        asked = self._asked(unit_id, t0_ms, t1_ms)
        return None if asked is None else self._known[*asked, limits]

    def load(self, stays: Iterable[Stay], limits: Limits | None = None) -> None:
        """Ask for many at once, so that `of` knows them."""
        found = dict.fromkeys(asked for stay in stays if (asked := self._asked(*stay)))
        missing = [asked for asked in found if (*asked, limits) not in self._known]
        summaries = temperature_summaries(
            self.conn,
            [Span(unit_id, time_of(t0), time_of(t1)) for unit_id, t0, t1 in missing],
            ledger=self.ledger,
            telemetry=self.telemetry,
            limits=limits,
        )
        for asked, summary in zip(missing, summaries, strict=True):
            self._known[*asked, limits] = summary

    def _asked(self, unit_id: str, t0_ms: int, t1_ms: int | None) -> tuple[str, int, int] | None:
        """Return what can be asked about: None where nothing can have been read."""
        end = self.until_ms if t1_ms is None else t1_ms
        return (unit_id, t0_ms, end) if unit_id and end is not None and t0_ms < end else None

    def devices(self, stays: Sequence[Stay]) -> list[list[str]]:
        """Return for each stay the devices whose temperature probes stood in its unit then."""
        ends = [self.until_ms if t1 is None else t1 for _, _, t1 in stays]
        asked = {
            "units": [unit_id for unit_id, _, _ in stays],
            "channels": list(TEMPERATURE_CHANNELS),
            "t0": [time_of(t0) for _, t0, _ in stays],
            "t1": [time_of(end or t0) for (_, t0, _), end in zip(stays, ends, strict=True)],
            "as_of": self.ledger,
        }
        found = dict(self.conn.execute(queries.devices_in, asked).fetchall()) if stays else {}
        return [found.get(n, []) for n in range(len(stays))]
