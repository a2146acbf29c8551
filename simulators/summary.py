"""What the demonstration did, in numbers that agree and a page that a person can read.

Published, repeated and refused are the sender's own counts; stored is the instance's. They agree
when published − repeated − refused = stored, and when every refusal is listed in the quarantine.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from rich.console import Console
from rich.table import Table

from simulators.city import City
from simulators.http import Api, Json
from simulators.people import Mailbox, System
from simulators.wire import Refusal, Tally

CHINA = timezone(timedelta(hours=8))
ALERTS_SHOWN, QUARANTINE_SHOWN = 8, 8
FILE_WIDTH = 150  # characters, when the output is no terminal
STEPS = {
    "commissioning": "赋码 / commissioned",
    "shipping": "出库 / shipped",
    "receiving": "入库验收 / received",
    "storing": "上架 / put away",
    "dispensing": "接种 / given",
    "wasting": "报废 / wasted",
    "holding": "封存 / held",
}
KINDS = {
    "fired": "告警 / fired",
    "escalated": "升级 / escalated",
    "acknowledged": "确认 / acknowledged",
    "resolved": "恢复 / resolved",
    "amended": "更正 / amended",
    "withdrawn": "撤销 / withdrawn",
    "closed": "关闭 / closed",
}
NO_DATA = "缺测 / no data"
SEVERITIES = {"info": "提示", "minor": "一般", "major": "重要", "critical": "紧急"}
ENDED = {"dispensing", "wasting", "destroying"}  # no longer kept anywhere
MOVED = {"shipping", "receiving"}  # whoever does this writes a temperature down


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary as JSON, and whether its numbers agree.

    `path`: the sites shown of the lot. `names`: of the city's sites and units, by id.
    """

    body: Json
    balanced: bool
    path: tuple[str, ...]
    names: dict[str, str]

    def named(self, thing_id: str) -> str:
        """Return a site or unit with its name and its id."""
        name = self.names.get(thing_id)
        return f"{name} {thing_id}" if name else thing_id


def gather(
    api: Api,
    tally: Tally,
    *,
    before: Json,
    lot_id: str,
    city: City,
    path: tuple[str, ...],
    system: System,
    mailbox: Mailbox | None,
) -> Summary:
    """Ask the instance what it holds and set it beside what was sent.

    `before` are its counts before the first message. The read models must have followed.
    """
    now = api.get("/statistics")
    stored = {name: now[name] - before[name] for name in ("readings_stored", "scans_stored")}
    listed = {str(item["id"]) for item in api.pages("/quarantine")}
    unlisted = [r.quarantine_id for r in tally.refusals if r.quarantine_id not in listed]
    body: Json = {
        "readings_published": tally.readings,
        "readings_duplicate": tally.readings_repeated,
        "readings_quarantined": tally.readings_refused,
        "readings_stored": stored["readings_stored"],
        "scans_published": tally.scans,
        "scans_duplicate": tally.scans_repeated,
        "scans_quarantined": tally.scans_refused,
        "scans_stored": stored["scans_stored"],
        "messages_published": tally.messages,
        "alerts": [_with_told(api, alert) for alert in api.pages("/alerts")],
        "custody": {"lot": lot_id, "hops": api.get(f"/lots/{lot_id}/custody")["hops"]},
        "quarantined": [_quarantined(refusal) for refusal in tally.refusals],
        "quarantined_unlisted": unlisted,
        "mails_received": len(mailbox.received) if mailbox else 0,
        "webhooks_received": len(system.events),
        "webhooks_wrongly_signed": system.wrongly_signed,
        "api": f"{api.url}/api/v1",
    }
    balanced = not unlisted and all(left(body, what) == 0 for what in ("readings", "scans"))
    names = {site.site_id: site.name for site in city.sites}
    names |= {unit.unit_id: unit.name for unit in city.units}
    return Summary(body, balanced, path, names)


def left(body: Json, what: str) -> int:
    """Return published − repeated − refused − stored: 0 when nothing is lost or doubled."""
    return int(
        body[f"{what}_published"]
        - body[f"{what}_duplicate"]
        - body[f"{what}_quarantined"]
        - body[f"{what}_stored"]
    )


