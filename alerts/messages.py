"""The words of an alert: Chinese first, English second, from what is known at the moment.

A message names place, equipment, value, limit, since when, duration, level, one thing to do, the
alert's number and a link. Times are shown in Asia/Shanghai (no summer time since 1991).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from alerts import condition_texts, exposure_texts, people_texts, stock_texts

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
# One part of a Chinese short message; the subject line keeps to it.
SHORT_MAX = 70

SEVERITY = {
    "info": ("提示", "info"),
    "minor": ("一般", "minor"),
    "major": ("重要", "major"),
    "critical": ("紧急", "critical"),
}
WHAT = {
    "fired": ("温度告警", "Temperature alert"),
    "escalated": ("告警升级", "Alert escalated"),
    "amended": ("告警更正", "Alert corrected"),
    "resolved": ("已恢复", "Back to normal"),
    "withdrawn": ("告警撤销", "Alert withdrawn"),
    "closed": ("未核实关闭", "Closed unverified"),
    "acknowledged": ("已有人处理", "Alert taken on"),
    "aefi_cluster": ("疑似预防接种异常反应聚集", "Cluster of adverse events"),
    "recalled": ("疫苗召回", "Vaccine recall"),
    "observation_overdue": ("留观超时未结束", "Observation overdue"),
    "stock": ("涉及疫苗", "Vaccine affected"),
    "stock_here": ("贵处疫苗受影响", "Vaccine with you affected"),
    "exposure_revised": ("温度经历更正", "Thermal history corrected"),
    "trial_call": ("告警通知演练", "Test of how people are reached"),
    "understaffed": ("告警接收人不足", "Too few people to alert"),
    "suppressed": ("暂停通知", "Suppressed"),
    "resumed": ("暂停通知已结束，仍未恢复", "No longer suppressed, and still on"),
}
SIDE = {"high": ("高于", "above"), "low": ("低于", "below")}
TO_DO = {
    **people_texts.TO_DO,
    "high": (
        "请立即查看设备、电源和门，必要时将疫苗转移到备用设备。",
        "Check the equipment, its power and its door now; move the vaccine if needed.",
    ),
    "low": (
        "请立即查看设备，疑似受冻的疫苗先封存，不得使用。",
        "Check the equipment now; set aside vaccine that may have frozen and do not use it.",
    ),
    "amended": (
        "补传数据更正了时间或极值，请以本条为准。",
        "Late data corrected the times or the peak: go by this message.",
    ),
    "amended_again": (
        "探头位置或规则有更正，时间或极值随之更正，请以本条为准。",
        "A probe's place or a rule was corrected, and the times or the peak with it: go by this.",
    ),
    "resolved": (
        "请核对期间存放的疫苗后再使用。",
        "Check the vaccine that was inside before it is used.",
    ),
    "condition_over": (
        "设备已恢复：请核对期间的温度记录后再使用疫苗。",
        "It is over: check the temperatures of that time before the vaccine is used.",
    ),
    "withdrawn": (
        "补传数据表明并未超温，先前的通知作废，无需处理。",
        "Late data show that there was no excursion: nothing is to be done.",
    ),
    "withdrawn_again": (
        "探头位置或规则更正后并无超温，先前的通知作废，无需处理。",
        "A probe's place or a rule was corrected: there was no excursion, nothing is to be done.",
    ),
    "withdrawn_held": (
        "更正后并无超温；已封存的疫苗不会自动解除，请评估后解除。",
        "It turned out that there was no excursion; what is on hold waits for its assessment.",
    ),
    "stock": (
        "请将所列疫苗单独存放、不得使用，按规定评估。",
        "Set this vaccine apart, do not use it, and have it assessed.",
    ),
    "stock_here": (
        "这些疫苗曾存放的设备温度异常：请单独存放、不得使用，按规定评估。",
        "Equipment where this vaccine was left its limits: set it apart, and have it assessed.",
    ),
    "exposure_revised": (
        "请将这些疫苗单独存放、不得使用，按规定评估。",
        "Set these packs apart, do not use them, and have them assessed.",
    ),
    "closed": (
        "探头已移走或规则已停用，未见恢复：请现场核对疫苗。",
        "The probe or the rule is gone and no recovery was seen: check the vaccine on site.",
    ),
    "aefi_cluster": (
        "请立即调查，必要时先暂停使用该批次。",
        "Investigate now; stop using the lot for the time being where needed.",
    ),
    "recalled": (
        "请立即停止使用并封存该批次，随后确认已知悉召回。",
        "Stop using this lot now, set it aside, and acknowledge the recall.",
    ),
    "observation_overdue": (
        "请立即查看受种者是否仍在、有无异常反应，并登记留观结束。",
        "See at once whether these people are well, and record the end of their observation.",
    ),
    "acknowledged": (
        "无需重复处理，请留意后续通知。",
        "Somebody is on it: watch for what follows.",
    ),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message tells. Temperatures in °C.

    `names`: of site and unit by field of the alert, (zh, en). `link`: empty where no public address
    is set. `locale`: zh or en where the reader's is known.
    """

    alert_id: str
    kind: str
    level: int
    severity: str
    at: datetime
    alert: Mapping[str, Any]
    names: Mapping[str, tuple[str, str]]
    link: str
    locale: str = ""

    def name(self, field: str, language: int) -> str:
        """Return the name of the site or unit in this alert, its id when it has none."""
        known = str(self.alert.get(field, "-"))
        return " ".join(self.names.get(field, (known, known))[language].split())

    def moment(self, field: str) -> datetime | None:
        """Return a time of the alert, None when it is not known."""
        value = self.alert.get(field)
        return datetime.fromisoformat(value).astimezone(UTC) if value else None

    @property
    def number(self) -> str:
        """Return the short number people say to each other."""
        return self.alert_id[:8].upper()

    @property
    def minutes(self) -> int:
        """Return how many whole minutes it has lasted, or had lasted when it recovered."""
        started = self.moment("started_at") or self.at
        ended = self.moment("recovered_at") or self.moment("closed_at") or self.at
        return max(0, int((ended - started).total_seconds() // 60))


def shown(moment: datetime | None) -> str:
    """Return a time as people in China read it, to the minute."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M") if moment else "-"


def degrees(value: object) -> str:
    """Return a temperature with one decimal, "-" when unknown."""
    return f"{value:.1f}" if isinstance(value, int | float) else "-"


def short(facts: Facts) -> str:
    """Return one line; in Chinese of at most 70 characters (one part of a short message)."""
    if facts.locale == "en":
        return " · ".join([*_lines(facts, 1)[:3], facts.number])
    if facts.kind in people_texts.TO_DO:
        before = f"【{_severity(facts, 0)}】{_what(facts, 0)} "
        after = f" {people_texts.brief(facts.kind, facts.alert)} {facts.number}"
        return before + fitting(_scope(facts, 0), before, after) + after
    if facts.kind == "recalled":
        return _of_lot(facts, f"{facts.alert['units']}支")
    if facts.kind == "exposure_revised":
        before = f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)} "
        after = f" {exposure_texts.brief(facts.alert)} {facts.number}"
        return before + fitting(facts.name("site_id", 0), before, after) + after
    if facts.kind == "observation_overdue":
        before = f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)} "
        after = f" {facts.alert['people']}人 {facts.number}"
        return before + fitting(facts.name("site_id", 0), before, after) + after
    if "cases" in facts.alert:
        return _of_lot(facts, f"{facts.alert['cases']}例")
    started = facts.moment("started_at")
    since = started.astimezone(SHANGHAI).strftime("%m-%d %H:%M起") if started else ""
    if "subject_kind" in facts.alert:
        return _short_condition(facts, since)
    side = SIDE.get(str(facts.alert.get("side")), ("", ""))[0]
    value = degrees(facts.alert.get("peak_c"))
    limit = degrees(facts.alert.get("limit_c"))
    before = f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)} "
    goods = stock_texts.brief(facts.alert)
    after = f" {value}℃{side}{limit}℃ {since}{goods} {facts.number}"
    place = facts.name("site_id", 0) + facts.name("unit_id", 0)
    return before + fitting(place, before, after) + after


def _of_lot(facts: Facts, count: str) -> str:
    before = f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)} "
    after = f" {count} {facts.number}"
    return before + fitting(f"批次{facts.alert['lot_id']}", before, after) + after


def _short_condition(facts: Facts, since: str) -> str:
    what = condition_texts.what(facts.alert, 0)
    before = f"【{SEVERITY[facts.severity][0]}】{what} "
    if facts.kind != "fired":
        before = f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)}：{what} "
    figures = condition_texts.figures(facts.alert, 0)
    place = facts.name("site_id", 0)
    place += facts.name("unit_id", 0) if facts.alert["unit_id"] else ""
    after = f" {since} {facts.number}"
    return before + fitting(f"{place} {figures}".rstrip(), before, after) + after


def fitting(place: str, before: str, after: str) -> str:
    """Return as much of a place's name as one line has room for."""
    room = SHORT_MAX - len(before) - len(after)
    return place if len(place) <= room else place[: max(room - 1, 0)] + "…"


def long(facts: Facts) -> str:
    """Return the whole message in both languages, the reader's own first."""
    first = int(facts.locale == "en")
    return "\n".join([*_lines(facts, first), "", "----", "", *_lines(facts, 1 - first), ""])


def _severity(facts: Facts, language: int) -> str:
    """Return how grave it is; a trial is no alert of any severity."""
    if facts.kind == "trial_call":
        return people_texts.TRIAL[language]
    return SEVERITY[facts.severity][language]


def _scope(facts: Facts, language: int) -> str:
    """Return the name of the site, the code of the region where it is of no one site."""
    if facts.alert.get("site_id"):
        return facts.name("site_id", language)
    return str(facts.alert["region_code"])


def _what(facts: Facts, language: int) -> str:
    what = WHAT[facts.kind][language]
    if facts.kind != "escalated":
        return what
    return f"{what}（第{facts.level}级）" if language == 0 else f"{what} (level {facts.level})"


def _to_do(facts: Facts, language: int) -> str:
    if "subject_kind" in facts.alert and facts.kind not in {"acknowledged", "closed"}:
        if facts.kind == "resolved":
            return TO_DO["condition_over"][language]
        return condition_texts.to_do(facts.alert, language)
    if facts.kind == "withdrawn" and (facts.alert.get("stock") or {}).get("held"):
        return TO_DO["withdrawn_held"][language]
    if facts.kind in {"amended", "withdrawn"} and facts.alert.get("cause") == "reassessed":
        return TO_DO[f"{facts.kind}_again"][language]
    known = TO_DO.get(facts.kind) or TO_DO[str(facts.alert.get("side", "high"))]
    return known[language]


def _people(facts: Facts, language: int) -> list[str]:
    """Return what is told about the people who are told."""
    head = ("【{}】{}", "[{}] {}")[language]
    since = shown(facts.moment("started_at"))
    return [
        head.format(_severity(facts, language), _what(facts, language)),
        *people_texts.lines(facts.kind, facts.alert, _scope(facts, language), since, language),
    ]


def _cluster(facts: Facts, language: int) -> list[str]:
    """Return what a cluster of adverse events is: a lot, how many cases, in which time."""
    alert, since = facts.alert, shown(facts.moment("started_at"))
    cases, serious, lot = alert["cases"], alert["serious"], alert["lot_id"]
    if language == 0:
        return [
            f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)}",
            f"批次：{lot}",
            f"病例：{cases} 例（严重 {serious} 例），自 {since}（北京时间）起 {alert['days']} 天内",
            f"规则：{alert['window_days']} 天内 {alert['limit']} 例",
        ]
    return [
        f"[{SEVERITY[facts.severity][1]}] {_what(facts, 1)}",
        f"Lot: {lot}",
        f"Cases: {cases}, {serious} serious, within {alert['days']} days since {since} (Beijing)",
        f"Rule: {alert['limit']} cases in {alert['window_days']} days",
    ]


