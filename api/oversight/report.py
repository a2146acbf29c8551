"""The parts of a report: chain, orders, corrections, stock, temperatures, doses, cases, quality.

Each part is a list of rows, JSON values and times; `events` of a row are the ledger positions of
what it rests on. Who may see the people in it is for the API to say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.oversight.orders import Bound, bound_units, orders
from api.oversight.rows import Connection, queries
from api.oversight.subject import Subject
from api.oversight.warmth import Warmth
from domain.traceability.balance import balance_of
from domain.traceability.exceptions import LATE_MS, SENDING
from domain.traceability.facts import Fact, Step
from domain.traceability.hops import Hop, hops_of
from domain.traceability.kinds import RULES, Kind
from domain.traceability.recalls import orders_in_force
from domain.traceability.states import Status
from projections import traceability as custody
from projections.shared.placements import TemperatureSummary
from projections.traceability.cases import (
    Evidence,
    Seen,
    Wanted,
    acts,
    cases,
    evidence,
    recorded_until,
)
from projections.traceability.views import time_of

Row = dict[str, Any]

# Colder than this, a vaccine that freezing spoils may be frozen (WHO freeze indicators: -0.5 °C).
FROZEN_C = -0.5
# Status -> column of stock.
_COLUMNS = {
    Status.COMMISSIONED: "in_stock",
    Status.IN_STOCK: "in_stock",
    Status.UNKNOWN: "in_stock",
    Status.IN_TRANSIT: "in_transit",
    Status.RETURNED: "in_transit",
    Status.HELD: "held",
    Status.OPENED: "opened",
    Status.USED: "used",
    Status.WASTED: "wasted",
    Status.SAMPLED: "sampled",
    Status.DESTROYED: "destroyed",
    Status.MISSING: "missing",
}
STOCK_COLUMNS = tuple(dict.fromkeys(_COLUMNS.values()))
# Kinds of case -> column of the quality of reporting.
_QUALITY = {
    Kind.CODE_MISSING_ON_RECORD: "without_code",
    Kind.UNKNOWN_CODE: "unknown_code",
    Kind.DATA_ERROR: "data_error",
    Kind.DOSES_EXCEED_VIAL: "doses_exceed_vial",
    Kind.ALREADY_USED: "doses_exceed_vial",
    Kind.TEMPERATURE_MISSING: "temperature_missing",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A report without its proof: the head, and rows by part."""

    head: Row
    parts: Mapping[str, list[Row]]


def report_of(conn: Connection, subject: Subject, warmth: Warmth, prefix: str) -> Report:
    """Return all parts of a report on a subject; of the cases, those of a region (its prefix)."""
    hops = [hop for hop in hops_of(subject.book, subject.codes) if _asked(subject, hop)]
    found = exceptions(conn, subject, prefix)
    return Report(
        head(subject),
        {
            "chain": chain(subject, hops, warmth),
            "orders": orders(subject),
            "corrections": corrections(conn, subject),
            "stock": stock(conn, subject),
            "thermal": thermal(subject, hops, warmth, found),
            "injections": injections(subject),
            "exceptions": found,
            "quality": quality(subject, found),
        },
    )


def _asked(subject: Subject, hop: Hop) -> bool:
    return any(fact_id in subject.facts for fact_id in hop.fact_ids)


def head(subject: Subject) -> Row:
    """Return what the report is about: lots with their product and what binds them."""
    lots = {k: subject.lots.get(k) for k in _lot_ids(subject)}
    bound = bound_units(subject)
    return {"subject": subject.name, "key": subject.key} | {
        "lots": [_lot(subject, k, lot, bound.get(k, Bound())) for k, lot in lots.items()]
    }


def _lot_ids(subject: Subject) -> list[str]:
    found = {subject.book.progress(code).lot_id for code in subject.codes} - {""}
    return sorted(found | ({subject.key} if subject.name == "lot" else set()))


