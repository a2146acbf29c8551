"""Further questions: doses after exposure, lots that shared a place, who has not acknowledged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

from api.oversight.report import Row, cases_by_id, injections
from api.oversight.rows import Connection, queries
from api.oversight.subject import EVER_MS, Subject, of_code, of_unit
from api.oversight.warmth import Stay, Warmth
from domain.traceability.journeys import HOUR_MS, Place, distance_km
from domain.traceability.kinds import Kind
from domain.traceability.thermal import Whereabouts, whereabouts
from projections.shared.placements import Limits
from projections.traceability.recalls import recall_at
from projections.traceability.views import time_of

# Cold units and vehicles of one lot in one interval: more are asked about one by one.
UNITS_MAX = 200


def exposed_doses(subject: Subject, warmth: Warmth, limits: Limits, minutes: float) -> list[Row]:
    """Return the doses from codes that were outside limits (°C) longer than `minutes` before.

    `above_min`, `below_min`: minutes above and below, over all units and vehicles the code was in;
    `unknown_min`: when no probe told.
    """
    given = injections(subject)
    keys = {text: key for key, text in subject.texts.items()}
    stays = []
    for row in given:
        before_ms = round(row["occurred_at"].timestamp() * 1000)
        stays.append(_until(_stays(subject, keys[row["code"]]), before_ms))
    warmth.load(chain.from_iterable(stays), limits)
    rows = []
    for row, before in zip(given, stays, strict=True):
        seen = _exposure(before, warmth, limits)
        if seen.above_min + seen.below_min > minutes:
            rows.append(row | seen._asdict())
    return rows


def _until(stays: Iterable[Whereabouts], before_ms: int) -> list[Stay]:
    ends = ((s, before_ms if s.end_ms is None else min(s.end_ms, before_ms)) for s in stays)
    return [(stay.unit_id, stay.start_ms, end) for stay, end in ends]


class _Exposure(NamedTuple):
    above_min: float = 0.0
    below_min: float = 0.0
    unknown_min: float = 0.0
    max_c: float | None = None
    min_c: float | None = None


def _exposure(stays: Iterable[Stay], warmth: Warmth, limits: Limits) -> _Exposure:
    found = _Exposure()
    for stay in stays:
        read = warmth.of(*stay, limits)
        if read is not None:
            found = _Exposure(
                found.above_min + (read.above_min or 0.0),
                found.below_min + (read.below_min or 0.0),
                found.unknown_min + read.unknown_min,
                max(
                    (c for c in (found.max_c, read.temperature_c_max) if c is not None),
                    default=None,
                ),
                min(
                    (c for c in (found.min_c, read.temperature_c_min) if c is not None),
                    default=None,
                ),
            )
    return found


def _stays(subject: Subject, code: int) -> list[Whereabouts]:
    return whereabouts(subject.book.chain(code), subject.book.progress(code).doses_per_vial)


@dataclass(slots=True)
class _Shared:
    """The time that two lots were in one unit."""

    lot_id: str
    unit_id: str
    site_id: str
    from_ms: int
    to_ms: int
    codes: set[int] = field(default_factory=set)
    positions: set[int] = field(default_factory=set)


def companions(conn: Connection, subject: Subject, since_ms: int, until_ms: int) -> list[Row]:
    """Return which other lots were in a unit or vehicle of this one at the same time, between.

    Row: the unit, the other lot, from when to when both were there (`to` None: both are still), and
    how many of its packs.
    """
    own: dict[str, list[Whereabouts]] = defaultdict(list)
    for code in subject.codes:
        for stay in _between(_stays(subject, code), since_ms, until_ms):
            own[stay.unit_id].append(stay)
    rows = []
    for unit_id in sorted(own)[:UNITS_MAX]:
        spans = _merged(own[unit_id], since_ms, until_ms)
        others = of_unit(conn, unit_id, subject.at, until_ms)
        for shared in _met(others, unit_id, spans, subject):
            rows.append(_companion(others, shared))
    return sorted(rows, key=lambda row: (row["from"], row["unit_id"], row["lot_id"]))


def _between(stays: Iterable[Whereabouts], since_ms: int, until_ms: int) -> Iterator[Whereabouts]:
    for stay in stays:
        ended = stay.end_ms is not None and stay.end_ms <= since_ms
        if stay.unit_id and stay.start_ms < until_ms and not ended:
            yield stay


def _merged(stays: Sequence[Whereabouts], since_ms: int, until_ms: int) -> list[tuple[int, int]]:
    """Return when any of these stays lasted, cut to the interval, without overlap."""
    found: list[tuple[int, int]] = []
    for stay in sorted(stays, key=lambda s: s.start_ms):
        start = max(stay.start_ms, since_ms)
        end = until_ms if stay.end_ms is None else min(stay.end_ms, until_ms)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _met(
    others: Subject, unit_id: str, spans: Sequence[tuple[int, int]], own: Subject
) -> Iterable[_Shared]:
    found: dict[tuple[str, int], _Shared] = {}
    for code in others.codes:
        lot_id = others.book.progress(code).lot_id
        if code in own.codes or not lot_id or lot_id == own.key:
            continue
        for stay in _stays(others, code):
            if stay.unit_id != unit_id:
                continue
            for n, (start, end) in enumerate(spans):
                first = max(start, stay.start_ms)
                last = end if stay.end_ms is None else min(end, stay.end_ms)
                if first < last:
                    shared = found.setdefault(
                        (lot_id, n), _Shared(lot_id, unit_id, stay.site_id, first, last)
                    )
                    shared.from_ms = min(shared.from_ms, first)
                    shared.to_ms = max(shared.to_ms, last)
                    shared.codes.add(code)
                    shared.positions |= _positions(others, stay)
    return found.values()


def _positions(subject: Subject, stay: Whereabouts) -> set[int]:
    return {subject.facts[i].position for i in stay.fact_ids if i in subject.facts}


def _companion(others: Subject, shared: _Shared) -> Row:
    units = [k for k in shared.codes if others.book.levels[k] == 1]
    return {
        "unit_id": shared.unit_id,
        "site_id": shared.site_id,
        "lot_id": shared.lot_id,
        "from": time_of(shared.from_ms),
        "to": time_of(shared.to_ms) if shared.to_ms < EVER_MS else None,
        "units": len(units),
        "packs": len(shared.codes) - len(units),
        "events": sorted(shared.positions),
    }


def unacknowledged(conn: Connection, lot_id: str, at: int) -> list[Row]:
    """Return the places that have units of a recalled lot and have not acknowledged its recall.

    One row a place and recall in force; none where the lot is not recalled.
    """
    found = recall_at(conn, lot_id, at).recall
    rows = []
    for order in found.orders:
        held = Counter(unit.site_id for unit in found.on_hand(order))
        rows += [
            {
                "recall_id": order.fact_id,
                "recall_class": order.more.get("recall_class", ""),
                "issued_at": time_of(order.t_ms),
                "site_id": site_id,
                "units": held[site_id],
                "events": [order.position],
            }
            for site_id in found.outstanding(order)
        ]
    return rows


def journeys(
    conn: Connection, sites: Sequence[str] | None, at: int, since_ms: int, until_ms: int
) -> list[Row]:
    """Return the codes seen at two places sooner than anything gets there, in a time.

    `sites` None = everywhere. A row names both scans, the distance and the speed it would take.
    """
    asked = {"sites": sites, "since": since_ms, "until": until_ms, "as_of": at}
    ids = [row[0] for row in conn.execute(queries.cases_of_sites, asked)]
    rows: list[Row] = []
    for case in cases_by_id(conn, ids, at, "", Kind.IMPOSSIBLE_JOURNEY):
        for code in case["codes"]:
            rows += _journeys_of(conn, code, case, at)
    return rows


def _journeys_of(conn: Connection, code: str, case: Row, at: int) -> Iterator[Row]:
    subject = of_code(conn, code, at)
    facts = list(subject.facts.values())
    for first, last in pairwise(facts):
        if last.fact_id not in case["fact_ids"] or first.site_id == last.site_id:
            continue
        where = _places(conn, [first.site_id, last.site_id], at)
        km = distance_km(where[first.site_id], where[last.site_id])
        hours = (last.t_ms - first.t_ms) / HOUR_MS
        yield {
            "code": code,
            "lot_id": subject.book.progress(subject.codes[0]).lot_id,
            "from_site_id": first.site_id,
            "from": time_of(first.t_ms),
            "to_site_id": last.site_id,
            "to": time_of(last.t_ms),
            "km": km,
            "km_per_h": km / hours if km is not None and hours else None,
            "case_id": case["case_id"],
            "state": case["state"],
            "site_id": last.site_id,
            "events": [first.position, last.position],
        }


def _places(conn: Connection, sites: Sequence[str], at: int) -> dict[str, Place]:
    found = conn.execute(queries.places, {"sites": list(sites), "as_of": at})
    return {site_id: Place() for site_id in sites} | {row[0]: Place(*row[1:]) for row in found}
