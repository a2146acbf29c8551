"""What a holder of a recalled lot is told."""

from __future__ import annotations

from datetime import UTC, datetime

from alerts import messages

FACTS = messages.Facts(
    alert_id="5b1f0c9e-0000-5000-8000-000000000000",
    kind="recalled",
    level=0,
    severity="critical",
    at=datetime(2026, 3, 16, 2, 0, tzinfo=UTC),
    alert={
        "lot_id": "8474354.C2026946",
        "site_id": "POV1",
        "units": 9,
        "started_at": "2026-03-16T02:00:00+00:00",
        "reason": "含量不合格",
    },
    names={"site_id": ("甲区第一接种门诊", "First clinic")},
    link="",
)


def test_given_a_recall_when_told_then_lot_units_and_what_to_do_in_both_languages() -> None:
    assert len(messages.short(FACTS)) <= messages.SHORT_MAX
    text = messages.long(FACTS)
    for part in (
        "疫苗召回",
        "8474354.C2026946，召回时间 2026-03-16 10:00",
        "甲区第一接种门诊，现有 9 支",
        "含量不合格",
        "Vaccine recall",
        "First clinic, holding 9 units",
        "acknowledge the recall",
    ):
        assert part in text