def _recall(facts: Facts, language: int) -> list[str]:
    """Return what a recall is for one holder: the lot, how many units it holds, why."""
    alert, since = facts.alert, shown(facts.moment("started_at"))
    site, reason = facts.name("site_id", language), " ".join(str(alert.get("reason", "")).split())
    if language == 0:
        return [
            f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)}",
            f"批次：{alert['lot_id']}，召回时间 {since}（北京时间）",
            f"站点：{site}，现有 {alert['units']} 支",
            f"原因：{reason or '-'}",
        ]
    return [
        f"[{SEVERITY[facts.severity][1]}] {_what(facts, 1)}",
        f"Lot: {alert['lot_id']}, recalled {since} (Beijing time)",
        f"Site: {site}, holding {alert['units']} units",
        f"Reason: {reason or '-'}",
    ]


def _revised(facts: Facts, language: int) -> list[str]:
    """Return what late readings say of goods: where they are, where and when that was."""
    head = ("【{}】{}", "[{}] {}")[language]
    since, until = shown(facts.moment("started_at")), shown(facts.moment("ended_at"))
    place = facts.name("site_id", language), facts.name("unit_id", language)
    return [
        head.format(SEVERITY[facts.severity][language], _what(facts, language)),
        *exposure_texts.lines(facts.alert, place, f"{since} – {until}", language),
    ]


