"""What people read: short enough for one message, complete in both languages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from alerts import messages
from alerts.messages import SHORT_MAX, Facts, long, short
from alerts.notices import AEFI_CLUSTER, KINDS, RECALLED
from domain.alerting.conditions import Kind
from domain.alerting.events import ConditionEnded
from tests.alerts.notices_of import ALERT, fired, noticed, raised, resolved

AT = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)


def facts(kind: str, site: str = "石嘴山市疾控中心", **more: Any) -> Facts:
    alert = msgspec.to_builtins(fired()) | more
    names = {"site_id": (site, "Shizuishan CDC"), "unit_id": ("1号冷库", "Cold room 1")}
    link = "https://v.example/api/v1/alerts/" + ALERT
    return Facts(ALERT, kind, 2, "major", AT, alert, names, link)


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
@pytest.mark.parametrize(
    "site", ["一站", "某某自治区某某市某某区第一人民医院感染性疾病科预防接种门诊" * 3]
)
def test_given_any_kind_when_worded_then_short_fits_one_part_and_long_is_complete(
    kind: str, site: str
) -> None:
    told = facts(kind, site)
    line = short(told)
    assert len(line) <= SHORT_MAX
    assert "\n" not in line
    assert line.endswith(ALERT[:8].upper())
    text = long(told)
    chinese, english = text.split("\n----\n")
    for part in (chinese, english):
        assert ALERT[:8].upper() in part
        assert told.link in part
        assert "9.3" in part
        assert "8.0" in part
        assert "2026-03-02 07:30" in part  # Beijing time
    assert site in chinese
    assert "Cold room 1" in english


def test_given_alert_of_today_when_short_then_it_reads_as_people_say_it() -> None:
    line = short(facts("fired", "大武口疾控"))
    assert (
        line == f"【重要】温度告警 大武口疾控1号冷库 9.3℃高于8.0℃ 03-02 07:30起 {ALERT[:8].upper()}"
    )


def test_given_resolved_when_worded_then_duration_ends_at_recovery() -> None:
    told = facts("resolved", **msgspec.to_builtins(resolved()))
    assert "持续 40 分钟" in long(told)
    assert "9.8" in short(told)


def test_given_late_alert_when_worded_then_it_says_so() -> None:
    assert "补传" in long(facts("fired", late=True))


def test_given_name_with_line_break_when_worded_then_it_is_one_line() -> None:
    assert "\n" not in short(facts("fired", "一\r\nBcc: x@y.example"))


def test_given_acknowledgement_when_worded_then_role_and_comment_stand_in_it() -> None:
    text = long(facts("acknowledged", actor_role="store_keeper", comment="门已关好"))
    assert "store_keeper 门已关好" in text


def test_given_no_public_address_when_worded_then_no_link_line() -> None:
    told = Facts(ALERT, "fired", 0, "major", AT, facts("fired").alert, {}, "")
    assert "链接" not in long(told)
    assert "s1" in messages.short(told)


def test_given_a_cluster_of_adverse_events_when_worded_then_lot_cases_and_what_to_do() -> None:
    cluster = {
        "lot_id": "8474354.A2026573",
        "cases": 3,
        "serious": 1,
        "started_at": AT.isoformat(),
        "days": 2.5,
        "limit": 3,
        "window_days": 7,
    }
    told = Facts(ALERT, AEFI_CLUSTER, 0, "critical", AT, cluster, {}, "")
    line, text = short(told), long(told)
    assert line == f"【紧急】疑似预防接种异常反应聚集 批次8474354.A2026573 3例 {ALERT[:8].upper()}"
    assert "暂停使用该批次" in text
    assert "Cases: 3, 1 serious, within 2.5 days" in text


CONDITION = '{"devices":8,"silent":8,"gateways":2,"bat":9.0,"value_c":5.1,"offset_s":90.5}'


def of_condition(kind: str, of: str, site: str = "一站", detail: str = CONDITION) -> Facts:
    told = raised(of, subject_kind="device", subject_id="TH-1", unit_id="u1", detail=detail)
    names = {"site_id": (site, "Shizuishan CDC"), "unit_id": ("1号冷库", "Cold room 1")}
    return Facts(
        ALERT, kind, 1, "major", AT, msgspec.to_builtins(told), names, "https://v.example/a"
    )


@pytest.mark.parametrize("of", list(Kind))
@pytest.mark.parametrize("kind", ["fired", "escalated", "resolved", "acknowledged"])
def test_given_a_condition_when_worded_then_short_fits_and_long_is_complete(
    kind: str, of: Kind
) -> None:
    line = short(of_condition(kind, of, "某某市第一人民医院感染性疾病科预防接种门诊" * 3))
    assert len(line) <= SHORT_MAX
    assert line.endswith(ALERT[:8].upper())
    for part in long(of_condition(kind, of)).split("\n----\n"):
        assert "TH-1" in part
        assert "2026-03-02 07:30" in part
        assert "{" not in part


def test_given_a_dead_gateway_when_worded_then_as_people_say_it() -> None:
    told = msgspec.to_builtins(raised())
    names = {"site_id": ("大武口疾控", "Dawukou CDC")}
    line = short(Facts(ALERT, "fired", 0, "major", AT, told, names, ""))
    number = ALERT[:8].upper()
    assert line == f"【重要】网关离线 大武口疾控 8 台记录仪中 8 台无数据 03-02 07:30起 {number}"
    over = short(Facts(ALERT, "resolved", 0, "major", AT, told, names, ""))
    assert over.startswith("【重要】已恢复：网关离线 大武口疾控")


def test_given_no_figures_when_worded_then_none_are_told() -> None:
    assert "{" not in long(of_condition("fired", Kind.STUCK, detail="{}"))


def test_given_a_condition_of_what_is_there_no_more_when_over_then_nobody_saw_it_recover() -> None:
    told = noticed(ConditionEnded(alert_id=ALERT, ended_at=AT, cause="removed"), 2)
    assert told.kind == "closed"
    text = long(of_condition(told.kind, Kind.PROBE_OFFLINE))
    assert "未核实关闭：探头无数据" in text
    assert "设备已恢复" not in text
    assert "no recovery was seen" in text


@pytest.mark.parametrize("kind", ["amended", "withdrawn"])
def test_given_a_correction_by_people_when_worded_then_no_late_data_are_named(kind: str) -> None:
    assert "补传" in long(facts(kind, cause="late_data"))
    text = long(facts(kind, cause="reassessed"))
    assert "补传" not in text
    assert "Late data" not in text
    assert "was corrected" in text


def test_given_a_long_lot_when_worded_then_the_line_still_fits() -> None:
    recall = {"lot_id": "1" * 64, "units": 12345, "started_at": AT.isoformat()}
    line = short(Facts(ALERT, RECALLED, 0, "critical", AT, recall, {}, ""))
    assert len(line) == SHORT_MAX
    assert line.endswith(f"… 12345支 {ALERT[:8].upper()}")
