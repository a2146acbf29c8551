"""What probes exposed goods to: kept by a follower of readings, asked for by stays in units."""

from projections.thermal import follow
from projections.thermal.codes import Histories, chosen, histories, last_sites, of_one
from projections.thermal.looks import earlier
from projections.thermal.rows import exposures_of_rows
from projections.thermal.spans import (
    SUMS,
    Exposures,
    Known,
    Moment,
    Spans,
    exposures,
    one_moment,
)

__all__ = [
    "SUMS",
    "Exposures",
    "Histories",
    "Known",
    "Moment",
    "Spans",
    "chosen",
    "earlier",
    "exposures",
    "exposures_of_rows",
    "follow",
    "histories",
    "last_sites",
    "of_one",
    "one_moment",
]
