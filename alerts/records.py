"""Sites at which somebody should have signed the temperatures of the last half day and has not.

One condition a site, however many units, and as long as it goes on; graver when the half day before
was missed as well. A site that never signed a record keeps them elsewhere: nothing is asked of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg

from domain.alerting.conditions import Found, Ground, Kind
from domain.alerting.watch import to_ms
from domain.cold_chain.records import KINDS, overdue
from projections import cold_chain_records as read


def missed(conn: psycopg.Connection[Any], ground: Ground, now: datetime) -> Iterator[Found]:
    """Yield the sites that keep records and lack some of the last half day that is over."""
    try:
        keeping = read.keeping(conn)
    except psycopg.errors.UndefinedTable:  # the read model is not built yet
        return
    if not keeping:
        return
    last, before = overdue(now, 2)
    signed = read.signed(conn, [last.due_at, before.due_at])
    units: dict[int, list[str]] = defaultdict(list)
    for unit_id, kind, site in zip(
        ground.units, ground.unit_kinds, ground.unit_site.tolist(), strict=True
    ):
        if kind in KINDS and ground.sites[site] in keeping:
            units[site].append(unit_id)
    for site, of_site in units.items():
        since = keeping[ground.sites[site]]
        lacking, lacked = (
            sum((each.due_at, unit_id) not in signed for unit_id in of_site)
            if since < each.opens
            else 0
            for each in (last, before)
        )
        if lacking:
            yield Found(
                kind=Kind.RECORD_MISSED,
                subject_kind="site",
                subject_id=ground.sites[site],
                severity="minor" if lacked else "info",
                since_ms=to_ms((before if lacked else last).due_at),
                site=site,
                facts={"units": lacking},
            )