def _lot(subject: Subject, lot_id: str, lot: Row | None, units: Bound) -> Row:
    product_id = lot_id.partition(".")[0]
    product = subject.products.get(product_id, {})
    recalls = orders_in_force(f for f in subject.lot_facts if f.lot_id == lot_id)
    bound = subject.book.lot_hold(lot_id)
    return {
        "lot_id": lot_id,
        "lot_number": lot_id.partition(".")[2],
        "product_id": product_id,
        "product": product.get("name", ""),
        "product_en": product.get("name_en", ""),
        "specification": product.get("specification", ""),
        "holder": product.get("holder", ""),
        "doses_per_vial": product.get("doses_per_vial"),
        "produced_on": lot["produced_on"] if lot else None,
        "expires_on": lot["expires_on"] if lot else None,
        "lot_release_no": lot["lot_release_no"] if lot else "",
        "released": lot["quantity"] if lot else None,
        "held": bound.held,
        "held_units": units.held,
        "recalled": bound.recalled or bool(recalls),
        "recalled_units": units.recalled,
        "recall_class": recalls[-1].more.get("recall_class", "") if recalls else "",
        "events": [f.position for f in subject.lot_facts if f.lot_id == lot_id],
    }


# ---- the chain ----


def chain(subject: Subject, hops: Sequence[Hop], warmth: Warmth) -> list[Row]:
    """Return one row a hop: what was sent and how it arrived is one row."""
    arrivals: dict[tuple[str, str], list[Hop]] = defaultdict(list)
    for hop in hops:
        if hop.step is Step.RECEIVING and hop.bill_no:
            arrivals[hop.bill_no, hop.site_id].append(hop)
    pairs: list[tuple[Hop, Hop | None]] = []
    met: set[int] = set()
    for hop in hops:
        if id(hop) in met:
            continue
        met_by = arrivals.get((hop.bill_no, hop.to_site_id), []) if hop.step in SENDING else []
        arrival = next((a for a in met_by if id(a) not in met), None)
        if arrival is not None:
            met.add(id(arrival))
        pairs.append((hop, arrival))
    warmth.load((hop.unit_id, hop.first_ms, a.first_ms) for hop, a in pairs if a is not None)
    return [
        {"seq": n} | _hop(subject, hop, arrival, warmth)
        for n, (hop, arrival) in enumerate(pairs, start=1)
    ]


def _hop(subject: Subject, hop: Hop, arrival: Hop | None, warmth: Warmth) -> Row:
    sent = [subject.facts[i] for i in hop.fact_ids if i in subject.facts]
    got = [subject.facts[i] for i in arrival.fact_ids if i in subject.facts] if arrival else []
    sending = hop.step in SENDING
    received = got if sending else [*sent, *got]
    facts = [*sent, *got]
    arrived = arrival or (hop if hop.step is Step.RECEIVING else None)
    return {
        "step": hop.step.name.lower(),
        "from_site_id": hop.site_id if sending else hop.from_site_id or hop.site_id,
        "to_site_id": hop.to_site_id if sending else hop.site_id,
        "site_id": hop.site_id,
        "bill_no": hop.bill_no,
        "bill_type": _said(facts, "bill_type"),
        "packs_due": _packs(sent, "due", hop) if sending or arrived is hop else {},
        "packs_received": _packs(received, "actual", arrived) if arrived else {},
        "units_due": hop.units if sending else None,
        "units": (arrived or hop).units if arrived or not sending else 0,
        "first_at": time_of(hop.first_ms),
        "departed_at": _when(facts, "departed_at") or (time_of(hop.first_ms) if sending else None),
        "departed_c": _first([_more(facts, "departed_c"), hop.temperature_c if sending else None]),
        "arrived_at": _when(facts, "arrived_at") or (arrived and time_of(arrived.first_ms)),
        "arrived_c": arrived.temperature_c if arrived else None,
        **_transport(hop, arrived, warmth),
        "vehicle_id": hop.unit_id if sending else _said(facts, "vehicle_id"),
        "unit_id": "" if sending else hop.unit_id,
        "device_id": hop.device_id or (arrival.device_id if arrival else ""),
        "carrier": _more(facts, "carrier") or "",
        "handed_over_by": _more(facts, "handed_over_by") or "",
        "taken_over_by": _more(facts, "taken_over_by") or "",
        "accepted": all(f.accepted for f in received) if arrived else None,
        "reason": "；".join(dict.fromkeys(f.reason for f in facts if f.reason)),
        "fact_ids": [f.fact_id for f in facts],
        "recorded_at": max((time_of(f.recorded_ms) for f in facts), default=None),
        "corrected": _corrects(subject, facts),
        "events": [f.position for f in facts],
    }


