"""What is likely to come, on the real database: forecasts, defrosts, certificates that end."""

from __future__ import annotations

import re
from datetime import timedelta

import orjson
import pytest

from alerts import condition_texts
from domain.alerting.events import RuleSetPublished
from domain.alerting.model import rule_set_stream
from domain.alerting.rules import SHIPPED
from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain.calibration import CHINA, calibration_stream
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from projections import alerting as inbox
from tests.alerts.test_conditions import Field, clock, field, registered  # noqa: F401  # fixtures
from tests.conftest import START

pytestmark = pytest.mark.database

MINUTE_MS = 60_000


def certified(field: Field, device: str, days: int, version: int, deviation_c: float) -> None:  # noqa: F811
    """Let a probe have a certificate that ends in so many days."""
    today = field.clock.now().astimezone(CHINA).date()
    event = CalibrationRecorded(
        device_id=device,
        channel="t1",
        certificate_no=f"RZ-{version}",
        laboratory="示例计量院",
        calibrated_on=today - timedelta(days=1),
        since=field.clock.now() - timedelta(minutes=version),
        valid_until=today + timedelta(days=days),
        points=(CalibrationPoint(reference_c=5, deviation_c=deviation_c, uncertainty_c=0.1),),
    )
    field.append(calibration_stream(device, "t1"), version, event)


def with_rules(field: Field) -> None:  # noqa: F811
    """Publish the shipped rules once."""
    stream = rule_set_stream("vaccine_2_8")
    if not field.ledger.stream(stream):
        rules = SHIPPED["vaccine_2_8"].rules
        event = RuleSetPublished(
            profile_id="vaccine_2_8",
            version=1,
            effective_from=START - timedelta(days=1),
            rules=rules,
        )
        field.append(stream, 1, event)
        field.restart()


def test_given_a_drift_when_the_limit_is_near_then_told_kept_and_held_against_what_came(
    field: Field,  # noqa: F811
) -> None:
    with_rules(field)
    device, false_alarm = "D-1-1", "D-1-2"
    told: list[tuple[str, str]] = []
    for minute in range(0, 41):
        up = 6.0 + 0.08 * minute
        field.speak([device], t1=round(up, 1), t2=5.0, t3=5.0, t4=5.0, door=0)
        back = up if minute <= 15 else 5.0
        field.speak([false_alarm], t1=round(back, 1), door=0)
        told += field.tick(1)
    ahead = [each for each in told if each[1].endswith("/t1")]
    assert ahead[0][0] == ahead[1][0] == "fired"
    assert {subject for _, subject in ahead[:2]} == {f"{device}/t1", f"{false_alarm}/t1"}
    assert ("resolved", f"{false_alarm}/t1") in ahead
    assert ("resolved", f"{device}/t1") not in ahead, "it came true and is not over"
    (row,) = [
        row
        for row in inbox.alerts(field.conn, kind="limit_forecast", limit=9)
        if row.subject_id == f"{device}/t1"
    ]
    assert '"eta_min":' in row.detail
    for _ in range(8):
        field.speak([device, false_alarm], t1=8.5, door=0)
        field.tick(5)
    kept = field.conn.execute(
        "SELECT device_id, told, outcome, eta_at - made_at, came_at IS NULL FROM forecast"
        " WHERE device_id = ANY(%s) AND made_at < %s ORDER BY made_at",
        ([device, false_alarm], row.fired_at + timedelta(minutes=1)),
    ).fetchall()
    assert {(name, outcome) for name, is_told, outcome, *_ in kept if is_told} >= {(device, "came")}
    assert {outcome for name, _, outcome, *_ in kept if name == false_alarm} <= {"came", "not"}


