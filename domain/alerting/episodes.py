"""Episodes as alerts: which alert an episode is, and the events that tell how it changed.

An episode is the engine's finding; an alert is its name for people. The name is given when the
episode first fires and is never used again for another, whatever late data do afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeAlias, assert_never

from domain.alerting.events import (
    AlertAmended,
    AlertClosedUnverified,
    AlertFired,
    AlertResolved,
    AlertWithdrawn,
)
from domain.alerting.threshold import Closed, Ending, Fired, Resolved
from domain.alerting.watch import Reading, Watch, to_datetime
from domain.shared.ids import stream_id

EpisodeEvent: TypeAlias = (
    AlertFired | AlertResolved | AlertAmended | AlertWithdrawn | AlertClosedUnverified
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One row of the engine's record: an episode of a rule on a probe as it stands now.

    Open: no `resolved_ms`. Closed unverified: `resolved_ms` without `recovered_ms`. `peak_c` of an
    open episode is the peak when it fired or was last amended. `version`: its stream's events.
    """

    alert_id: str
    unit_id: str
    rule_id: str
    rule_version: int
    severity: str
    start_ms: int
    fired_ms: int
    peak_c: float
    recovered_ms: int | None = None
    resolved_ms: int | None = None
    withdrawn: bool = False
    version: int

    def holds(self, ts_ms: int) -> bool:
        """Tell whether the moment lies in the episode, both ends included."""
        return self.start_ms <= ts_ms and (self.resolved_ms is None or ts_ms <= self.resolved_ms)


@dataclass(frozen=True, slots=True)
class Found:
    """An episode as the evaluator found it in the readings; `peak_c` up to its end or to now."""

    fired: Fired
    peak_c: float
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One event for the stream of `episode.alert_id` at `episode.version`, and the row after it."""

    episode: Episode
    event: EpisodeEvent


class Stored(Protocol):
    """What ingest has stored for the probe of a watch before this batch."""

    def readings(self, from_ms: int, to_ms: int) -> Sequence[Reading]:
        """Return the readings with `from_ms` <= ts < `to_ms`, ascending by (ts, seq)."""

    def episodes(self) -> Sequence[Episode]:
        """Return every episode of this probe, withdrawn ones too, in any order."""


@dataclass(slots=True)
class Book:
    """The episodes of a watch during one evaluation: read once, changed here, told as `changes`."""

    watch: Watch
    stored: Stored
    changes: list[Change] = field(default_factory=list)
    _known: dict[str, Episode] | None = None

    def living(self, rule_id: str, from_ms: int, to_ms: int) -> list[Episode]:
        """Return the episodes of this watch that start in the window, not withdrawn, by start."""
        found = (
            episode
            for episode in self._episodes().values()
            if episode.rule_id == rule_id
            and episode.unit_id == self.watch.unit_id
            and not episode.withdrawn
            and from_ms <= episode.start_ms < to_ms
        )
        return sorted(found, key=lambda episode: episode.start_ms)

    def open_episode(self, rule_id: str, start_ms: int) -> Episode:
        """Return the living episode that starts at this moment: there is exactly one."""
        (episode,) = self.living(rule_id, start_ms, start_ms + 1)
        return episode

    def fire(self, rule_id: str, fired: Fired, *, late: bool = False) -> Episode:
        """Begin an alert for an episode that nobody has heard of."""
        watch = self.watch
        rule_set = watch.rule_set(fired.fired_ms)
        rule = rule_set.by_id[rule_id]
        episode = Episode(
            alert_id=self._new_alert_id(rule_id, fired.start_ms),
            unit_id=watch.unit_id,
            rule_id=rule_id,
            rule_version=rule_set.version,
            severity=rule.severity,
            start_ms=fired.start_ms,
            fired_ms=fired.fired_ms,
            peak_c=fired.peak_c,
            version=0,
        )
        event = AlertFired(
            alert_id=episode.alert_id,
            device_id=watch.device_id,
            channel=watch.channel,
            unit_id=watch.unit_id,
            site_id=watch.site_id,
            region_code=watch.region_code,
            rule_id=rule_id,
            rule_version=rule_set.version,
            severity=rule.severity,
            side=rule.side,
            limit_c=rule.limit_c,
            started_at=to_datetime(fired.start_ms),
            fired_at=to_datetime(fired.fired_ms),
            value_c=fired.value_c,
            peak_c=fired.peak_c,
            late=late,
        )
        return self._note(episode, event)

    def end(self, episode: Episode, ending: Ending) -> None:
        """Tell that an open episode is over."""
        ended_at = to_datetime(ending.resolved_ms)
        event: EpisodeEvent
        match ending:
            case Resolved():
                event = AlertResolved(
                    alert_id=episode.alert_id,
                    recovered_at=to_datetime(ending.recovered_ms),
                    resolved_at=ended_at,
                    peak_c=ending.peak_c,
                )
            case Closed():
                event = AlertClosedUnverified(
                    alert_id=episode.alert_id,
                    closed_at=ended_at,
                    peak_c=ending.peak_c,
                    reason=ending.reason,
                )
            case _:
                assert_never(ending)
        self._note(
            replace(
                episode,
                peak_c=ending.peak_c,
                recovered_ms=ending.recovered_ms,
                resolved_ms=ending.resolved_ms,
            ),
            event,
        )

    def amend(self, episode: Episode, found: Found, cause: str) -> None:
        """Tell that an episode was not as it had been told."""
        amended = as_found(episode, found)
        event = AlertAmended(
            alert_id=episode.alert_id,
            started_at=to_datetime(amended.start_ms),
            fired_at=to_datetime(amended.fired_ms),
            peak_c=amended.peak_c,
            recovered_at=_maybe_datetime(amended.recovered_ms),
            resolved_at=_maybe_datetime(amended.resolved_ms),
            cause=cause,
        )
        self._note(amended, event)

    def withdraw(self, alert_id: str, cause: str) -> None:
        """Tell that there was no such episode."""
        withdrawn = replace(self._episodes()[alert_id], withdrawn=True)
        self._note(withdrawn, AlertWithdrawn(alert_id=alert_id, cause=cause))

    def _note(self, episode: Episode, event: EpisodeEvent) -> Episode:
        episode = replace(episode, version=episode.version + 1)
        self._episodes()[episode.alert_id] = episode
        self.changes.append(Change(episode, event))
        return episode

    def _episodes(self) -> dict[str, Episode]:
        if self._known is None:
            self._known = {episode.alert_id: episode for episode in self.stored.episodes()}
        return self._known

    def _new_alert_id(self, rule_id: str, start_ms: int) -> str:
        # An earlier alert may have the name by right of a start that late data changed since.
        known = self._episodes()
        while True:
            stream = stream_id(
                "alerting.episode", self.watch.device_id, self.watch.channel, rule_id, start_ms
            )
            if str(stream) not in known:
                return str(stream)
            start_ms += 1


def as_found(episode: Episode, found: Found) -> Episode:
    """Return the episode with the times and the peak that were found."""
    ending = found.ending
    return replace(
        episode,
        start_ms=found.fired.start_ms,
        fired_ms=found.fired.fired_ms,
        peak_c=found.peak_c,
        recovered_ms=ending.recovered_ms if ending else None,
        resolved_ms=ending.resolved_ms if ending else None,
    )


def _maybe_datetime(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)
