"""What a short message by template says of an alert, in parts, each as long as it is.

The channel that sends it cuts what there is no room for (`alerts/channels/sms.py`).
"""

from __future__ import annotations

from alerts import condition_texts, people_texts, stock_texts
from alerts.messages import SEVERITY, SHANGHAI, SIDE, WHAT, Facts, degrees

# Where the words of the long message are too many.
_WHAT = {"aefi_cluster": "异常反应聚集", "observation_overdue": "留观超时"}
# How many of what, for what is no temperature.
_COUNTS = {"units": "支", "cases": "例", "people": "人"}


def parts(facts: Facts) -> dict[str, str]:
    """Return what, place, state, goods, since and number, Chinese as people say it."""
    started = facts.moment("started_at")
    level = f"{facts.level}级" if facts.kind == "escalated" else ""
    what = _WHAT.get(facts.kind) or WHAT[facts.kind][0]
    if "subject_kind" in facts.alert and facts.kind == "fired":
        what = condition_texts.what(facts.alert, 0)
    grave = SEVERITY[facts.severity][0]
    if facts.kind == "trial_call":  # no alert of any severity
        grave, what = "", f"{what}（非告警）"
    return {
        "what": f"{grave}{what}{level}",
        "place": _place(facts),
        "state": _state(facts),
        "goods": stock_texts.brief(facts.alert),
        "since": started.astimezone(SHANGHAI).strftime("%m-%d %H:%M起") if started else "",
        "number": facts.number,
    }


def _place(facts: Facts) -> str:
    if "lot_id" in facts.alert:
        return f"批次{facts.alert['lot_id']}"
    if facts.kind in people_texts.TO_DO and not facts.alert.get("site_id"):
        return f"区划{facts.alert['region_code']}"
    named = [facts.name(field, 0) for field in ("site_id", "unit_id") if facts.alert.get(field)]
    return "".join(named)


def _state(facts: Facts) -> str:
    if facts.kind in people_texts.TO_DO:
        return people_texts.brief(facts.kind, facts.alert)
    for field, unit in _COUNTS.items():
        if field in facts.alert:
            return f"{facts.alert[field]}{unit}"
    if "subject_kind" in facts.alert:
        said = condition_texts.figures if facts.kind == "fired" else condition_texts.what
        return said(facts.alert, 0)
    side = SIDE.get(str(facts.alert.get("side")))
    if side is None:
        return ""
    peak, limit = degrees(facts.alert.get("peak_c")), degrees(facts.alert.get("limit_c"))
    return f"{peak}℃{side[0]}{limit}℃"
