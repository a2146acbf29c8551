"""The legal floor: every alert of a site with equipment reaches three distinct persons at once.

Who counts is on duty at level 0 for whatever severity, and has a contact that works. A change that
would leave fewer than three at any time from now on, or fewer still, is refused; where time alone
leaves fewer, people above are told once a day, and the interface lists the site.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row, tuple_row

from alerts.messages import SHANGHAI
from alerts.notices import UNDERSTAFFED, Notice, untold, write
from alerts.people import queries
from domain.alerting.duty import LEVEL_MAX, PEOPLE_MIN
from domain.shared.errors import Conflict
from domain.shared.ids import stream_id

LOOK_AGAIN = timedelta(minutes=10)
# Hour of the day, Asia/Shanghai, from which the people above are told.
TOLD_FROM_H = 8
# Gaps in rosters are shown so long before.
AHEAD = timedelta(days=7)
# Names of sites in one notice.
NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """How many persons an alert of a site reaches at once, at a moment."""

    site_id: str
    name: str
    region_code: str
    at: datetime
    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A site that has too few people now, or will: `since` when, and how few then."""

    site_id: str
    name: str
    region_code: str
    people: int
    since: datetime


def staff(
    conn: psycopg.Connection[Any],
    now: datetime,
    *,
    region: str = "",
    sites: list[str] | None = None,
    until: datetime | None = None,
) -> list[Staff]:
    """Return how many people each site has, now and whenever that may change, by site and time.

    `region`: a prefix of its code; `until`: None without an end.
    """
    asked = {"now": now, "region": region, "sites": sites, "until": until}
    with conn.cursor(row_factory=class_row(Staff)) as cur:
        return cur.execute(queries.floor, asked).fetchall()


def shortages(conn: psycopg.Connection[Any], now: datetime, *, region: str = "") -> list[Shortage]:
    """Return the sites of a region with too few people, now or within a week, by id."""
    found: dict[str, Shortage] = {}
    for one in staff(conn, now, region=region, until=now + AHEAD):
        if one.people < PEOPLE_MIN and one.site_id not in found:
            found[one.site_id] = Shortage(
                site_id=one.site_id,
                name=one.name,
                region_code=one.region_code,
                people=one.people,
                since=one.at,
            )
    return list(found.values())


@contextmanager
def kept(conn: psycopg.Connection[Any], people: Collection[str], now: datetime) -> Iterator[None]:
    """Let the block change what concerns these persons, in the transaction that is open.

    Conflict("floor_undercut") names the first site and time that would be left with too few; the
    transaction must end with it.
    """
    if not people:
        yield
        return
    asked = {"people": list(people), "now": now}
    with conn.cursor(row_factory=tuple_row) as cur:
        cur.execute(queries.lock_floor)
        sites = [row[0] for row in cur.execute(queries.sites_of, asked)]
    before = staff(conn, now, sites=sites)
    yield
    _require(before, staff(conn, now, sites=sites))


def _require(before: Sequence[Staff], after: Sequence[Staff]) -> None:
    """Compare at every moment of either: who is there at one is there until the next."""
    for one in after:
        had = [each.people for each in before if each.site_id == one.site_id and each.at <= one.at]
        if one.people < PEOPLE_MIN and one.people < had[-1]:
            facts = {"site_id": one.site_id, "at": one.at.isoformat(), "left": one.people}
            raise Conflict("floor_undercut", **facts)


class Watch:
    """Tells the people above, once a day for each county, which of its sites have too few."""

    def __init__(self) -> None:
        self._looked: datetime | None = None

    def tick(self, conn: psycopg.Connection[Any], now: datetime) -> int:
        """Write the notices that are due; return how many.

        Before anybody is put down at all, people are not told by duties here: nobody is called.
        """
        if self._looked is not None and self._looked <= now < self._looked + LOOK_AGAIN:
            return 0
        self._looked = now
        ((anybody,),) = conn.execute(queries.anybody).fetchall()
        if not anybody or now.astimezone(SHANGHAI).hour < TOLD_FROM_H:
            return 0
        try:
            found = [one for one in staff(conn, now, until=now) if one.people < PEOPLE_MIN]
        except psycopg.errors.UndefinedTable:  # the read models are not built yet
            return 0
        counties = sorted({one.region_code for one in found})
        wanted = [
            _notice(county, [one for one in found if one.region_code == county], now)
            for county in counties
        ]
        new = untold(conn, wanted)
        with conn.transaction(), conn.cursor() as cur:
            write(cur, new)
        return len(new)


def _notice(county: str, found: Sequence[Staff], now: datetime) -> Notice:
    day = now.astimezone(SHANGHAI).date().isoformat()
    alert_id = str(stream_id("alerting.understaffed", county, day))
    return Notice(
        key=f"{alert_id}:{UNDERSTAFFED}:1",
        alert_id=alert_id,
        kind=UNDERSTAFFED,
        level=LEVEL_MAX,
        severity="major",
        region_code=county,
        payload={
            "alert_id": alert_id,
            "region_code": county,
            "sites": len(found),
            "named": [one.name for one in found[:NAMED_MAX]],
            "people": min(one.people for one in found),
            "started_at": now.isoformat(),
        },
        created_at=now,
    )
