"""The monthly report of a site: how well it kept its temperatures, and what it did when it did not.

Excursions stand there with what people did about them: who took each on and when, what was repaired
meanwhile, what was decided on the goods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, NamedTuple

from fastapi import Response

from alerts.condition_texts import TEXTS
from api import asof
from api.asof import Position
from api.auth import STAFF, Principal, permission
from api.commands import state_of
from api.deps import Deps, DepsOf
from api.records.daily import May, counted_states
from api.records.forms import FORMS, AskedOf, SheetOut
from api.records.sheet import Chart, Field, Row, Sheet, Table, Word, columns, lines_of
from api.records.units import (
    SEVERITIES,
    SIDES,
    Connection,
    Month,
    MonthAsked,
    alerts_of,
    certificates,
    month_of,
    named,
    queries,
    rows,
)
from api.records.validation import figures, gap_rows
from api.routing import module_router
from api.schemas import NameInPath
from domain.alerting.events import AlertAcknowledged
from domain.alerting.model import alert_stream
from domain.registry import model as registry
from domain.shared.errors import NotFound
from projections import alerting_stock as goods
from projections import cold_chain_records as read
from projections.shared import org_tree
from projections.shared.placements import TemperatureSummary, UnitReadings, unit_readings

router = module_router("cold_chain")

# The longest gaps of a month that are told of a unit, and the shortest.
GAPS_TOLD, GAP_MIN = 10, 30.0

Reader = Annotated[Principal, permission(May.READ, *STAFF)]


@router.get("/sites/{site_id}/temperature-report", response_model=SheetOut, responses=FORMS)
def read_report(
    site_id: NameInPath, month: MonthAsked, who: Reader, deps: DepsOf, asked: AskedOf
) -> Response:
    """Return the temperatures of a site in a month, its alerts, its records and its equipment."""
    site = state_of(deps.ledger, registry.site_stream(site_id), registry.evolve_site)
    if site is None or not who.covers(site.region_code):
        raise NotFound("unknown_site")
    of = month_of(month, deps.clock.now())
    with deps.pool.connection() as conn:
        at = asof.resolve(deps, conn, None)
        units = [_unit(conn, row, of, at) for row in rows(conn, queries.units, site_id=site_id)]
        probes = [probe for unit in units for probe in unit.probes]
        calibrated = certificates(conn, probes, at, of.t1)
        sheet = _sheet(deps, conn, site_id, calibrated, text=month, month=of, units=units)
    return asked.answered(sheet, at)


class Unit(NamedTuple):
    """A unit and what its month was; its readings themselves are not kept."""

    kind: str
    word: Word
    summary: TemperatureSummary
    probes: Sequence[tuple[str, str]]  # device, channel
    told: Row
    gaps: Sequence[Row]
    chart: Chart


class Acts(NamedTuple):
    """What people did about alerts: acknowledgements, work on units, decisions on goods."""

    taken_on: Mapping[str, list[tuple[datetime, AlertAcknowledged]]]
    orders: Sequence[Mapping[str, Any]]


def _unit(conn: Connection, row: Mapping[str, Any], month: Month, at: Position) -> Unit:
    word = Word(row["unit_id"], row["name"], row["name_en"] or row["name"])
    found = unit_readings(
        conn, row["unit_id"], month.t0, month.t1, ledger=at.ledger, telemetry=at.telemetry
    )
    chart = Chart(word.zh, word.en, month.t0, month.t1, lines_of(found.probes), found.limits)
    return Unit(
        row["kind"],
        word,
        found.summary,
        [(probe.device_id, probe.channel) for probe in found.probes],
        _unit_row(word, found, month),
        _gaps(word, found, month),
        chart,
    )


def _sheet(
    deps: Deps,
    conn: Connection,
    site_id: str,
    calibrated: Table,
    *,
    text: str,
    month: Month,
    units: Sequence[Unit],
) -> Sheet:
    ids = [unit.word.code for unit in units]
    alerts = alerts_of(conn, t0=month.t0, t1=month.t1, unit_ids=ids, site_id=site_id)
    orders = rows(conn, queries.orders, unit_ids=ids, t0=month.t0, t1=month.t1)
    acts = Acts(_taken_on(deps, alerts), orders)
    words = {unit.word.code: unit.word for unit in units}
    signed = _records(conn, deps, site_id, month, units)
    gaps = [row for unit in units for row in unit.gaps]
    name = named(org_tree.names(conn, [site_id]).get(site_id), site_id)
    return Sheet(
        file=f"{site_id}-{text}",
        zh="冷链温度月度报告",
        en="Monthly cold-chain report of a site",
        head=[
            Field("site_id", "单位编号", "site", site_id),
            Field("site", "单位", "site name", Word(site_id, *name)),
            Field("month", "月份", "month", text),
            Field("from", "起", "from", month.t0),
            Field("to", "止", "to", month.t1),
            *_totals(units, alerts, signed),
        ],
        tables=[
            Table("units", "设备", "Units", _UNITS, [unit.told for unit in units]),
            Table("excursions", "温度异常与处置", "Excursions and what was done", _EXCURSIONS,
                  [_excursion(conn, a, acts, words) for a in alerts if a["kind"] == "temperature"]),
            Table("alerts", "告警", "Alerts by kind", _ALERTS, _by_kind(alerts, acts)),
            Table("records", "温度记录（一日两次）", "Signed records", _RECORDS, signed),
            calibrated,
            Table("gaps", "无读数时段", "Gaps", _GAPS, gaps),
        ],
        charts=[
            unit.chart for unit in units if any(line.parts for line in unit.chart.lines)
        ],
        notes=[_NOTE],
    )  # fmt: skip


_UNITS = columns("""
    unit | 设备 | unit | 2
    limits_c | 范围 ℃ | limits °C
    probes | 探头 | probes | 0.6
    hours | 有记录小时 | hours recorded
    unknown_h | 无记录小时 | hours unknown
    inside_pct | 合格率 % | in range % | 0.8
    min_c | 最低 ℃ | min °C | 0.7
    max_c | 最高 ℃ | max °C | 0.7
    mean_c | 平均 ℃ | mean °C | 0.7
    mkt_c | MKT ℃ | MKT °C | 0.7
    above_min | 超上限分钟 | minutes above | 0.9
    below_min | 低于下限分钟 | minutes below | 0.9