def test_given_an_open_door_when_told_then_with_the_time_that_is_left(
    field: Field,  # noqa: F811
) -> None:
    with_rules(field)
    field.clock.advance(hours=2)
    device = "D-5-1"
    certified(field, device, 365, 1, -1.0)
    told: list[tuple[str, str]] = []
    for minute in range(18):
        value = round(3.5 + 0.05 * minute + 0.3 * max(minute - 10, 0), 1)
        field.speak([device], t1=value, door=int(minute >= 10))
        told += field.tick(1)
    assert ("fired", "U-5-1") in told
    (row,) = inbox.alerts(field.conn, kind="door_open", limit=1)
    alert = {"kind": row.kind, "detail": row.detail}
    assert re.fullmatch(r"约 \d+ 分钟后到 8 ℃", condition_texts.figures(alert, 0)), row.detail
    assert orjson.loads(row.detail)["eta_min"] < 12, "what it counts as is a degree more"


def test_given_a_certificate_when_it_nears_its_end_then_told_graver_when_over_and_until_renewed(
    field: Field,  # noqa: F811
) -> None:
    device = "D-2-3"
    fired, over = ("fired", f"{device}/t1"), ("resolved", f"{device}/t1")
    certified(field, device, 31, 1, 0.2)
    field.speak([device])
    assert fired not in field.tick(1)
    field.clock.advance(days=2)
    assert fired in field.tick(1)
    field.clock.advance(days=31)
    assert fired in field.tick(1)
    rows = inbox.alerts(field.conn, kind="calibration_overdue", limit=9)
    assert [(row.severity, row.detail) for row in rows] == [("major", '{"days":-2}')]
    certified(field, device, 365, 2, 0.2)
    assert over in field.tick(1)


def test_given_regular_rises_when_warned_of_then_learnt_and_the_next_is_a_defrost(
    field: Field,  # noqa: F811
) -> None:
    with_rules(field)
    field.clock.advance(days=8)
    device, now = "D-8-1", field.clock.now()
    begin_ms = (to_ms(now) // MINUTE_MS - 6 * 1440) * MINUTE_MS
    rise = [[8.6 if n * 5 % 480 < 25 else 5.0] for n in range(6 * 288)]
    for first in range(0, len(rise), 432):
        base = {"seq": first, "ts": begin_ms + first * 5 * MINUTE_MS, "step": 5 * MINUTE_MS}
        told = {"v": 1, "boot": 9, "base": base, "cols": ["t1"], "rows": rise[first : first + 432]}
        field.take([(device, "backfill", told)])
    field.following.follow_once()
    field.restart()
    field.speak([device])
    field.tick(1)
    learnt = field.conn.execute(
        "SELECT device_id, period_ms, last_ms, matches FROM defrost WHERE period_ms > 0"
    )
    ((name, period_ms, last_ms, matches),) = learnt.fetchall()
    assert (name, period_ms, matches > 10) == (device, 480 * 60_000, True)
    asked = (
        "SELECT in_defrost(%s, 't1', %s, to_timestamp((%s + %s) / 1000.0), %s, 8.0,"
        " to_timestamp((%s + %s) / 1000.0) + %s * INTERVAL '1 minute')"
    )

    def muted(severity: str, after_ms: int, peak_c: float, minutes: int) -> bool:
        values = (device, severity, last_ms, after_ms, peak_c, last_ms, after_ms, minutes)
        ((found,),) = field.conn.execute(asked, values).fetchall()
        return bool(found)

    assert muted("minor", period_ms, 8.6, 15)
    assert not muted("major", period_ms, 8.6, 15), "an alarm is never muted"
    assert not muted("minor", period_ms, 12.5, 15)
    assert not muted("minor", period_ms, 8.6, 41)
    assert not muted("minor", period_ms // 2, 8.6, 15)

    field.clock.set(to_datetime(last_ms + 19 * period_ms))
    for _ in range(4):
        field.speak([device], t1=8.6)
        field.clock.advance(minutes=5)
    asked = (
        "SELECT held_back(o, %s) FROM outbox o WHERE kind = 'fired' AND severity = 'minor'"
        " AND payload ->> 'device_id' = %s ORDER BY id DESC LIMIT 1"
    )
    held = [
        field.conn.execute(asked, (field.clock.now() + timedelta(minutes=n), device)).fetchall()
        for n in (0, 21)
    ]
    assert held == [[(f"defrost:{device}/t1",)], [("",)]]