def clock_time(ms: int) -> str:
    """Return a time of day in China with its date."""
    return datetime.fromtimestamp(ms / 1000, CHINA).strftime("%m-%d %H:%M")


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the summary: Chinese first, English beside it."""
    out = console or Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    body = summary.body
    out.print(_counts(body))
    out.print("\n".join(_alert_lines(summary)), markup=False, soft_wrap=True)
    out.print(_custody(summary))
    out.print(_quarantine(body["quarantined"]))
    mails, hooks = body["mails_received"], body["webhooks_received"]
    lines = [
        f"邮件 {mails} 封，webhook {hooks} 次 / {mails} e-mails and {hooks} signed webhook calls",
        "数目相符：发布 − 重复 − 隔离 = 存入 / the numbers agree"
        if summary.balanced
        else "数目不符！ / THE NUMBERS DO NOT AGREE: something was lost or doubled",
    ]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def _with_told(api: Api, alert: Json) -> Json:
    deliveries = api.pages(f"/alerts/{alert['alert_id']}/deliveries")
    names = ("name", "channel", "kind", "level", "state", "attempts", "sent_at")
    return {**alert, "told": [{name: d[name] for name in names} for d in deliveries]}


def _quarantined(refusal: Refusal) -> Json:
    message = refusal.message
    return {
        "id": refusal.quarantine_id,
        "code": refusal.code,
        "detail_zh": refusal.detail_zh,
        "detail_en": refusal.detail_en,
        "topic": message.topic if message else "",
        "readings": message.readings if message else 0,
        "scans": message.scans if message else 0,
    }


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _counts(body: Json) -> Table:
    table = _table("数量 / counts", "", "发布 / published", "重复 / repeated",
                   "隔离 / quarantined", "存入 / stored")  # fmt: skip
    for what, name in (("readings", "读数 / readings"), ("scans", "扫码 / scans")):
        numbers = (body[f"{what}_{n}"] for n in ("published", "duplicate", "quarantined", "stored"))
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def severity(alert: Json) -> str:
    """Return how serious an alert is, in both languages."""
    return f"{SEVERITIES.get(alert['severity'], '')} {alert['severity']}".strip()


def peak(alert: Json) -> str:
    """Return the peak of an alert; empty for one that is of no temperature."""
    return "" if alert["peak_c"] is None else f"峰值 / peak {alert['peak_c']} ℃"


def _alert_lines(summary: Summary) -> list[str]:
    alerts = summary.body["alerts"]
    lines = [f"告警 / alerts ({len(alerts)})"]
    for alert in alerts[:ALERTS_SHOWN]:
        lines.append(
            f"  {_local(alert['started_at'])} → {_local(alert['resolved_at'])}  "
            f"{summary.names.get(alert['site_id'], '')} {summary.named(alert['unit_id'])}  "
            f"{alert['rule_id']} [{severity(alert)}]  {peak(alert)}"
        )
        lines += [f"      {line}" for line in _told_lines(alert["told"])]
        if alert["comment"]:
            who = f"{_local(alert['acknowledged_at'])} {alert['acknowledged_role']}"
            lines.append(f"      {who}: “{alert['comment']}”")
    return lines


def _told_lines(told: list[Json]) -> list[str]:
    """Return one line for each kind of notice: when, what, and all who got it."""
    by_notice: dict[tuple[str, int], list[Json]] = {}
    for delivery in told:
        by_notice.setdefault((delivery["kind"], delivery["level"]), []).append(delivery)
    lines = []
    for (kind, _), deliveries in by_notice.items():
        names = "、".join(d["name"] for d in deliveries if d["state"] == "sent")
        failed = sum(d["state"] != "sent" for d in deliveries)
        note = f"（未送达 / not delivered: {failed}）" if failed else ""
        lines.append(f"{_local(deliveries[0]['sent_at'])} {KINDS.get(kind, kind)}: {names}{note}")
    return lines


def _custody(summary: Summary) -> Table:
    custody = summary.body["custody"]
    shown = {"", *summary.path}
    hops = [h for h in custody["hops"] if {h["site_id"], h["to_site_id"]} <= shown]
    table = _table(
        f"批号 {custody['lot']} 的流向 / custody of this lot: {' → '.join(summary.path)}\n"
        f"（全部 {len(custody['hops'])} 步中此路线的 {len(hops)} 步 / {len(hops)} of its "
        f"{len(custody['hops'])} hops are on this way）",
        "时间 / when", "环节 / step", "站点 / site", "设备、车辆 / unit", "单号 / bill",
        "支 / units", "温度 / temperature",
    )  # fmt: skip
    for hop in hops:
        to_site = f"\n→ {summary.named(hop['to_site_id'])}" if hop["to_site_id"] else ""
        table.add_row(
            _local(hop["first"]),
            STEPS.get(hop["step"], hop["step"]),
            f"{summary.named(hop['site_id'])}{to_site}",
            summary.named(hop["unit_id"] or ""),
            hop["bill_no"] or "",
            str(hop["units"]),
            _temperatures(hop),
        )
    return table


def _temperatures(hop: Json) -> str:
    """Return what was written down at this hop, and what the unit's probes measured in it."""
    parts = []
    if hop["temperature_c"] is not None:
        parts.append(f"{hop['temperature_c']} ℃")
    if hop["transport_c_min"] is not None:
        parts.append(f"途中 / on the way {hop['transport_c_min']} … {hop['transport_c_max']} ℃")
    if measured := hop["temperatures"]:
        parts.append(f"{measured['temperature_c_min']} … {measured['temperature_c_max']} ℃")
        if out_min := measured["above_min"] + measured["below_min"]:
            parts.append(f"超限 / out of range {out_min:.0f} min")
    measured = hop["unit_id"] and hop["step"] not in ENDED
    if not parts and (measured or hop["step"] in MOVED):
        parts.append(NO_DATA)
    return "\n".join(parts)


def _quarantine(refused: list[Json]) -> Table:
    table = _table(f"隔离的消息 / quarantined messages ({len(refused)})", "原因 / reason",
                   "条 / messages", "例 / example")  # fmt: skip
    counts = Counter(item["code"] for item in refused)
    examples: dict[str, Any] = {}
    for item in refused:
        examples.setdefault(item["code"], item)
    for code, count in counts.most_common(QUARANTINE_SHOWN):
        example = examples[code]
        shown = f"{example['detail_zh']} / {example['detail_en']}\n{example['topic']}"
        table.add_row(code, str(count), shown.replace("[", r"\["))
    return table


def _local(text: str | None) -> str:
    if text is None:
        return "—"
    return datetime.fromisoformat(text).astimezone(CHINA).strftime("%m-%d %H:%M")
