"""The record of temperatures of a shipment: from its departure to its arrival, by what rode along.

Times, goods and people are those of custody; temperatures those of the probes in the vehicle or box
that the bill names, with what was told by hand beside them, and what a logger's file says apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
from fastapi import Path, Query, Response

from api import asof
from api.asof import AsOf, Position
from api.auth import STAFF, Principal, permission
from api.custody_scope import CLINICAL, in_region, touches
from api.deps import Deps, DepsOf
from api.logger_files import Series, series_in
from api.oversight import report
from api.oversight import subject as of
from api.oversight.answers import warmth_at
from api.records.daily import May
from api.records.forms import FORMS, AskedOf, SheetOut
from api.records.sheet import Chart, Field, Line, Row, Sheet, Table, Word, columns, lines_of
from api.records.units import SIDES, Connection, held_of, named
from api.routing import module_router
from api.schemas import NameAsked
from domain.cold_chain.spells import Held, spells, values_at
from domain.shared.errors import Invalid, NotFound
from domain.traceability.facts import Fact, Step
from domain.traceability.hops import hops_of
from projections import cold_chain_records as read
from projections.shared import org_tree
from projections.shared.placements import UnitReadings, unit_readings
from projections.traceability.views import time_of

router = module_router("cold_chain")

# A shipment that nothing arrived of is followed for so long at most.
FOLLOWED_FOR = timedelta(days=31)
EVERY_MIN = 30
# Rows of temperatures on the way; a longer way has wider steps.
ROWS_MAX = 400

Reader = Annotated[Principal, permission(May.READ, *STAFF)]


@router.get(
    "/shipments/{bill_no:path}/temperature-record", response_model=SheetOut, responses=FORMS
)
def read_shipment(
    *,
    bill_no: Annotated[str, Path(min_length=1, max_length=200, examples=["B1"])],
    who: Reader,
    deps: DepsOf,
    asked: AskedOf,
    from_site_id: NameAsked = None,
    to_site_id: NameAsked = None,
    every_min: Annotated[int, Query(ge=1, le=360)] = EVERY_MIN,
    as_of: AsOf = None,
) -> Response:
    """Return the temperatures of a shipment, by the number of its bill.

    Where several were sent on one bill, `from_site_id` and `to_site_id` say which.
    """
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        told = _told(conn, bill_no, at, who, {"from": from_site_id, "to": to_site_id})
        sheet = _sheet(deps, conn, told, at, every_min)
    return asked.answered(sheet, at)


@dataclass(frozen=True, slots=True)
class Told:
    """What custody says of one shipment; `t1` None: nothing of it has arrived."""

    bill_no: str
    hop: Row
    sent: Sequence[Fact]
    received: Sequence[Fact]
    goods: Sequence[Row]
    sites: dict[str, org_tree.Name]
    unit: org_tree.Name | None

    @property
    def t0(self) -> datetime:
        """When it left; where nobody said that, when it arrived."""
        found: datetime = self.hop["departed_at"] or self.hop["arrived_at"]
        return found

    @property
    def t1(self) -> datetime | None:
        """When it arrived."""
        found: datetime | None = self.hop["arrived_at"]
        return found


def _told(
    conn: Connection, bill_no: str, at: Position, who: Principal, asked: dict[str, str | None]
) -> Told:
    """Return a shipment that the caller may see; NotFound("unknown_bill").

    Invalid("several_shipments") where the bill is of several and nothing says which is meant.
    """
    subject = of.of_bill(conn, bill_no, at.ledger)
    hops = [hop for hop in hops_of(subject.book, subject.codes) if hop.bill_no == bill_no]
    rows = report.chain(subject, hops, warmth_at(conn, at))
    sites = org_tree.names(
        conn, {row[name] for row in rows for name in ("from_site_id", "to_site_id", "site_id")}
    )
    found = [
        row
        for row in rows
        if row["step"] in {"shipping", "returning", "receiving"}
        and touches(who, sites, row)
        and all(asked[end] in {None, row[f"{end}_site_id"]} for end in asked)
    ]
    if not found:
        raise NotFound("unknown_bill", bill_no=bill_no)
    if len(found) > 1:
        ends = [f"{row['from_site_id']}→{row['to_site_id']}" for row in found]
        raise Invalid("several_shipments", field="from_site_id", shipments=ends)
    hop = dict(found[0])
    for end, person in (("from_site_id", "handed_over_by"), ("to_site_id", "taken_over_by")):
        if not (who.role in CLINICAL and in_region(who, sites, hop[end])):
            hop[person] = ""
    facts = [subject.facts[fact_id] for fact_id in hop["fact_ids"] if fact_id in subject.facts]
    units = org_tree.names(conn, {hop["vehicle_id"]}, "unit")
    received = [fact for fact in facts if fact.step is Step.RECEIVING]
    return Told(
        bill_no,
        hop,
        [fact for fact in facts if fact.step is not Step.RECEIVING],
        received,
        _goods(subject, {fact.fact_id for fact in facts}, {fact.fact_id for fact in received}),
        sites,
        units.get(hop["vehicle_id"]),
    )


def _goods(subject: of.Subject, facts: set[str], received: set[str]) -> list[Row]:
    """Return the lots of a shipment with their smallest packs: on it, and arrived."""
    on_it: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    book = subject.book
    for code in subject.codes:
        if book.levels[code] == 1 and not book.contents.get(code):
            met = {entry.fact.fact_id for entry in book.chain(code)}
            lot_id = book.progress(code).lot_id
            on_it[lot_id] += not met.isdisjoint(facts)
            arrived[lot_id] += not met.isdisjoint(received)
    known = {lot["lot_id"]: lot for lot in report.head(subject)["lots"]}
    return [
        {
            **{name: known.get(lot_id, {}).get(name) for name in _LOT},
            "lot_id": lot_id,
            "units": count,
            "arrived": arrived[lot_id],
        }
        for lot_id, count in sorted(on_it.items())
        if count
    ]


def _sheet(deps: Deps, conn: Connection, told: Told, at: Position, every_min: int) -> Sheet:
    now = deps.clock.now()
    t0 = told.t0
    t1 = told.t1 or min(max(now, t0 + timedelta(minutes=1)), t0 + FOLLOWED_FOR)
    t1 = max(t1, t0 + timedelta(minutes=1))
    unit_id = told.hop["vehicle_id"]
    found = unit_readings(conn, unit_id, t0, t1, ledger=at.ledger, telemetry=at.telemetry)
    filed = read.files_in(conn, t0, t1, unit_id=unit_id, bill_no=told.bill_no)
    files = series_in(deps, filed, t0, t1)
    lines = [*lines_of(found.probes), *(_line(file) for file in files)]
    charts = [Chart("途中温度", "Temperatures on the way", t0, t1, lines, found.limits)]
    return Sheet(
        file=told.bill_no,
        zh="疫苗运输温度记录表",
        en="Temperature record of a shipment",
        head=_head(told, found, t0, t1),
        tables=[
            Table("goods", "运输疫苗", "Vaccines", _GOODS, told.goods),
            _ends(told, found, t0, t1),
            _way(found, t0, t1, every_min),
            _excursions(found),
            _files(files, found),
            Table("signatures", "交接签名", "Signatures", _SIGNATURES, _signed(told)),
        ],
        charts=charts if any(line.parts for line in lines) else (),
        notes=[_NOTE],
    )


_LOT = ("product", "product_en", "holder", "specification", "lot_number", "expires_on")
_GOODS = columns("""
    product | 疫苗名称 | vaccine | 2
    holder | 上市许可持有人 | holder | 2
    specification | 规格 | specification
    lot_number | 批号 | lot | 1.2
    expires_on | 有效期至 | expires
    units | 数量（支） | units | 0.8
    arrived | 到货（支） | arrived | 0.8
