"""The words of one message that tells of several alerts: how many, where, the worst first.

Chinese first, English second. What is not listed stands in the inbox, as all does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerts import messages
from alerts.messages import SEVERITY, Facts, fitting
from domain.alerting.rules import SEVERITIES

# Alerts listed in one message.
LISTED_MAX = 50

# What has become of alerts, by kind of notice.
_OVER = ("resolved", "withdrawn", "closed")


@dataclass(frozen=True, slots=True)
class Group:
    """Several notices, the worst first; `link`: where all alerts are shown."""

    told: Sequence[Facts]
    link: str

    @classmethod
    def of(cls, told: Sequence[Facts], public_url: str) -> Group:
        """Return them in order: what is on before what is over, by severity, then by time."""
        ordered = sorted(told, key=_worst)
        sites = {str(facts.alert.get("site_id", "")) for facts in told}
        asked = f"?site_id={next(iter(sites))}" if len(sites) == 1 else ""
        return cls(ordered, f"{public_url}/api/v1/alerts{asked}" if public_url else "")

    @property
    def severity(self) -> str:
        """The gravest of what is on; of what is over, where nothing is on."""
        return self.told[0].severity

    @property
    def locale(self) -> str:
        """The reader's language, empty where it is not known."""
        return self.told[0].locale

    def names(self, field: str, language: int) -> list[str]:
        """Return the names of sites or units, in order, each once."""
        named = (facts.name(field, language) for facts in self.told if facts.alert.get(field))
        return list(dict.fromkeys(named))

    def counts(self, language: int) -> str:
        """Return how many alerts are on and over."""
        alerts = {facts.alert_id: facts.kind in _OVER for facts in reversed(self.told)}
        on, over = Counter(alerts.values())[False], Counter(alerts.values())[True]
        words = (("{}条告警", "{}条结束"), ("{} alerts", "{} over"))[language]
        shown = [word.format(n) for word, n in zip(words, (on, over), strict=True) if n]
        return ("、", ", ")[language].join(shown)


def _worst(facts: Facts) -> tuple[bool, int, str, str]:
    return (
        facts.kind in _OVER,
        -SEVERITIES.index(facts.severity),
        facts.at.isoformat(),
        facts.alert_id,
    )


def _where(group: Group, language: int) -> tuple[str, str]:
    """Return the site, or how many sites, and the units."""
    sites, units = group.names("site_id", language), group.names("unit_id", language)
    place = sites[0] if len(sites) == 1 else ("{}个站点", "{} sites")[language].format(len(sites))
    return place, ("、", ", ")[language].join(units)


def short(group: Group) -> str:
    """Return one line; in Chinese of at most 70 characters."""
    language = int(group.locale == "en")
    place, units = _where(group, language)
    number = group.told[0].number
    severity = SEVERITY[group.severity][language]
    if language:
        return f"[{severity}] {place}: {group.counts(1)} · {number}"
    before = f"【{severity}】{group.counts(0)} "
    after = f" {number}"
    return before + fitting(f"{place}：{units}" if units else place, before, after) + after


def long(group: Group) -> str:
    """Return the whole message in both languages, the reader's own first."""
    first = int(group.locale == "en")
    return "\n".join([*_lines(group, first), "", "----", "", *_lines(group, 1 - first), ""])


def parts(group: Group) -> dict[str, str]:
    """Return what a template of a short message takes, as `brief.parts` does of one alert."""
    place, units = _where(group, 0)
    return {
        "what": f"{SEVERITY[group.severity][0]}{group.counts(0)}",
        "place": place,
        "state": units,
        "goods": "",
        "since": "",
        "number": group.told[0].number,
    }


def _lines(group: Group, language: int) -> list[str]:
    place, _ = _where(group, language)
    head = ("【{}】{}：{}", "[{}] {}: {}")[language]
    lines = [head.format(SEVERITY[group.severity][language], place, group.counts(language))]
    own = ("zh", "en")[language]
    listed = (replace(facts, locale=own) for facts in group.told[:LISTED_MAX])
    lines += [f"- {messages.short(facts)}" for facts in listed]
    rest = len(group.told) - LISTED_MAX
    if rest > 0:
        more = ("另有 {} 条，见告警列表", "{} more: see the list of alerts")[language]
        lines.append(more.format(rest))
    if group.link:
        lines.append(("链接：", "Link: ")[language] + group.link)
    return lines
