"""Whether goods can have come from one place to another in the time between two scans."""

from __future__ import annotations

from math import asin, ceil, cos, radians, sin, sqrt
from typing import NamedTuple

# km/h as the crow flies: faster than any vehicle gets on roads.
SPEED_KMH_MAX = 120.0
# Places nearer than this are told apart by no clock and by few coordinates.
DISTANCE_KM_MIN = 2.0
EARTH_KM = 6371.0
HOUR_MS = 3_600_000


class Place(NamedTuple):
    """Where a site is, degrees WGS 84; None = nobody said."""

    latitude: float | None = None
    longitude: float | None = None


def distance_km(a: Place, b: Place) -> float | None:
    """Return the distance of two places as the crow flies, None where one is not known."""
    if a.latitude is None or a.longitude is None or b.latitude is None or b.longitude is None:
        return None
    lat_a, lat_b = radians(a.latitude), radians(b.latitude)
    dlat, dlon = lat_b - lat_a, radians(b.longitude - a.longitude)
    h = sin(dlat / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin(dlon / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(h, 1.0)))


def least_ms(a: Place, b: Place) -> int:
    """Return how long the way between two places takes at least, 0 where that says nothing."""
    km = distance_km(a, b)
    return 0 if km is None or km < DISTANCE_KM_MIN else ceil(km / SPEED_KMH_MAX * HOUR_MS)


def impossible(a: Place, b: Place, ms: int) -> bool:
    """Tell whether nothing gets from one place to the other in so many milliseconds."""
    km = distance_km(a, b)
    return km is not None and km >= DISTANCE_KM_MIN and km > SPEED_KMH_MAX * ms / HOUR_MS
