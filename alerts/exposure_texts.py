"""What messages say of goods whose history passed a limit by what came late.

Chinese first, English second; `language` is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIMITS = {
    "above": ("高于 8 ℃", "above 8 °C"),
    "below": ("低于 2 ℃", "below 2 °C"),
    "freezing": ("不高于 −0.5 ℃", "at −0.5 °C or under"),
}
# Lots named in a message.
LOTS_MAX = 5


_CAUSES = {
    "readings": ("补传读数表明", "Late readings"),
    "calibration": ("校准更正表明", "A calibration"),
    "placement": ("探头位置更正表明", "The corrected place of a probe"),
    "custody": ("补登流转表明", "Late records of custody"),
}
# By what happened to a limit, in the order told: with the limits, as {}.
_HOWS = {
    "passed": ("曾{}", "they were {}"),
    "no_longer": ("并未{}", "they were not {}"),
    "longer": ("{}更久", "they were longer {}"),
    "shorter": ("{}较短", "they were less long {}"),
}


def brief(alert: Mapping[str, Any]) -> str:
    """Return the goods for one line in Chinese."""
    return f"{alert['units']}支{'，'.join(_found(alert, 0))}"


def lines(alert: Mapping[str, Any], place: tuple[str, str], times: str, language: int) -> list[str]:
    """Return where and when that was, which limits, and the goods; `place`: site and unit."""
    site, unit = place
    lots, more = "、".join(alert["lot_ids"][:LOTS_MAX]), len(alert["lot_ids"]) - LOTS_MAX
    cause = _CAUSES[alert.get("cause", "readings")][language]
    if language == 0:
        rest = f" 等 {len(alert['lot_ids'])} 批" if more > 0 else ""
        were = [f"曾存放设备：{unit}，{times}（北京时间）"] if alert["unit_id"] else []
        found = [f"{cause}{each}" for each in _found(alert, 0)]
        return [f"站点：{site}，涉及 {alert['units']} 支，批次 {lots}{rest}", *were, *found]
    rest = f" and {more} more" if more > 0 else ""
    lots = lots.replace("、", ", ")
    were = [f"They were in: {unit}, {times} (Beijing time)"] if alert["unit_id"] else []
    found = [f"{cause}: {each}" for each in _found(alert, 1)]
    return [f"Site: {site}, {alert['units']} packs of lots {lots}{rest}", *were, *found]


def _found(alert: Mapping[str, Any], language: int) -> list[str]:
    """Return what happened to the limits, as far as anything did."""
    return [
        how[language].format(_named(alert[name], language))
        for name, how in _HOWS.items()
        if alert.get(name)
    ]


def _named(limits: list[str], language: int) -> str:
    return ("、", ", ")[language].join(_LIMITS[name][language] for name in limits)
