"""A refrigerated vehicle: a cold unit on wheels, with a route and doors that open at each stop."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.cold_store import MINUTE_MS, ColdUnit

# Loading and unloading with the body open; longer warms the load.
DOOR_MIN = 4


@dataclass(frozen=True, slots=True)
class Leg:
    """One drive with goods: from a site to a site on a bill, times in UTC milliseconds."""

    vehicle_id: str
    from_site: str
    to_site: str
    departs_ms: int
    arrives_ms: int


def open_doors(unit: ColdUnit, legs: list[Leg]) -> None:
    """Open the body before each departure and after each arrival of `legs`."""
    for leg in legs:
        unit.openings.append((leg.departs_ms - DOOR_MIN * MINUTE_MS, leg.departs_ms))
        unit.openings.append((leg.arrives_ms, leg.arrives_ms + DOOR_MIN * MINUTE_MS))


def route(
    vehicle_id: str, from_site: str, stops: list[str], *, departs_ms: int, drive_min: int
) -> list[Leg]:
    """Return the legs of one round: loaded once at `from_site`, one stop every `drive_min`."""
    return [
        Leg(
            vehicle_id,
            from_site,
            stop,
            departs_ms,
            departs_ms + (index + 1) * drive_min * MINUTE_MS,
        )
        for index, stop in enumerate(stops)
    ]
