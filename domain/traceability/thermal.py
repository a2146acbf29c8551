"""Times when goods were too warm or too cold, and where a code was meanwhile.

Every reading outside the limits counts, however short: unlike the alert rules, which wait. An
excursion is from the first bad reading to the last one before a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from domain.traceability.facts import Step
from domain.traceability.progress import Entry, Progress
from domain.traceability.states import ENDED, Status


class Reading(NamedTuple):
    """What a probe measured: ms since 1970 (UTC), degrees Celsius."""

    t_ms: int
    celsius: float


@dataclass(frozen=True, slots=True)
class Excursion:
    """A device read outside the limits from `start_ms` to `end_ms`, both inclusive.

    `limit_c` is the limit that was passed, `peak_c` the value farthest from it. `unit_id` and
    `site_id` say where the device stood; `position` where the ledger learned it.
    """

    device_id: str
    start_ms: int
    end_ms: int
    limit_c: float
    peak_c: float
    unit_id: str = ""
    site_id: str = ""
    position: int = 0

    @property
    def key(self) -> str:
        """Return what names the excursion for ever."""
        return f"{self.device_id}@{self.start_ms}"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a code was from `start_ms` until `end_ms` (None = still); `unit_id` may be a vehicle.

    `fact_ids`: what began it, and the arrival that ended a transport.
    """

    site_id: str
    unit_id: str
    start_ms: int
    end_ms: int | None
    moving: bool
    device_ids: frozenset[str]
    fact_ids: tuple[str, ...]

    def exposed(self, excursion: Excursion) -> bool:
        """Tell whether the code was under a device while it read outside the limits.

        A code of which only the site is known was wherever that site keeps its stock.
        """
        if self.start_ms > excursion.end_ms:
            return False
        if self.end_ms is not None and self.end_ms <= excursion.start_ms:
            return False
        if excursion.device_id in self.device_ids:
            return True
        if self.unit_id:
            return self.unit_id == excursion.unit_id
        return not self.moving and self.site_id != "" and self.site_id == excursion.site_id


def excursions_of(
    readings: Iterable[Reading], *, device_id: str, low_c: float, high_c: float
) -> list[Excursion]:
    """Return the excursions of one device; readings in any order, those given twice count once."""
    found: list[Excursion] = []
    run: list[Reading] = []
    for reading in [*sorted(set(readings)), None]:
        side = 0 if reading is None else _side(reading.celsius, low_c, high_c)
        if run and side != _side(run[0].celsius, low_c, high_c):
            found.append(_excursion(run, device_id, low_c, high_c))
            run = []
        if reading is not None and side:
            run.append(reading)
    return found


def _side(celsius: float, low_c: float, high_c: float) -> int:
    return (celsius > high_c) - (celsius < low_c)


def _excursion(run: Sequence[Reading], device_id: str, low: float, high: float) -> Excursion:
    values = [reading.celsius for reading in run]
    warm = values[0] > high
    return Excursion(
        device_id=device_id,
        start_ms=run[0].t_ms,
        end_ms=run[-1].t_ms,
        limit_c=high if warm else low,
        peak_c=max(values) if warm else min(values),
    )


def whereabouts(chain: Sequence[Entry], doses_per_vial: int | None) -> list[Whereabouts]:
    """Return where a code was, in order, until it was used up or destroyed."""
    return list(_whereabouts(chain, doses_per_vial))


def _whereabouts(chain: Sequence[Entry], doses_per_vial: int | None) -> Iterator[Whereabouts]:
    progress = Progress(doses_per_vial)
    start: Entry | None = None
    standing = ("", "", False)
    for entry in chain:
        progress.take(entry)
        moving = progress.status in {Status.IN_TRANSIT, Status.RETURNED}
        ended = progress.status in ENDED
        now = (progress.site_id, progress.unit_id, moving)
        if now == standing and not ended:
            continue
        if start is not None:
            yield _stay(standing, start, entry)
        start, standing = (None, ("", "", False)) if ended else (entry, now)
    if start is not None:
        yield _stay(standing, start, None)


def _stay(standing: tuple[str, str, bool], start: Entry, end: Entry | None) -> Whereabouts:
    site_id, unit_id, moving = standing
    facts = [start.fact]
    if moving and end is not None and end.fact.step is Step.RECEIVING:
        facts.append(end.fact)
        unit_id = unit_id or end.fact.vehicle_id
    return Whereabouts(
        site_id=site_id,
        unit_id=unit_id,
        start_ms=start.fact.t_ms,
        end_ms=None if end is None else end.fact.t_ms,
        moving=moving,
        device_ids=frozenset(f.device_id for f in facts if f.device_id) if moving else frozenset(),
        fact_ids=tuple(f.fact_id for f in facts),
    )