def _transport(hop: Hop, arrived: Hop | None, warmth: Warmth) -> Row:
    """Return what the goods went through on their way, by the readings or as was told."""
    read: TemperatureSummary | None = None
    if hop.step in SENDING and arrived is not None:
        read = warmth.of(hop.unit_id, hop.first_ms, arrived.first_ms)
    told = arrived or hop
    known = read is not None and read.n > 0
    return {
        "transport_c_min": read.temperature_c_min if read and known else told.transport_c_min,
        "transport_c_max": read.temperature_c_max if read and known else told.transport_c_max,
        "outside_min": _sum(read.above_min, read.below_min) if read and known else None,
        "unknown_min": read.unknown_min if read and known else None,
    }


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _packs(facts: Iterable[Fact], which: str, hop: Hop | None) -> dict[str, int]:
    """Return packs by level: as told, else as scanned."""
    told: Counter[str] = Counter()
    for fact in facts:
        for line in fact.more.get("quantities", ()):
            told[str(line["level"])] += line[which]
    scanned = {str(level): n for level, n in hop.packs.items()} if hop else {}
    return dict(sorted(told.items())) or scanned


def _said(facts: Iterable[Fact], name: str) -> Any:
    return next((value for f in facts if (value := getattr(f, name))), "")


def _more(facts: Iterable[Fact], name: str) -> Any:
    return _first(f.more.get(name) for f in facts)


def _when(facts: Iterable[Fact], name: str) -> datetime | None:
    told = _more(facts, name)
    return None if told is None else datetime.fromisoformat(told)


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _corrects(subject: Subject, facts: Iterable[Fact]) -> bool:
    """Tell whether a fact stands where another was declared wrong: same step, place and bill."""
    wrong = {(f.step, f.site_id, f.bill_no) for f in subject.wrong}
    return any((f.step, f.site_id, f.bill_no) in wrong for f in facts)


def corrections(conn: Connection, subject: Subject) -> list[Row]:
    """Return the facts that were declared wrong, and what was said about them."""
    asked = {"ids": [f.fact_id for f in subject.wrong], "as_of": subject.at}
    said = {(row[0], row[1]): row[2:] for row in conn.execute(queries.withdrawals, asked)}
    rows = []
    for fact in subject.wrong:
        at, reason, instead, position = said[fact.fact_id, fact.site_id]
        rows.append(
            {
                "fact_id": fact.fact_id,
                "step": fact.step.name.lower(),
                "site_id": fact.site_id,
                "occurred_at": time_of(fact.t_ms),
                "recorded_at": time_of(fact.recorded_ms),
                "declared_at": at,
                "reason": reason,
                "corrective_fact_ids": instead,
                "events": [fact.position, position],
            }
        )
    return rows


# ---- stock ----


def stock(conn: Connection, subject: Subject) -> list[Row]:
    """Return what is where by place and lot, smallest packs; of places: all there is."""
    rows: dict[tuple[str, str], Row] = {}
    book = subject.book
    for code in subject.codes:
        if book.levels[code] == 1 and not book.contents.get(code):
            stands = book.standing(code)
            row = _stock_row(rows, stands.site_id, stands.lot_id)
            row[_COLUMNS[stands.status]] += 1
            own = book.progress(code)
            row["doses_given"] += own.doses_given
            row["doses_wasted"] += own.doses_wasted
            row["events"] = _newest(row, (e.fact.position for e in book.chain(code)))
    if subject.span is not None:
        return _stock_of_places(conn, subject)
    for line in balance_of(book, subject.codes).lines:
        own_rows = [row for (site_id, _), row in rows.items() if site_id == line.site_id]
        for row in own_rows[:1]:
            row["difference"] = line.difference
    return [rows[key] for key in sorted(rows)]


