"""Units and times as records ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import psycopg
from fastapi import Query
from psycopg.rows import dict_row

from api.asof import Position
from api.auth import Principal
from api.commands import state_of
from api.deps import Deps
from api.records.sheet import Field, Table, Word, columns
from domain.cold_chain.calibration import days_left, renewal_from
from domain.cold_chain.events import UnitRegistered
from domain.cold_chain.model import evolve_unit, unit_stream
from domain.cold_chain.records import SHANGHAI
from domain.cold_chain.spells import Held
from domain.shared.errors import Invalid, NotFound
from projections.shared import org_tree
from projections.shared.calibrations import calibrations
from projections.shared.placements import Limits, ProbeReadings
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("records.sql"))

Connection = psycopg.Connection[Any]

MONTH_PATTERN = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"
MonthAsked = Annotated[str, Query(pattern=MONTH_PATTERN, examples=["2026-03"])]
STATES = {
    "upcoming": Word("upcoming", "未到时间", "upcoming"),
    "due": Word("due", "待签", "due"),
    "late": Word("late", "迟签", "late"),
    "missed": Word("missed", "缺记", "missed"),
    "signed": Word("signed", "已签", "signed"),
}
SEVERITIES = {
    "info": Word("info", "提示", "info"),
    "minor": Word("minor", "一般", "minor"),
    "major": Word("major", "重要", "major"),
    "critical": Word("critical", "紧急", "critical"),
}
SIDES = {"high": Word("high", "高", "high"), "low": Word("low", "低", "low")}


class Month(NamedTuple):
    """A month in China: its days, and its times in UTC up to now."""

    first: date
    last: date
    t0: datetime
    t1: datetime


def month_of(text: str, now: datetime) -> Month:
    """Return a month as far as it has passed; Invalid("month_to_come")."""
    year, number = int(text[:4]), int(text[5:])
    begin = datetime(year, number, 1, tzinfo=SHANGHAI)
    end = (begin + timedelta(days=31)).replace(day=1)
    if begin >= now:
        raise Invalid("month_to_come", field="month", value=text)
    t1 = min(end.astimezone(UTC), now)
    return Month(begin.date(), end.date() - timedelta(days=1), begin.astimezone(UTC), t1)


def unit_of(deps: Deps, who: Principal, unit_id: str) -> UnitRegistered:
    """Return a unit of the caller's region; NotFound("unknown_unit")."""
    unit = state_of(deps.ledger, unit_stream(unit_id), evolve_unit)
    if unit is None or not who.covers(unit.region_code):
        raise NotFound("unknown_unit", unit_id=unit_id)
    return unit


def unit_head(conn: Connection, unit: UnitRegistered, limits: Limits | None) -> list[Field]:
    """Return what a sheet says of its unit."""
    site = org_tree.names(conn, [unit.site_id]).get(unit.site_id)
    return [
        Field("site_id", "单位编号", "site", unit.site_id),
        Field("site", "单位", "site name", Word(unit.site_id, *named(site, unit.site_id))),
        Field("unit_id", "设备编号", "unit", unit.unit_id),
        Field(
            "unit", "设备", "unit name", Word(unit.unit_id, unit.name, unit.name_en or unit.name)
        ),
        Field("limits_c", "温度范围 ℃", "limits °C", list(limits or ())),
    ]


def named(name: org_tree.Name | None, else_id: str) -> tuple[str, str]:
    """Return what a thing is called in both languages."""
    return (name.zh, name.en or name.zh) if name else (else_id, else_id)


def held_of(probe: ProbeReadings) -> Held:
    """Return what a probe's values were, and from when to when each held."""
    return Held(probe.begin_ms, probe.end_ms, probe.held_c)


def certificates(
    conn: Connection, probes: Sequence[tuple[str, str]], at: Position, until: datetime
) -> Table:
    """Return the calibration of probes (device, channel): the certificates in force at a moment."""
    devices = sorted({device_id for device_id, _ in probes})
    known = calibrations(conn, at.ledger, devices).by_probe
    found = []
    for probe in probes:
        of_probe = known.get(probe)
        begun = [each for each in of_probe.certificates if each.since <= until] if of_probe else []
        row: dict[str, Any] = {"probe": "/".join(probe), "state": _NONE}
        if begun:
            last = begun[-1]
            left = days_left(last.valid_until, until)
            soon = until >= renewal_from(last.valid_until)
            row |= {
                "state": _OVER if left < 0 else _RENEW if soon else _VALID,
                "certificate_no": last.certificate_no,
                "laboratory": last.laboratory,
                "calibrated_on": last.calibrated_on,
                "valid_until": last.valid_until,
                "days_left": left,
            }
        found.append(row)
    return Table("calibration", "探头校准", "Calibration of probes", _CERTIFICATES, found)


_VALID = Word("valid", "有效", "valid")
_RENEW = Word("to_renew", "即将到期", "to be renewed")
_OVER = Word("overdue", "已过期", "overdue")
_NONE = Word("none", "无证书", "no certificate")
_CERTIFICATES = columns("""
    probe | 探头 | probe | 2
    state | 状态 | state
    certificate_no | 证书编号 | certificate | 1.6
    laboratory | 校准机构 | laboratory | 2
    calibrated_on | 校准日期 | calibrated
    valid_until | 有效期至 | valid until
    days_left | 剩余天数 | days left
""")


def rows(conn: Connection, query: Any, **asked: object) -> list[dict[str, Any]]:
    """Return the rows of a query by column."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(query, asked).fetchall()


def alerts_of(
    conn: Connection, *, t0: datetime, t1: datetime, unit_ids: Sequence[str], site_id: str = ""
) -> list[dict[str, Any]]:
    """Return the alerts of units in a time, with those of a site, as known at its end."""
    asked = {"t0": t0, "t1": t1, "unit_ids": list(unit_ids), "site_id": site_id}
    return rows(conn, queries.alerts, **asked)