""")
_EXCURSIONS = columns("""
    unit | 设备 | unit | 1.6
    rule | 规则 | rule | 1.2
    severity | 级别 | severity | 0.7
    side | 方向 | side | 0.6
    from | 起 | from | 1.2
    to | 止 | to | 1.2
    peak_c | 极值 ℃ | peak °C | 0.7
    acknowledged_min | 确认用时（分） | min to take on | 0.9
    done | 处置 | what was done | 3
""")
_ALERTS = columns("""
    kind | 类型 | kind | 1.6
    severity | 级别 | severity
    count | 次数 | count
    acknowledged | 已确认 | taken on
    median_min | 确认用时中位数（分） | median min to take on
    max_min | 最长（分） | longest min
    open | 未了结 | open
""")
_RECORDS = columns("""
    unit | 设备 | unit | 2
    due | 应记 | due
    signed | 已签 | signed
    late | 其中迟签 | signed late
    missed | 缺记 | missed
""")
_GAPS = columns("""
    unit | 设备 | unit | 2
    from | 起 | from
    to | 止 | to
    minutes | 分钟 | minutes
""")
_NOTE = (
    "合格率按有读数的时间计；无读数的时间单列，不视为合格。MKT 取各探头中最高者"
    "（活化能 83.144 kJ/mol）。时间为北京时间。",
    "In range: of the time in which readings hold; time without is told apart, and is not in range."
    " MKT: of the warmest probe (83.144 kJ/mol). Times are China Standard Time.",
)
TEMPERATURE = Word("temperature", "温度", "temperature")


def _totals(
    units: Sequence[Unit], alerts: Sequence[Mapping[str, Any]], signed: Sequence[Row]
) -> list[Field]:
    told = [unit.summary for unit in units]
    known = [s for s in told if s.n and s.above_min is not None]
    return [
        Field("units", "设备数", "units", len(units)),
        Field("units_read", "有读数的设备", "units with readings", sum(s.n > 0 for s in told)),
        Field(
            "units_in_range",
            "全月合格的设备",
            "units in range all the time",
            sum(not s.above_min and not s.below_min for s in known),
        ),
        Field("alerts", "告警次数", "alerts", len(alerts)),
        Field("records_missed", "缺记次数", "records missed", sum(r["missed"] for r in signed)),
    ]


def _unit_row(word: Word, read: UnitReadings, month: Month) -> Row:
    told = read.summary
    minutes = (month.t1 - month.t0) / timedelta(minutes=1) - told.unknown_min
    inside = None
    if minutes and told.above_min is not None and told.below_min is not None:
        inside = 100 * max(minutes - told.above_min - told.below_min, 0.0) / minutes
    mkts = [figures(probe, None)["mkt_c"] for probe in read.probes]
    return {
        "unit": word,
        "limits_c": list(read.limits or ()),
        "probes": len(read.probes),
        "hours": minutes / 60,
        "unknown_h": told.unknown_min / 60,
        "inside_pct": inside,
        "min_c": told.temperature_c_min,
        "max_c": told.temperature_c_max,
        "mean_c": told.mean_c,
        "mkt_c": max((mkt for mkt in mkts if mkt is not None), default=None),
        "above_min": told.above_min,
        "below_min": told.below_min,
    }


def _taken_on(
    deps: Deps, alerts: Sequence[Mapping[str, Any]]
) -> dict[str, list[tuple[datetime, AlertAcknowledged]]]:
    """Return who took each alert on and when, oldest first."""
    found: dict[str, list[tuple[datetime, AlertAcknowledged]]] = defaultdict(list)
    streams = deps.ledger.streams([alert_stream(alert["alert_id"]) for alert in alerts])
    for envelopes in streams.values():
        for envelope in envelopes:
            if isinstance(event := envelope.event, AlertAcknowledged):
                found[event.alert_id].append((envelope.meta.recorded_at, event))
    return found


def _minutes_to_take_on(alert: Mapping[str, Any], acts: Acts) -> float | None:
    taken_on = acts.taken_on.get(alert["alert_id"])
    if not taken_on:
        return None
    detected_at: datetime = alert["detected_at"]
    return (taken_on[0][0] - detected_at) / timedelta(minutes=1)


def _excursion(
    conn: Connection, alert: Mapping[str, Any], acts: Acts, words: Mapping[str, Word]
) -> Row:
    ended = alert["recovered_at"] or alert["resolved_at"]
    done = [
        f"{each.actor_role} {each.comment}" for _, each in acts.taken_on.get(alert["alert_id"], ())
    ]
    done += [
        f"{order['order_id']} {order['task']} {order['result']}".rstrip()
        for order in acts.orders
        if order["unit_id"] == alert["unit_id"]
        and alert["started_at"] <= order["opened_at"]
        and (ended is None or order["opened_at"] <= ended + timedelta(hours=24))
    ]
    done += [
        f"{each.decision} {each.units}: {each.grounds}"
        for each in goods.assessments(conn, alert["alert_id"])
    ]
    return {
        "alert_id": alert["alert_id"],
        "unit": words.get(alert["unit_id"], alert["unit_id"]),
        "rule": alert["rule_id"],
        "severity": SEVERITIES[alert["severity"]],
        "side": SIDES.get(alert["side"]),
        "from": alert["started_at"],
        "to": ended,
        "peak_c": alert["peak_c"],
        "acknowledged_min": _minutes_to_take_on(alert, acts),
        "done": done,
    }


def _by_kind(alerts: Sequence[Mapping[str, Any]], acts: Acts) -> Sequence[Row]:
    of_kind: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for alert in alerts:
        of_kind[alert["kind"], alert["severity"]].append(alert)
    found = []
    for (kind, severity), of in sorted(of_kind.items()):
        minutes = [m for alert in of if (m := _minutes_to_take_on(alert, acts)) is not None]
        words = TEXTS[kind][0] if kind in TEXTS else (kind, kind)
        found.append(
            {
                "kind": TEMPERATURE if kind == TEMPERATURE.code else Word(kind, *words),
                "severity": SEVERITIES[severity],
                "count": len(of),
                "acknowledged": len(minutes),
                "median_min": median(minutes) if minutes else None,
                "max_min": max(minutes, default=None),
                "open": sum(alert["resolved_at"] is None for alert in of),
            }
        )
    return found


def _records(
    conn: Connection, deps: Deps, site_id: str, month: Month, units: Sequence[Unit]
) -> Sequence[Row]:
    since = read.keeping(conn).get(site_id)
    known = read.records(conn, site_id=site_id, first=month.first, last=month.last)
    found = []
    for unit in units:
        own = {(each.day, each.half): each for each in known if each.unit_id == unit.word.code}
        states = [
            state.value
            for state in counted_states(
                unit.kind,
                month.first,
                month.last,
                signed=own,
                since=since,
                now=deps.clock.now(),
            )
        ]
        over = [state for state in states if state != "upcoming"]
        if over:
            found.append(
                {
                    "unit": unit.word,
                    "due": len(over),
                    "signed": states.count("signed"),
                    "late": sum(each.late for each in own.values()),
                    "missed": states.count("missed"),
                }
            )
    return found


def _gaps(word: Word, read: UnitReadings, month: Month) -> Sequence[Row]:
    """Return the longest times without readings of a unit that has any."""
    if not read.summary.n:
        return []
    found = [
        {"unit": word, **row}
        for row in gap_rows(read, month.t0, month.t1)
        if row["minutes"] >= GAP_MIN
    ]
    return sorted(found, key=lambda row: -row["minutes"])[:GAPS_TOLD]