def _stock_row(rows: dict[tuple[str, str], Row], site_id: str, lot_id: str) -> Row:
    empty = {"site_id": site_id, "lot_id": lot_id, **dict.fromkeys(STOCK_COLUMNS, 0)}
    more: Row = {"doses_given": 0, "doses_wasted": 0, "difference": None, "events": []}
    return rows.setdefault((site_id, lot_id), empty | more)


def _newest(row: Row, positions: Iterable[int]) -> list[int]:
    """Return the newest event that a sum rests on: it names none of the many before."""
    return [max([*positions, *row["events"]])]


def _stock_of_places(conn: Connection, subject: Subject) -> list[Row]:
    span = subject.span
    sites = sorted(span.site_ids) if span and span.site_ids is not None else None
    rows: dict[tuple[str, str], Row] = {}
    for line in custody.stock(conn, sites, subject.at):
        if subject.only and line.lot_id not in subject.only:
            continue
        row = _stock_row(rows, line.site_id, line.lot_id)
        row[_COLUMNS[Status(line.status)]] += line.units
        row["doses_given"] = row["doses_wasted"] = None
    return [rows[key] for key in sorted(rows)]


# ---- temperatures ----


def thermal(
    subject: Subject, hops: Sequence[Hop], warmth: Warmth, found: Sequence[Row]
) -> list[Row]:
    """Return one row a stay in a cold unit or vehicle, with what its probes read meanwhile."""
    cases_found = [row for row in found if row["kind"] == Kind.THERMAL_EXCURSION.value]
    rows = []
    stays = [(hop.unit_id, hop.first_ms, hop.until_ms) for hop in hops]
    warmth.load(stays)
    for hop, devices in zip(hops, warmth.devices(stays), strict=True):
        read = warmth.of(hop.unit_id, hop.first_ms, hop.until_ms)
        if read is None:
            continue
        end = hop.until_ms if hop.until_ms is not None else warmth.until_ms
        t0, t1 = time_of(hop.first_ms), time_of(end or hop.first_ms)
        case = next((c for c in cases_found if _of_stay(c, hop, t0, t1)), None)
        rows.append(
            {
                "site_id": hop.site_id,
                "unit_id": hop.unit_id,
                "moving": hop.step in SENDING,
                "from": t0,
                "to": t1,
                "devices": devices,
                "readings": read.n,
                "min_c": read.temperature_c_min,
                "max_c": read.temperature_c_max,
                "mean_c": read.mean_c,
                "above_min": read.above_min,
                "below_min": read.below_min,
                "frozen": None if read.n == 0 else (read.temperature_c_min or 0.0) <= FROZEN_C,
                "unknown_min": read.unknown_min,
                "units": hop.units,
                "settled": case["resolution"] or case["state"] if case else "",
                "events": list(hop.positions),
            }
        )
    return rows


def _of_stay(case: Row, hop: Hop, t0: datetime, t1: datetime) -> bool:
    """Tell whether an excursion is of a stay: at its place, or of the facts that made it."""
    at_place = case["site_id"] == hop.site_id and t0 <= case["occurred_at"] <= t1
    return at_place or not set(hop.fact_ids).isdisjoint(case["fact_ids"])


# ---- doses ----


def injections(subject: Subject) -> list[Row]:
    """Return the doses given, oldest first; `flags` say what was wrong with them."""
    rows = []
    for code in subject.codes:
        judged: Mapping[str, Any] | None = None
        for mention in subject.book.mentions(code):
            fact = mention.fact
            if fact.step is not Step.DISPENSING or not subject.wants(fact):
                continue
            judged = subject.book.judged(code) if judged is None else judged
            rows.append(_injection(subject, code, fact, sorted(judged.get(fact.fact_id, ()))))
    return sorted(rows, key=lambda row: (row["occurred_at"], row["code"], row["fact_id"]))


