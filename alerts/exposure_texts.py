"""What messages say of goods whose history passed a limit by late readings.

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


def brief(alert: Mapping[str, Any]) -> str:
    """Return the goods for one line in Chinese."""
    passed, no_longer = (_named(alert[name], 0) for name in ("passed", "no_longer"))
    found = [f"曾{passed}"] * bool(passed) + [f"并未{no_longer}"] * bool(no_longer)
    return f"{alert['units']}支{'，'.join(found)}"


def lines(alert: Mapping[str, Any], place: tuple[str, str], times: str, language: int) -> list[str]:
    """Return where and when that was, which limits, and the goods; `place`: site and unit."""
    site, unit = place
    lots, more = "、".join(alert["lot_ids"][:LOTS_MAX]), len(alert["lot_ids"]) - LOTS_MAX
    passed, no_longer = (_named(alert[name], language) for name in ("passed", "no_longer"))
    if language == 0:
        rest = f" 等 {len(alert['lot_ids'])} 批" if more > 0 else ""
        found = [
            f"站点：{site}，涉及 {alert['units']} 支，批次 {lots}{rest}",
            f"曾存放设备：{unit}，{times}（北京时间）",
        ]
        found += [f"补传读数表明曾{passed}"] * bool(passed)
        return found + [f"补传读数表明并未{no_longer}"] * bool(no_longer)
    rest = f" and {more} more" if more > 0 else ""
    found = [
        f"Site: {site}, {alert['units']} packs of lots {lots.replace('、', ', ')}{rest}",
        f"They were in: {unit}, {times} (Beijing time)",
    ]
    found += [f"Late readings: they were {passed}"] * bool(passed)
    return found + [f"Late readings: they were not {no_longer}"] * bool(no_longer)


def _named(limits: list[str], language: int) -> str:
    return ("、", ", ")[language].join(_LIMITS[name][language] for name in limits)