def _overdue(facts: Facts, language: int) -> list[str]:
    """Return who is overdue: how many people, where, since when."""
    since, site = shown(facts.moment("started_at")), facts.name("site_id", language)
    people = facts.alert["people"]
    if language == 0:
        return [
            f"【{SEVERITY[facts.severity][0]}】{_what(facts, 0)}",
            f"站点：{site}",
            f"{people} 名受种者留观时间已满，最早于 {since}（北京时间），尚未登记离开",
        ]
    return [
        f"[{SEVERITY[facts.severity][1]}] {_what(facts, 1)}",
        f"Site: {site}",
        f"People past their observation and not let go: {people}, since {since} (Beijing time)",
    ]


def _condition(facts: Facts, language: int) -> list[str]:
    """Return what is wrong with which equipment, where, since when."""
    alert, started, minutes = facts.alert, shown(facts.moment("started_at")), facts.minutes
    site, unit = facts.name("site_id", language), facts.name("unit_id", language)
    severity, what = SEVERITY[facts.severity][language], condition_texts.what(alert, language)
    if facts.kind != "fired":
        what = f"{_what(facts, language)}{('：', ': ')[language]}{what}"
    told = condition_texts.lines(alert, language)
    if language == 0:
        units = [f"设备：{unit}"] if alert["unit_id"] else []
        since = f"开始：{started}（北京时间），持续 {minutes} 分钟"
        return [f"【{severity}】{what}", f"站点：{site}", *units, *told, since]
    units = [f"Equipment: {unit}"] if alert["unit_id"] else []
    since = f"Since: {started} (Beijing time), for {minutes} min"
    return [f"[{severity}] {what}", f"Site: {site}", *units, *told, since]