def _injection(subject: Subject, code: int, fact: Fact, flags: Sequence[str]) -> Row:
    more = fact.more
    return {
        "occurred_at": time_of(fact.t_ms),
        "recipient": fact.recipient,
        "series_dose": more.get("series_dose"),
        "code": subject.texts[code],
        "dose_number": fact.dose_number,
        "lot_id": subject.book.progress(code).lot_id,
        "site_id": fact.site_id,
        "vaccinator": fact.vaccinator,
        "body_site": more.get("body_site", ""),
        "route": more.get("route", ""),
        "dose_ml": more.get("dose_ml"),
        "funding": more.get("funding", ""),
        "flags": list(flags),
        "manual": more.get("manual", False),
        "fact_id": fact.fact_id,
        "recorded_at": time_of(fact.recorded_ms),
        "events": [fact.position],
    }


# ---- cases ----


def exceptions(conn: Connection, subject: Subject, prefix: str) -> list[Row]:
    """Return the cases of the codes asked about, and of the places where places are asked about.

    Those of a region, by the prefix of its code.
    """
    keys = [*subject.codes, *{e.via for _, e in subject.entries()}]
    asked: Row = {"as_of": subject.at, "codes": keys}
    ids = {row[0] for row in conn.execute(queries.cases_of_codes, asked)}
    span = subject.span
    if span is not None:
        sites = None if span.site_ids is None else sorted(span.site_ids)
        asked = {"sites": sites, "since": span.since_ms, "until": span.until_ms}
        asked["as_of"] = subject.at
        of_places = {row[0] for row in conn.execute(queries.cases_of_sites, asked)}
        ids = ids & of_places if subject.only else of_places
    return cases_by_id(conn, sorted(ids), subject.at, prefix)


def cases_by_id(
    conn: Connection, case_ids: Sequence[str], at: int, prefix: str, kind: Kind | None = None
) -> list[Row]:
    """Return cases with what they rest on, oldest first, as known when a position was recorded."""
    seen = Seen(at, recorded_until(conn, at), prefix)
    found = cases(conn, Wanted(case_ids=case_ids, kind=kind), seen, limit=len(case_ids))
    behind = evidence(conn, [case["case_id"] for case in found], seen)
    rows = [_case(conn, case, behind[case["case_id"]], at) for case in found]
    return sorted(rows, key=lambda row: (row["occurred_at"], row["kind"], row["case_id"]))


def _case(conn: Connection, case: Mapping[str, Any], behind: Evidence, at: int) -> Row:
    facts = [fact for fact in behind.facts if fact["position"] <= at]
    closed = [act for act in acts(conn, case["case_id"], at) if act["act"] == "closed"]
    return {
        "case_id": case["case_id"],
        "kind": case["kind"],
        "severity": RULES[Kind(case["kind"])].severity.value,
        "state": case["state"],
        "site_id": case["site_id"],
        "owner": case["owner"],
        "occurred_at": time_of(case["t_ms"]),
        "found_at": time_of(case["opened_ms"]),
        "due_at": time_of(case["due_ms"]),
        "ended_at": None if case["ended_ms"] is None else time_of(case["ended_ms"]),
        "resolution": closed[-1]["resolution"] if closed else "",
        "reason": closed[-1]["reason"] if closed else "",
        "units": case["units"],
        "codes": behind.codes,
        "fact_ids": [fact["fact_id"] for fact in facts],
        "events": [fact["position"] for fact in facts],
    }


def quality(subject: Subject, found: Iterable[Row]) -> list[Row]:
    """Return how well each place reported: how many facts, and what was wrong with them."""
    columns = ("late", "manual", *dict.fromkeys(c for c in _QUALITY.values() if c != "late"))
    rows: dict[str, Row] = {}

    def row_of(site_id: str) -> Row:
        return rows.setdefault(
            site_id, {"site_id": site_id, "facts": 0, **dict.fromkeys(columns, 0), "events": []}
        )

    for fact in subject.facts.values():
        row = row_of(fact.site_id)
        row["facts"] += 1
        row["late"] += fact.recorded_ms - fact.t_ms > LATE_MS
        row["manual"] += bool(fact.more.get("manual"))
        row["events"] = _newest(row, [fact.position])
    for case in found:
        column = _QUALITY.get(Kind(case["kind"]))
        if column not in {None, "late"} and case["state"] != "resolved":
            row_of(case["site_id"])[column] += 1
    return [rows[site_id] for site_id in sorted(rows)]
