"""Ingest's side of the engine's contract, in memory: stores what an evaluation says, checks it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from domain.alerting.engine import Evaluation, reassess
from domain.alerting.episodes import Episode, EpisodeEvent
from domain.alerting.model import Alert, evolve
from domain.alerting.rehearsal import Rehearsal, always
from domain.alerting.rules import ThresholdRule
from domain.alerting.watch import Reading, RuleSet, Watch, WatchState, to_datetime
from domain.shared.decide import fold
from tests.alerting.oracle import Expected

MINUTE_MS = 60_000
END_OF_TIME_MS = 2**53


def watch(
    *rules: ThresholdRule,
    start_ms: int = 0,
    end_ms: int | None = None,
    unit_id: str = "fridge",
    later: tuple[RuleSet, ...] = (),
) -> Watch:
    """Return a watch whose first rule set was always in force."""
    probe = ("TH-0007", unit_id)
    made = always(*rules, probe=probe, start_ms=start_ms, end_ms=end_ms, later=later)
    return replace(made, site_id="clinic", region_code="640202")


class Memory(Rehearsal):
    """A rehearsal that is checked at every step, and counts what it is asked."""

    def __init__(self, *watches: Watch) -> None:
        super().__init__(*watches)
        self.asked = 0

    def readings(self, from_ms: int, to_ms: int) -> Sequence[Reading]:
        """Answer the engine from what is stored."""
        self.asked += 1
        return super().readings(from_ms, to_ms)

    def episodes(self) -> Sequence[Episode]:
        """Answer the engine from what is stored."""
        self.asked += 1
        return super().episodes()

    def replace(self, old: Watch, new: Watch, from_ms: int) -> list[EpisodeEvent]:
        """Learn that a watch is different from a moment on, and judge it again."""
        self.watches[self.watches.index(old)] = new
        return self._reassess(new, from_ms)

    def add(self, new: Watch) -> list[EpisodeEvent]:
        """Learn of a watch, and judge what is stored for it already."""
        self.watches.append(new)
        return self._reassess(new, new.start_ms)

    def restart(self) -> None:
        """Forget all but what is stored: states survive JSON."""
        before = dict(self.states)
        for state in before.values():
            assert WatchState.from_json(json.loads(json.dumps(state.to_json()))) == state
        super().restart()
        assert self.states == before

    def found(self, rule_id: str, on: Watch | None = None) -> list[Expected]:
        """Return the episodes not withdrawn, by start; the open one with its peak of now."""
        return [Expected(*outcome) for outcome in self.outcomes(rule_id, on)]

    def keep(self, on: Watch, result: Evaluation) -> list[EpisodeEvent]:
        """Store what an evaluation says when it is sound; return its events."""
        for change in result.changes:
            alert_id = change.episode.alert_id
            assert change.event.alert_id == alert_id == str(UUID(alert_id))
        told = super().keep(on, result)
        for alert_id in {event.alert_id for event in told}:
            assert self.by_alert[alert_id].version == len(self.streams[alert_id])
            self._check_told(alert_id)
        return told

    def _reassess(self, on: Watch, from_ms: int) -> list[EpisodeEvent]:
        state = self.states.get(on.start_ms) or WatchState.initial(on)
        result = reassess(on, state, from_ms=from_ms, to_ms=END_OF_TIME_MS, stored=self)
        return self.keep(on, result)

    def _check_told(self, alert_id: str) -> None:
        """Whoever heard the events knows what the row says."""
        episode = self.by_alert[alert_id]
        alert = fold(evolve, None, self.streams[alert_id])
        assert isinstance(alert, Alert)
        assert alert.withdrawn == episode.withdrawn
        assert alert.started_at == to_datetime(episode.start_ms)
        assert alert.fired_at == to_datetime(episode.fired_ms)
        assert alert.peak_c == episode.peak_c
        for told, ms in (
            (alert.recovered_at, episode.recovered_ms),
            (alert.resolved_at, episode.resolved_ms),
        ):
            assert told == (None if ms is None else to_datetime(ms))