def _lines(facts: Facts, language: int) -> list[str]:
    alert = facts.alert
    if "subject_kind" in alert:
        return _condition(facts, language) + _ending(facts, language)
    if facts.kind in people_texts.TO_DO:
        return _people(facts, language) + _ending(facts, language)
    if facts.kind == "recalled":
        return _recall(facts, language) + _ending(facts, language)
    if facts.kind == "exposure_revised":
        return _revised(facts, language) + _ending(facts, language)
    if facts.kind == "observation_overdue":
        return _overdue(facts, language) + _ending(facts, language)
    if "cases" in alert:
        return _cluster(facts, language) + _ending(facts, language)
    severity = SEVERITY[facts.severity][language]
    side = SIDE.get(str(alert.get("side")), ("", ""))[language]
    peak, limit = degrees(alert.get("peak_c")), degrees(alert.get("limit_c"))
    probe = f"{alert.get('device_id', '-')}/{alert.get('channel', '-')}"
    site, unit = facts.name("site_id", language), facts.name("unit_id", language)
    started, minutes = shown(facts.moment("started_at")), facts.minutes
    if language == 0:
        lines = [
            f"【{severity}】{_what(facts, 0)}",
            f"站点：{site}",
            f"设备：{unit}（探头 {probe}）",
            f"极值：{peak} ℃，限值：{side} {limit} ℃",
            f"开始：{started}（北京时间），持续 {minutes} 分钟",
        ]
    else:
        lines = [
            f"[{severity}] {_what(facts, 1)}",
            f"Site: {site}",
            f"Equipment: {unit} (probe {probe})",
            f"Peak: {peak} °C, limit: {side} {limit} °C",
            f"Since: {started} (Beijing time), for {minutes} min",
        ]
    return lines + _ending(facts, language)


def _ending(facts: Facts, language: int) -> list[str]:
    lines = stock_texts.lines(facts.alert, language)
    late = ("说明：由补传数据发现，以上为实际发生时间", "Note: found in late data; times are real")
    who = ("确认人：", "Taken on by: ")[language]
    if facts.alert.get("late"):
        lines.append(late[language])
    if facts.kind == "acknowledged":
        comment = " ".join(str(facts.alert.get("comment", "")).split())
        lines.append(f"{who}{facts.alert.get('actor_role', '')} {comment}".rstrip())
    labels = (("处理：", "编号：", "链接："), ("To do: ", "Number: ", "Link: "))[language]
    lines += [labels[0] + _to_do(facts, language), labels[1] + facts.number]
    if facts.link:
        lines.append(labels[2] + facts.link)
    return lines
