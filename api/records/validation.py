"""The report by which a cold store or vehicle is validated: mapping, door and power tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import Query, Response
from pydantic import Field as Checked

from api import asof
from api.asof import AsOf
from api.auth import STAFF, Principal, permission
from api.deps import DepsOf
from api.measurements import span_of
from api.records.daily import May
from api.records.forms import FORMS, AskedOf, SheetOut
from api.records.sheet import Band, Chart, Field, Row, Sheet, Table, Word, columns, lines_of
from api.records.units import Connection, certificates, held_of, unit_head, unit_of
from api.routing import module_router
from api.schemas import NameInPath, TimeAsked, moment_of
from domain.cold_chain.events import UnitRegistered
from domain.cold_chain.spells import gaps, measured_test, spells, spread
from domain.shared.errors import Invalid
from domain.stability.mkt import mean_kinetic_c
from projections.shared.placements import Limits, ProbeReadings, UnitReadings, unit_readings

router = module_router("cold_chain")

SPAN_MAX = timedelta(days=31)
TESTS_MAX = 20

Reader = Annotated[Principal, permission(May.READ, *STAFF)]
Interval = Annotated[
    list[Annotated[str, Checked(max_length=70)]],
    Query(
        max_length=TESTS_MAX,
        examples=[["2026-03-02T08:00:00Z/2026-03-02T08:05:00Z"]],
        description="From when to when, two times with `/` between; as often as there were tests.",
    ),
]


class Test(NamedTuple):
    """A test and its time."""

    kind: Word
    t0: datetime
    t1: datetime


DOOR, POWER = Word("door", "开门", "door open"), Word("power", "断电", "power off")


@router.get("/units/{unit_id}/validation-report", response_model=SheetOut, responses=FORMS)
def read_validation(
    *,
    unit_id: NameInPath,
    who: Reader,
    deps: DepsOf,
    asked: AskedOf,
    since: Annotated[TimeAsked, Query(alias="from")] = None,
    until: Annotated[TimeAsked, Query(alias="to")] = None,
    door: Interval = [],  # noqa: B006  # FastAPI copies it
    power: Interval = [],  # noqa: B006
    as_of: AsOf = None,
) -> Response:
    """Return how evenly a unit kept its temperature in a time, and how it stood its tests.

    `door`: when the door was held open; `power`: when the power was off.
    """
    unit = unit_of(deps, who, unit_id)
    t0, t1 = span_of(deps.clock.now(), since, until, SPAN_MAX)
    tests = sorted(
        [*(_test(DOOR, text, t0, t1) for text in door), *(_test(POWER, x, t0, t1) for x in power)],
        key=lambda test: test.t0,
    )
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, as_of)
        found = unit_readings(conn, unit_id, t0, t1, ledger=at.ledger, telemetry=at.telemetry)
        probes = [(probe.device_id, probe.channel) for probe in found.probes]
        calibrated = certificates(conn, probes, at, t1)
        sheet = _sheet(conn, unit, found, calibrated, t0=t0, t1=t1, tests=tests)
    return asked.answered(sheet, at)


def _test(kind: Word, text: str, t0: datetime, t1: datetime) -> Test:
    """Return a test out of its time; Invalid("bad_test") where it is none, or not in the report."""
    begin, _, end = text.partition("/")
    found = Test(kind, moment_of(begin, kind.code), moment_of(end, kind.code))
    if not t0 <= found.t0 < found.t1 <= t1:
        raise Invalid("bad_test", field=kind.code, value=text)
    return found


def _sheet(
    conn: Connection,
    unit: UnitRegistered,
    found: UnitReadings,
    calibrated: Table,
    *,
    t0: datetime,
    t1: datetime,
    tests: Sequence[Test],
) -> Sheet:
    rows = [figures(probe, found.limits) for probe in found.probes]
    bands = [Band(test.t0, test.t1, test.kind.zh, test.kind.en) for test in tests]
    lines = lines_of(found.probes)
    charts = [Chart("各点温度", "Temperatures by point", t0, t1, lines, found.limits, bands)]
    return Sheet(
        file=f"{unit.unit_id}-validation",
        zh="冷链设备验证报告",
        en="Validation report of cold-chain equipment",
        head=[*unit_head(conn, unit, found.limits), *_head(found, rows, t0, t1)],
        tables=[
            Table("probes", "各点温度", "Points", _PROBES, rows),
            Table("tests", "开门与断电试验", "Door and power tests", _TESTS, _tested(found, tests)),
            calibrated,
            Table("gaps", "无读数时段", "Gaps", _GAPS, gap_rows(found, t0, t1)),
            Table("signatures", "签名", "Signatures", _SIGNATURES, _TO_SIGN),
        ],
        charts=charts if any(line.parts for line in lines) else (),
        notes=[_NOTE],
    )


_PROBES = columns("""
    probe | 测点 | point | 1.8
    readings | 读数 | readings | 0.7
    known_min | 有效分钟 | minutes known | 0.9
    min_c | 最低 ℃ | min °C | 0.7
    max_c | 最高 ℃ | max °C | 0.7
    mean_c | 平均 ℃ | mean °C | 0.7
    mkt_c | MKT ℃ | MKT °C | 0.7
    range_c | 波动 ℃ | range °C | 0.7
    outside_min | 超限分钟 | minutes outside | 0.9
    place | 测点位置 | position | 1.6
