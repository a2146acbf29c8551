"""The words about the people who are told: a trial call, and sites that have too few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Both = tuple[str, str]

# In place of a severity, so that nobody takes a trial for an alert.
TRIAL: Both = ("演练", "TEST, NOT AN ALERT")
TO_DO: Mapping[str, Both] = {
    "trial_call": (
        "这是通知渠道演练，不是告警：无需处置，收到即可。",
        "This is a test of how people are reached, not an alert: nothing is to be done.",
    ),
    "understaffed": (
        "请安排值班人员和可用的联系方式：任何告警须能立即通知至少三人。",
        "Put people with a working contact on duty: every alert must reach three at once.",
    ),
}


def lines(kind: str, alert: Mapping[str, Any], scope: str, since: str, language: int) -> list[str]:
    """Return what is told; `scope`: the site or region it is of, `since`: when it was found."""
    if kind == "trial_call":
        people = len(alert["person_ids"])
        return (
            [f"范围：{scope}", f"时间：{since}（北京时间）", f"共通知 {people} 人"],
            [f"Scope: {scope}", f"Time: {since} (Beijing time)", f"People called: {people}"],
        )[language]
    named, sites, people = "、".join(alert["named"]), alert["sites"], alert["people"]
    return (
        [f"区划：{scope}", f"不足三人的站点：{sites} 处（最少 {people} 人）：{named}"],
        [
            f"Region: {scope}",
            f"Sites with fewer than three people: {sites} (down to {people}): {named}",
        ],
    )[language]


def brief(kind: str, alert: Mapping[str, Any]) -> str:
    """Return the same in a few words of Chinese."""
    if kind == "trial_call":
        return "无需处置"
    return f"{alert['sites']}处不足三人"
