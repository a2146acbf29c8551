"""Notices of one made-up alert, as ingest, the tick and people would write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerts import notices
from alerts.notices import Notice
from alerts.outbox import Pool
from domain.alerting.events import (
    AlertEscalated,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
    ConditionRaised,
)
from domain.shared.events import Event
from domain.shared.ids import stream_id
from store.envelope import Envelope, Meta

FIRED_AT = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
EPISODE = stream_id("alerting.episode", "TH-1", "t1", "high", 1772409000000)
ALERT = str(EPISODE)


def fired(
    *, severity: str = "major", region_code: str = "640202", alert_id: str = ALERT
) -> AlertFired:
    """Return the event of a cold room at 9.3 °C."""
    return AlertFired(
        alert_id=alert_id,
        device_id="TH-1",
        channel="t1",
        unit_id="u1",
        site_id="s1",
        region_code=region_code,
        rule_id="high",
        rule_version=1,
        severity=severity,
        side="high",
        limit_c=8.0,
        started_at=FIRED_AT - timedelta(minutes=30),
        fired_at=FIRED_AT,
        value_c=9.3,
        peak_c=9.3,
    )


def resolved(alert_id: str = ALERT) -> AlertResolved:
    """Return its end, twenty minutes after it fired."""
    return AlertResolved(
        alert_id=alert_id,
        recovered_at=FIRED_AT + timedelta(minutes=10),
        resolved_at=FIRED_AT + timedelta(minutes=20),
        peak_c=9.8,
    )


def withdrawn(alert_id: str = ALERT) -> AlertWithdrawn:
    """Return what late data said of it."""
    return AlertWithdrawn(alert_id=alert_id, cause="late_data")


def raised(
    kind: str = "gateway_offline", *, alert_id: str = ALERT, severity: str = "major", **more: str
) -> ConditionRaised:
    """Return the event of a gateway that is silent, or of something else."""
    about = {"subject_kind": "gateway", "subject_id": "gw-1", "unit_id": ""}
    detail = '{"devices":8,"silent":8}'
    return ConditionRaised(
        **{"detail": detail, **about, **more},
        alert_id=alert_id,
        kind=kind,
        site_id="s1",
        region_code="640202",
        severity=severity,
        started_at=FIRED_AT - timedelta(minutes=30),
        fired_at=FIRED_AT,
    )


def escalated(level: int) -> AlertEscalated:
    """Return one step up."""
    due_at = FIRED_AT + timedelta(minutes=10 * level)
    return AlertEscalated(alert_id=ALERT, level=level, due_at=due_at)


def noticed(
    event: Event,
    version: int,
    *,
    severity: str = "major",
    region_code: str = "640202",
    at: datetime = FIRED_AT,
) -> Notice:
    """Return the outbox row of an event at a version of its stream, recorded `at`."""
    meta = Meta(occurred_at=at, recorded_at=at)
    envelope = Envelope(EPISODE, version, event, meta)
    return notices.notice(envelope, severity=severity, region_code=region_code)


def tell(pool: Pool, *rows: Notice) -> None:
    """Write notices as the processes do."""
    with pool.connection() as conn, conn.transaction(), conn.cursor() as cur:
        notices.write(cur, rows)
