"""What messages say of goods that an alert affected."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alerts import messages

STOCK: dict[str, Any] = {
    "lots": 7,
    "units": 42,
    "doses": 420,
    "held": 40,
    "listed": [[f"8474354.A{n}", 6, 60] for n in range(5)],
}
ALERT: dict[str, Any] = {
    "site_id": "s1",
    "unit_id": "u1",
    "side": "low",
    "limit_c": -0.5,
    "peak_c": -2.0,
    "started_at": "2026-03-16T02:00:00+00:00",
}


def facts(kind: str, **more: Any) -> messages.Facts:
    return messages.Facts(
        alert_id="5b1f0c9e-0000-5000-8000-000000000000",
        kind=kind,
        level=0,
        severity="critical",
        at=datetime(2026, 3, 16, 4, 0, tzinfo=UTC),
        alert=ALERT | more,
        names={"site_id": ("甲" * 40, "First clinic"), "unit_id": ("冰箱", "Fridge")},
        link="",
    )


def test_given_goods_when_told_then_lots_doses_and_holds_in_both_languages() -> None:
    for kind in ("fired", "stock", "stock_here", "escalated", "resolved"):
        told = facts(kind, stock=STOCK)
        assert len(messages.short(told)) <= messages.SHORT_MAX
        assert "疫苗7批420剂" in messages.short(told)
        text = messages.long(told)
        for part in (
            "疫苗：7 批 420 剂（42 支），40 支已封存，须由人员评估后解除或销毁",
            "批次：8474354.A4 6 支 60 剂",
            "其余 2 批见链接",
            "Vaccine: 7 lots, 420 doses (42 packs); 40 on hold until people have assessed them",
            "Lot: 8474354.A0, 6 packs, 60 doses",
        ):
            assert part in text


def test_given_no_goods_known_when_told_then_nothing_is_said_of_any() -> None:
    assert "疫苗：" not in messages.long(facts("fired"))
    assert "批" not in messages.short(facts("fired"))
    few = STOCK | {"lots": 1, "listed": [["", 1, 1]], "held": 0}
    text = messages.long(facts("stock", stock=few))
    assert "批次：- 1 支 1 剂" in text
    assert "封存，" not in text
    assert "其余" not in text


def test_given_a_withdrawn_alert_with_goods_on_hold_when_told_then_they_wait() -> None:
    assert "无需处理" in messages.long(facts("withdrawn"))
    text = messages.long(facts("withdrawn", stock=STOCK))
    assert "不会自动解除" in text
    assert "无需处理" not in text