""")
_TESTS = columns("""
    kind | 试验 | test
    from | 起 | from | 1.3
    to | 止 | to | 1.3
    minutes | 分钟 | minutes | 0.7
    start_lo_c | 开始最低 ℃ | start min °C | 0.9
    start_hi_c | 开始最高 ℃ | start max °C | 0.9
    lo_c | 最低 ℃ | min °C | 0.7
    hi_c | 最高 ℃ | max °C | 0.7
    held_min | 保持分钟 | held min | 0.9
    recovered_min | 恢复分钟 | recovered min | 0.9
""")
_GAPS = columns("""
    from | 起 | from
    to | 止 | to
    minutes | 分钟 | minutes
""")
_SIGNATURES = columns("""
    role | 职责 | role
    signature | 签名 | signature | 2
    on | 日期 | date
""")
_TO_SIGN = [
    {"role": Word("tested_by", "验证人", "tested by")},
    {"role": Word("checked_by", "审核人", "checked by")},
]
_NOTE = (
    "保持分钟：自试验开始至任一测点超限，未超限为空；恢复分钟：自试验结束至全部测点回到范围内，未见"
    "恢复为空。试验结束后 30 分钟内的变化计入试验。MKT 按活化能 83.144 kJ/mol 计，不能为冻结开脱。",
    "Held: from the begin of a test until the first point left the limits, empty where none did."
    " Recovered: from its end until all points were back, empty where that was not seen. What shows"
    " within 30 minutes of its end belongs to a test. MKT with 83.144 kJ/mol; it never excuses"
    " freezing.",
)


def _head(found: UnitReadings, rows: Sequence[Row], t0: datetime, t1: datetime) -> list[Field]:
    begin, end = (round(t.timestamp() * 1000) for t in (t0, t1))
    apart = spread([held_of(probe) for probe in found.probes], begin, end)
    known = [row for row in rows if row["mean_c"] is not None]
    warmest = max(known, key=lambda row: row["mean_c"], default=None)
    coldest = min(known, key=lambda row: row["mean_c"], default=None)
    return [
        Field("from", "起", "from", t0),
        Field("to", "止", "to", t1),
        Field("hours", "历时小时", "hours", (t1 - t0) / timedelta(hours=1)),
        Field("unknown_min", "缺测分钟", "minutes unknown", found.summary.unknown_min),
        Field("hottest", "最热点", "hottest point", warmest and warmest["probe"]),
        Field("coldest", "最冷点", "coldest point", coldest and coldest["probe"]),
        Field("spread_mean_c", "均匀度（平均）℃", "spread, mean °C", apart and apart[0]),
        Field("spread_max_c", "均匀度（最大）℃", "spread, max °C", apart and apart[1]),
    ]


def figures(probe: ProbeReadings, limits: Limits | None) -> dict[str, Any]:
    """Return the figures of one point; what nobody knows is None."""
    lasted = probe.end_ms - probe.begin_ms
    values = np.concatenate([probe.held_c, probe.celsius])
    row: dict[str, Any] = {
        "probe": f"{probe.device_id}/{probe.channel}",
        "readings": int(probe.ts_ms.size),
        "known_min": float(lasted.sum()) / 60_000,
        "min_c": float(values.min()) if values.size else None,
        "max_c": float(values.max()) if values.size else None,
        "mean_c": float(np.average(probe.held_c, weights=lasted)) if lasted.size else None,
        "mkt_c": mean_kinetic_c(probe.held_c, lasted) if lasted.size else None,
        "range_c": float(values.max() - values.min()) if values.size else None,
        "outside_min": None,
    }
    if limits is not None:
        beyond = spells(held_of(probe), limits)
        row["outside_min"] = sum(spell.end_ms - spell.begin_ms for spell in beyond) / 60_000
    return row


def _tested(found: UnitReadings, tests: Sequence[Test]) -> Sequence[Row]:
    held, limits = [held_of(probe) for probe in found.probes], found.limits
    if limits is None or not held:
        return []
    rows = []
    for test in tests:
        begin, end = (round(t.timestamp() * 1000) for t in (test.t0, test.t1))
        told = measured_test(held, limits, begin, end)
        rows.append(
            {
                "kind": test.kind,
                "from": test.t0,
                "to": test.t1,
                "minutes": (end - begin) / 60_000,
                "start_lo_c": told.start_lo_c,
                "start_hi_c": told.start_hi_c,
                "lo_c": told.lo_c,
                "hi_c": told.hi_c,
                "held_min": told.held_min,
                "recovered_min": told.recovered_min,
            }
        )
    return rows


def gap_rows(found: UnitReadings, t0: datetime, t1: datetime) -> list[Row]:
    """Return the times in which no probe of a unit says anything."""
    begin, end = (round(t.timestamp() * 1000) for t in (t0, t1))
    return [
        {
            "from": datetime.fromtimestamp(first / 1000, t0.tzinfo),
            "to": datetime.fromtimestamp(last / 1000, t0.tzinfo),
            "minutes": (last - first) / 60_000,
        }
        for first, last in gaps([held_of(probe) for probe in found.probes], begin, end)
    ]
