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

from simulators.http import Api, Json
from simulators.people import Mailbox, System
from simulators.wire import Refusal, Tally

CHINA = timezone(timedelta(hours=8))
ALERTS_SHOWN, QUARANTINE_SHOWN = 8, 8
FILE_WIDTH = 150  # characters, when the output is no terminal
STEPS = {
    "commissioning": "赋码 / commissioned",
    "shipping": "发货 / shipped",
    "receiving": "收货 / received",
    "storing": "入库 / put away",
    "dispensing": "接种 / given",
    "wasting": "报废 / wasted",
    "holding": "隔离 / held",
}
KINDS = {
    "fired": "报警 / fired",
    "escalated": "升级 / escalated",
    "acknowledged": "确认 / acknowledged",
    "resolved": "恢复 / resolved",
    "amended": "更正 / amended",
    "withdrawn": "撤销 / withdrawn",
    "closed": "关闭 / closed",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary as JSON, and whether its numbers agree; `path` are the sites shown of the lot."""

    body: Json
    balanced: bool
    path: tuple[str, ...]
    url: str


def gather(
    api: Api,
    tally: Tally,
    *,
    before: Json,
    lot_id: str,
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
    return Summary(body, balanced, path, api.url)


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
    out.print("\n".join(_alert_lines(body["alerts"])), markup=False, soft_wrap=True)
    out.print(_custody(body["custody"], summary.path))
    out.print(_quarantine(body["quarantined"]))
    mails, hooks = body["mails_received"], body["webhooks_received"]
    lines = [
        f"邮件 {mails} 封，webhook {hooks} 次 / {mails} e-mails and {hooks} signed webhook calls",
        "数目相符：发布 − 重复 − 隔离 = 存入 / the numbers agree"
        if summary.balanced
        else "数目不符！ / THE NUMBERS DO NOT AGREE: something was lost or doubled",
        f"接口 / API: {summary.url}/api/v1   说明 / description: {summary.url}/api/v1/openapi.json",
        *_curl_lines(summary),
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


def _alert_lines(alerts: list[Json]) -> list[str]:
    lines = [f"报警 / alerts ({len(alerts)})"]
    for alert in alerts[:ALERTS_SHOWN]:
        lines.append(
            f"  {_local(alert['started_at'])} → {_local(alert['resolved_at'])}  "
            f"{alert['unit_id']}  {alert['rule_id']} [{alert['severity']}]  "
            f"峰值 / peak {alert['peak_c']} ℃"
        )
        lines += [f"      {line}" for line in _told_lines(alert["told"])]
        if alert["comment"]:
            lines.append(f"      {_local(alert['acknowledged_at'])} “{alert['comment']}”")
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


def _custody(custody: Json, path: tuple[str, ...]) -> Table:
    shown = {"", *path}
    hops = [h for h in custody["hops"] if {h["site_id"], h["to_site_id"]} <= shown]
    table = _table(
        f"批次流向 / custody of lot {custody['lot']} ({' → '.join(path)}; "
        f"{len(hops)}/{len(custody['hops'])})",
        "时间 / when", "环节 / step", "地点 / place", "设备、车辆 / unit", "单号 / bill",
        "支 / units", "温度 / temperature",
    )  # fmt: skip
    for hop in hops:
        to_site = f" → {hop['to_site_id']}" if hop["to_site_id"] else ""
        table.add_row(
            _local(hop["first"]),
            STEPS.get(hop["step"], hop["step"]),
            f"{hop['site_id']}{to_site}",
            hop["unit_id"] or "",
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


def _curl_lines(summary: Summary) -> list[str]:
    curl = f'curl -H "Authorization: Bearer $KEY" \'{summary.url}/api/v1'
    lot = summary.body["custody"]["lot"]
    return [
        "试一试（KEY 为密钥） / try (KEY is your key):",
        f"  {curl}/alerts?limit=3'",
        f"  {curl}/lots/{lot}/custody'",
        f"  {curl}/latest?region=640202'",
    ]