""")
_ENDS = columns("""
    moment | 时点 | moment
    at | 时间 | time | 1.4
    told_c | 填报温度 ℃ | told °C
    read_c | 探头温度 ℃ | probes °C | 1.6
    ambient_c | 环境温度 ℃ | ambient °C
""")
_SIGNATURES = columns("""
    role | 环节 | role
    site | 单位 | site | 2
    person | 经手人 | person
    signature | 签名 | signature | 2
""")
_EXCURSIONS = columns("""
    probe | 探头 | probe | 1.6
    side | 方向 | side | 0.6
    from | 起 | from | 1.3
    to | 止 | to | 1.3
    minutes | 分钟 | minutes | 0.8
    peak_c | 极值 ℃ | peak °C | 0.8
""")
_FILES = columns("""
    kind | 类型 | kind
    serial | 序列号 | serial | 1.4
    readings | 读数 | readings | 0.7
    min_c | 最低 ℃ | min °C | 0.7
    max_c | 最高 ℃ | max °C | 0.7
    outside_min | 超限分钟 | minutes outside | 0.9
    sha256 | 文件 SHA-256 | SHA-256 of the file | 4
""")
_NOTE = (
    "探头温度为在线读数；记录仪文件为另存的证据，不并入在线数据。缺测时间内温度未知。时间为北京时间。"
    "栏目依据《疫苗储存和运输管理规范（2017 年版）》。",
    "Probes are on-line readings; files of loggers are evidence apart and no part of them. In"
    " unknown time no temperature is known. Times are China Standard Time.",
)
_WAYS = {
    "shipping": Word("shipping", "发货", "shipped"),
    "returning": Word("returning", "退货", "returned"),
    "receiving": Word("receiving", "收货", "received"),
}


def _head(told: Told, found: UnitReadings, t0: datetime, t1: datetime) -> list[Field]:
    hop, summary = told.hop, found.summary
    outside = None
    if summary.above_min is not None and summary.below_min is not None:
        outside = summary.above_min + summary.below_min
    ends = {name: hop[f"{name}_site_id"] for name in ("from", "to")}
    sites = {name: Word(key, *named(told.sites.get(key), key)) for name, key in ends.items()}
    vehicle = Word(hop["vehicle_id"], *named(told.unit, hop["vehicle_id"]))
    return [
        Field("bill_no", "单号", "bill", told.bill_no),
        Field("step", "类型", "kind", _WAYS[hop["step"]]),
        Field("from_site_id", "发货单位", "from", sites["from"]),
        Field("to_site_id", "收货单位", "to", sites["to"]),
        Field("vehicle_id", "运输工具", "vehicle or box", vehicle),
        Field("carrier", "配送单位", "carrier", hop["carrier"]),
        Field("departed_at", "启运时间", "departed", t0),
        Field("arrived_at", "到达时间", "arrived", told.t1),
        Field("minutes", "历时分钟", "minutes", (t1 - t0) / timedelta(minutes=1)),
        Field("limits_c", "温度范围 ℃", "limits °C", list(found.limits or ())),
        Field("min_c", "途中最低 ℃", "min °C", summary.temperature_c_min),
        Field("max_c", "途中最高 ℃", "max °C", summary.temperature_c_max),
        Field("mean_c", "途中平均 ℃", "mean °C", summary.mean_c),
        Field("outside_min", "超限分钟", "minutes outside", outside),
        Field("unknown_min", "缺测分钟", "minutes unknown", summary.unknown_min),
        Field("told_min_c", "填报最低 ℃", "told min °C", hop["transport_c_min"]),
        Field("told_max_c", "填报最高 ℃", "told max °C", hop["transport_c_max"]),
        Field("accepted", "验收合格", "accepted", hop["accepted"]),
    ]


def _ends(told: Told, found: UnitReadings, t0: datetime, t1: datetime) -> Table:
    """Return the temperatures at departure and arrival, as told and as read."""
    last = t1 - timedelta(milliseconds=1)
    rows = [
        {
            "moment": Word("departure", "启运", "departure"),
            "at": t0,
            "told_c": told.hop["departed_c"],
            "read_c": _at(found, t0),
            "ambient_c": _ambient(told.sent),
        },
        {
            "moment": Word("arrival", "到达", "arrival"),
            "at": told.t1,
            "told_c": told.hop["arrived_c"],
            "read_c": _at(found, last) if told.t1 else [],
            "ambient_c": _ambient(told.received),
        },
    ]
    return Table("ends", "启运与到达", "Departure and arrival", _ENDS, rows)


def _ambient(facts: Iterable[Fact]) -> float | None:
    return next((c for fact in facts if (c := fact.more.get("ambient_c")) is not None), None)


def _at(found: UnitReadings, moment: datetime) -> list[float]:
    grid = np.array([round(moment.timestamp() * 1000)])
    told = (float(values_at(held_of(probe), grid)[0]) for probe in found.probes)
    return [value for value in told if not np.isnan(value)]


def _way(found: UnitReadings, t0: datetime, t1: datetime, every_min: int) -> Table:
    """Return what each probe read on the way, every so many minutes."""
    step = max(every_min, -(-((t1 - t0) // timedelta(minutes=1)) // ROWS_MAX))
    first, last = (round(t.timestamp() * 1000) for t in (t0, t1))
    grid = np.arange(first, last, step * 60_000)
    names = [f"{probe.device_id}/{probe.channel}" for probe in found.probes]
    told = [values_at(held_of(probe), grid).tolist() for probe in found.probes]
    rows = [
        {
            "at": time_of(at),
            **{
                name: None if np.isnan(column[n]) else column[n]
                for name, column in zip(names, told, strict=True)
            },
        }
        for n, at in enumerate(grid.tolist())
    ]
    shown = [f"{name} | {name} ℃ | {name} °C" for name in names]
    title = f"途中记录（每 {step} 分钟）", f"On the way, every {step} min"
    return Table("way", *title, columns("\n".join(["at | 时间 | time", *shown])), rows)


def _excursions(found: UnitReadings) -> Table:
    rows = [
        {
            "probe": f"{probe.device_id}/{probe.channel}",
            "side": SIDES[spell.side],
            "from": time_of(spell.begin_ms),
            "to": time_of(spell.end_ms),
            "minutes": (spell.end_ms - spell.begin_ms) / 60_000,
            "peak_c": spell.peak_c,
        }
        for probe in found.probes
        for spell in (spells(held_of(probe), found.limits) if found.limits else ())
    ]
    return Table("excursions", "超温时段", "Excursions", _EXCURSIONS, rows)


def _files(files: Sequence[Series], found: UnitReadings) -> Table:
    rows = []
    for file in files:
        known = ~np.isnan(file.celsius)
        ts_ms, celsius = file.ts_ms[known], file.celsius[known]
        outside = None
        if found.limits and ts_ms.size > 1:
            ends = np.minimum(ts_ms[1:], ts_ms[:-1] + file.hold_ms)
            held = Held(ts_ms[:-1], ends, celsius[:-1])
            outside = sum(
                (spell.end_ms - spell.begin_ms) / 60_000 for spell in spells(held, found.limits)
            )
        rows.append(
            {
                "kind": file.kind,
                "serial": file.serial,
                "readings": int(ts_ms.size),
                "min_c": float(celsius.min()) if celsius.size else None,
                "max_c": float(celsius.max()) if celsius.size else None,
                "outside_min": outside,
                "sha256": file.sha256,
            }
        )
    return Table("files", "随货记录仪文件（证据）", "Files of loggers (evidence)", _FILES, rows)


def _line(file: Series) -> Line:
    known = ~np.isnan(file.celsius)
    name = f"{file.kind} {file.serial}"
    return Line.of(name, file.ts_ms[known], file.celsius[known], file.hold_ms, apart=True)


def _signed(told: Told) -> list[Row]:
    hop = told.hop
    ends = (
        (Word("sender", "发货", "sender"), "from_site_id", "handed_over_by"),
        (Word("receiver", "收货", "receiver"), "to_site_id", "taken_over_by"),
    )
    return [
        {
            "role": role,
            "site": Word(hop[site], *named(told.sites.get(hop[site]), hop[site])),
            "person": hop[person],
        }
        for role, site, person in ends
    ]
