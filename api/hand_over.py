"""What one shift hands over to the next, over HTTP: as data, and as a note to read out or print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import psycopg
from fastapi import Response

from alerts import messages, people, silences
from api.alert_shown import ON_SITE
from api.auth import Principal, permission
from api.deps import DepsOf
from api.duty import place_of
from api.recipients import Severity
from api.routing import json_answer, module_router
from api.schemas import Body, Moment, NameAsked, RegionAsked
from domain.alerting.model import Status
from domain.alerting.rules import ACKNOWLEDGED_FOR_MIN
from domain.shared.ids import WHOLE_COUNTRY, covers, region_prefix
from domain.shared.roles import Role
from projections import alerting as read
from projections.shared import org_tree

router = module_router("alerting")

# Alerts of one state in a note; whoever has more looks at the list.
ALERTS_MAX = 200
SILENCES_MAX = 200


class May(StrEnum):
    """Permissions of this file."""

    HAND_OVER = "alerting.hand_over"


class OpenAlert(Body):
    """An alert that is handed over. `said`: what it is, Chinese and English.

    `taken_on_by`: the name of who has taken it on, or their key where nobody is known by it, from
    `taken_on_at` until escalation goes on at `taken_on_until`. `closing_by`: who proposed to close
    it; a second person has to.
    """

    alert_id: str
    severity: Severity
    state: str
    said: list[str]
    taken_on_by: str
    taken_on_at: Moment | None
    taken_on_until: Moment | None
    comment: str
    level: int
    escalate_at: Moment | None
    closing_by: str


class OnDuty(Body):
    """Who is on duty now, until when."""

    person_id: str
    name: str
    level: int
    site_id: str
    ends_at: Moment | None


class Silenced(Body):
    """Of what people are not told for a time, why, and who put that down (name or key)."""

    silence_id: str
    site_id: str
    unit_id: str
    kinds: list[str]
    begins_at: Moment
    ends_at: Moment
    reason: str
    made_by: str


class HandOver(Body):
    """What is open and silenced at a place, who is on duty there, and all as a note."""

    at: Moment
    region_code: str
    site_id: str
    on_duty: list[OnDuty]
    alerts: list[OpenAlert]
    silences: list[Silenced]
    note_zh: str
    note_en: str


@router.get("/hand-over", response_model=HandOver)
def read_hand_over(
    *,
    who: Annotated[Principal, permission(May.HAND_OVER, Role.CDC, *ON_SITE)],
    deps: DepsOf,
    site_id: NameAsked = None,
    region: RegionAsked = None,
) -> Response:
    """Return what a shift hands over: open alerts, who has which in hand, who is on duty."""
    region_code, site = place_of(deps, who, site_id=site_id, region=region)
    now = deps.clock.now()
    with deps.pool.connection() as conn:
        rows = _open(conn, region_prefix(region_code), site)
        links = people.chain(conn, region_code=region_code, site_id=site, at=now)
        silent = _silences(conn, region_code, site, now)
        keys = [key for row in rows for key in _keys(row)] + [one.made_by for one in silent]
        names = people.names_of_keys(conn, keys)
        places = org_tree.names(conn, {row.site_id for row in rows} | {site})
        units = org_tree.names(conn, {row.unit_id for row in rows}, "unit")
    here = [link for link in links if link.site_id == site]
    alerts = [_handed(row, names, places, units, now) for row in rows]
    silenced = [
        {**_only(one, Silenced), "made_by": names.get(one.made_by, one.made_by)} for one in silent
    ]
    place = places.get(site) or org_tree.Name(region_code, region_code, region_code)
    notes = [
        "\n".join(
            [
                *_head((place.zh, place.en or place.zh)[language], here, now, language),
                *_alerts(alerts, language),
                *_silenced(silenced, language),
            ]
        )
        for language in (0, 1)
    ]
    told = {
        "at": now,
        "region_code": region_code,
        "site_id": site,
        "on_duty": [_only(link, OnDuty) for link in here],
        "alerts": alerts,
        "silences": silenced,
    }
    return json_answer({**told, "note_zh": notes[0], "note_en": notes[1]})


def _only(row: object, shape: type[Body]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in shape.model_fields}


def _silences(
    conn: psycopg.Connection[Any], region_code: str, site: str, now: datetime
) -> list[silences.Silence]:
    """Return those that are not over, of the place, of what it lies in, and of what lies in it."""
    ask = partial(silences.listed, conn, site_id="", over=False, now=now, after="")
    # Of a province at most so many; those of the whole country have a code of their own.
    found = ask(region=region_code[:2], limit=SILENCES_MAX)
    found += ask(region=WHOLE_COUNTRY, limit=SILENCES_MAX) if region_code != WHOLE_COUNTRY else []
    return [
        one
        for one in found
        if (covers(one.region_code, region_code) and one.site_id in {"", site})
        or (not site and covers(region_code, one.region_code))
    ]


def _open(conn: psycopg.Connection[Any], region: str, site: str) -> list[read.AlertRow]:
    """Return alerts that last, and those over that wait for a second person to close them."""
    ask = partial(read.alerts, conn, region=region, site_id=site or None, limit=ALERTS_MAX)
    rows = [row for state in (Status.FIRING, read.ACKNOWLEDGED) for row in ask(state=state)]
    over = ask(state=Status.RESOLVED, severity="critical")
    return rows + [row for row in over if row.closing_by]


def _keys(row: read.AlertRow) -> tuple[str, str]:
    return row.acknowledged_by, row.closing_by


def _handed(
    row: read.AlertRow,
    names: dict[str, str],
    places: dict[str, org_tree.Name],
    units: dict[str, org_tree.Name],
    now: datetime,
) -> dict[str, Any]:
    taken_on = row.state == read.ACKNOWLEDGED
    minutes = ACKNOWLEDGED_FOR_MIN.get(row.severity)
    until = row.acknowledged_at and minutes and row.acknowledged_at + timedelta(minutes=minutes)
    by, closing = (names.get(key, key) for key in _keys(row))
    return {
        "alert_id": row.alert_id,
        "severity": row.severity,
        "state": row.state,
        "said": [_said(row, places, units, now, locale) for locale in people.LOCALES],
        "taken_on_by": by if taken_on else "",
        "taken_on_at": row.acknowledged_at if taken_on else None,
        "taken_on_until": until if taken_on and until else None,
        "comment": row.comment if taken_on else "",
        "level": row.level,
        "escalate_at": row.escalate_at,
        "closing_by": closing,
    }


def _said(
    row: read.AlertRow,
    places: dict[str, org_tree.Name],
    units: dict[str, org_tree.Name],
    now: datetime,
    locale: str,
) -> str:
    """Return what an alert is in one line, as its messages say it."""
    alert = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(row).items()
    }
    if row.kind == read.TEMPERATURE:
        del alert["subject_kind"]
    found = {"site_id": places.get(row.site_id), "unit_id": units.get(row.unit_id)}
    facts = messages.Facts(
        alert_id=row.alert_id,
        kind="fired",
        level=row.level,
        severity=row.severity,
        at=now,
        alert=alert,
        names={field: (one.zh, one.en or one.zh) for field, one in found.items() if one},
        link="",
        locale=locale,
    )
    return messages.short(facts)


def _head(place: str, here: Sequence[people.Link], now: datetime, language: int) -> list[str]:
    at, nobody = messages.shown(now), ("无", "nobody")[language]
    names = ("、", ", ")[language].join(dict.fromkeys(link.name for link in here)) or nobody
    head = (f"【交接班】{place} {at}（北京时间）", f"[Hand-over] {place} {at} (Beijing time)")
    return [head[language], (f"值班：{names}", f"On duty: {names}")[language]]


def _alerts(alerts: Sequence[dict[str, Any]], language: int) -> list[str]:
    lines = [(f"未结告警：{len(alerts)} 条", f"Open alerts: {len(alerts)}")[language]]
    for number, one in enumerate(alerts, start=1):
        lines += [f"{number}. {one['said'][language]}", "   " + _standing(one, language)]
    return lines


def _silenced(silenced: Sequence[dict[str, Any]], language: int) -> list[str]:
    lines = [(f"静默：{len(silenced)} 项", f"Silences: {len(silenced)}")[language]]
    for one in silenced:
        place = one["unit_id"] or one["site_id"]
        since, until = messages.shown(one["begins_at"]), messages.shown(one["ends_at"])
        by = f"{one['reason']}（{one['made_by']}）" if language == 0 else one["reason"]
        lines.append(
            (f"- {place} {since} 至 {until}：{by}", f"- {place} {since} to {until}: {by}")[language]
        )
    return lines


def _standing(one: dict[str, Any], language: int) -> str:
    """Return who has an alert in hand, since when, until when."""
    if one["closing_by"]:
        by = one["closing_by"]
        return (
            f"{by} 已提议关闭，待第二人确认",
            f"{by} proposed to close it: a second person is due",
        )[language]
    if not one["taken_on_by"]:
        due = messages.shown(one["escalate_at"])
        return (f"尚无人处理，{due} 升级", f"Taken on by nobody; escalates at {due}")[language]
    by, comment = one["taken_on_by"], one["comment"]
    since, until = messages.shown(one["taken_on_at"]), messages.shown(one["taken_on_until"])
    return (
        f"{by} 处理中，自 {since} 至 {until}：{comment}",
        f"{by} is on it since {since} until {until}: {comment}",
    )[language]
