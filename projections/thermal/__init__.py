"""What probes exposed goods to: kept by a follower of readings, asked for by stays in units."""

from domain.stability.exposure import QUANTITIES
from projections.thermal import follow
from projections.thermal.codes import Histories, chosen, histories, last_sites, of_one
from projections.thermal.spans import Exposures, Spans, exposures, one_moment

__all__ = [
    "QUANTITIES",
    "Exposures",
    "Histories",
    "Spans",
    "chosen",
    "exposures",
    "follow",
    "histories",
    "last_sites",
    "of_one",
    "one_moment",
]
