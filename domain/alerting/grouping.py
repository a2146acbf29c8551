"""How messages to people are gathered; systems get every event at once.

Of one site: the first message waits a little for what comes with it, what comes after it waits for
a pause. What is critical waits for nothing, unless the same equipment was told of as critical a
moment ago. To somebody who gets very many, one message tells all that waits. Nothing is dropped.
Source: cold-chain rules of the field, grouping.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """`wait`: of the first message of a site; `pause`: between two of them to one contact.

    `storm_max` messages to one contact within `storm_for`: from then on one tells of every site,
    with `storm_pause` between them for what is critical.
    """

    wait: timedelta = timedelta(seconds=30)
    pause: timedelta = timedelta(minutes=5)
    storm_max: int = 20
    storm_for: timedelta = timedelta(minutes=10)
    storm_pause: timedelta = timedelta(minutes=1)


GROUPING = Grouping()
