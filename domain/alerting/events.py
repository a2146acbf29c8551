"""Events of alerting: the engine writes episode streams, people's acts go to alert streams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.alerting import (  # noqa: F401  # TOPICs of this module too
    assignment_events,
    duty_events,
    silence_events,
)
from domain.alerting.rules import ThresholdRule
from domain.shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSetPublished(Event):
    """The threshold rules of a storage profile from `effective_from` on."""

    TOPIC: ClassVar[str] = "alerting.RuleSetPublished"
    profile_id: str
    version: int
    effective_from: datetime
    rules: tuple[ThresholdRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFired(Event):
    """A rule's dwell ended at a bad reading. `late` when it was found in late data."""

    TOPIC: ClassVar[str] = "alerting.AlertFired"
    alert_id: str
    device_id: str
    channel: str
    unit_id: str
    site_id: str
    region_code: str
    rule_id: str
    rule_version: int
    severity: str
    side: str
    limit_c: float
    started_at: datetime
    fired_at: datetime
    value_c: float  # of the reading that fired
    peak_c: float
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertResolved(Event):
    """Readings have been good again for the rule's clearing time."""

    TOPIC: ClassVar[str] = "alerting.AlertResolved"
    alert_id: str
    recovered_at: datetime
    resolved_at: datetime
    peak_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAmended(Event):
    """Late data changed an episode's times or peak; the earlier events stay.

    Carries the whole episode as it stands now: without `resolved_at` it is open (again); with
    `resolved_at` but no `recovered_at` it was closed unverified.
    """

    TOPIC: ClassVar[str] = "alerting.AlertAmended"
    alert_id: str
    started_at: datetime
    fired_at: datetime
    peak_c: float
    recovered_at: datetime | None
    resolved_at: datetime | None
    cause: str  # late_data | reassessed


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertWithdrawn(Event):
    """Late data showed that there was no such episode."""

    TOPIC: ClassVar[str] = "alerting.AlertWithdrawn"
    alert_id: str
    cause: str  # late_data | reassessed


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertClosedUnverified(Event):
    """Nobody will know whether it ever became good: the probe or the rule was taken away."""

    TOPIC: ClassVar[str] = "alerting.AlertClosedUnverified"
    alert_id: str
    closed_at: datetime
    peak_c: float
    reason: str  # probe_removed | rule_retired


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAcknowledged(Event):
    """A person has taken it on. `person_id`: of whom the key is, where that is known."""

    TOPIC: ClassVar[str] = "alerting.AlertAcknowledged"
    alert_id: str
    actor_id: str
    actor_role: str
    comment: str
    person_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertClosingProposed(Event):
    """A person says what a critical alert came to; another one has to agree."""

    TOPIC: ClassVar[str] = "alerting.AlertClosingProposed"
    alert_id: str
    actor_id: str
    actor_role: str
    person_id: str
    disposition: str  # of the set in model.py
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertClosed(Event):
    """An alert that is over was dealt with. `proposed_by`: who said so first, of a critical one."""

    TOPIC: ClassVar[str] = "alerting.AlertClosed"
    alert_id: str
    actor_id: str
    actor_role: str
    person_id: str
    disposition: str
    comment: str
    proposed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEscalated(Event):
    """Nobody acknowledged in time: the next level is told, these persons then on duty with it."""

    TOPIC: ClassVar[str] = "alerting.AlertEscalated"
    alert_id: str
    level: int
    due_at: datetime
    person_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRaised(Event):
    """Something is wrong with equipment, found by the clock, not by a threshold.

    Stream = kind, subject and `started_at`. Once more in the same stream: it has become graver, or
    is no longer silenced. `detail`: JSON of figures, by kind.
    """

    TOPIC: ClassVar[str] = "alerting.ConditionRaised"
    alert_id: str
    kind: str  # conditions.Kind
    subject_kind: str  # site | gateway | unit | device
    subject_id: str  # of one probe alone: device/channel
    unit_id: str  # empty: of none alone
    site_id: str
    region_code: str
    severity: str
    started_at: datetime
    fired_at: datetime
    detail: str
    silenced_by: str = ""  # a maintenance order: recorded and shown, but nobody is told


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionEnded(Event):
    """It is over, or what it was about is there no more."""

    TOPIC: ClassVar[str] = "alerting.ConditionEnded"
    alert_id: str
    ended_at: datetime
    cause: str  # recovered | removed


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedLot:
    """Smallest packs of one lot (`lot_id` empty: nobody said of which), with the doses left."""

    lot_id: str
    codes: tuple[str, ...]
    doses: tuple[int, ...]  # by code


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedStockFound(Event):
    """Goods of one product at one site were where the alert's probe stood while it lasted.

    Stream = alert. `site_id`: where they are now. `hold_id`: the fact by which they are held,
    because of `reason`, as the codes `held` (the packs they are in, where all in these is held);
    empty where they need not be, or are used up. The episode as it stood then; `ended_at` None: it
    lasted. Told again of the same codes, it replaces what was told before.
    """

    TOPIC: ClassVar[str] = "alerting.AffectedStockFound"
    alert_id: str
    site_id: str
    product_id: str
    lots: tuple[AffectedLot, ...]
    hold_id: str = ""
    held: tuple[str, ...] = ()
    reason: str = ""  # of the set in policy.py
    found_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    peak_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedStockCleared(Event):
    """Later facts showed that these codes were not there meanwhile; a hold of theirs stays."""

    TOPIC: ClassVar[str] = "alerting.AffectedStockCleared"
    alert_id: str
    codes: tuple[str, ...]
    cause: str  # withdrawn | corrected


@dataclass(frozen=True, slots=True, kw_only=True)
class StockAssessed(Event):
    """A person decided on affected goods, another confirmed; who told it stands in the envelope.

    `codes`: the smallest packs decided on; `fact_ids`: the quality decisions by which they were
    released or condemned. `also`: other alerts because of which they were held. `still_held`: codes
    that a release meant and did not free. The episode as the persons saw it.
    """

    TOPIC: ClassVar[str] = "alerting.StockAssessed"
    alert_id: str
    decision: str  # release | condemn | keep
    codes: tuple[str, ...]
    fact_ids: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    grounds: str
    method: str = ""  # of the set in consequence.py
    executed_by: str
    supervised_by: str = ""
    decision_no: str = ""
    started_at: datetime
    ended_at: datetime | None = None
    peak_c: float
    still_held: tuple[str, ...] = ()
