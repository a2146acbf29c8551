"""The engine on readings in memory: for files, scenarios, and alerts worked out again.

What is stored here is what ingest stores in a transaction; nothing of it leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from domain.alerting.engine import Evaluation, by_watch, evaluate
from domain.alerting.episodes import Episode, EpisodeEvent
from domain.alerting.rules import ThresholdRule
from domain.alerting.threshold import Firing
from domain.alerting.watch import Reading, RuleSet, Watch, WatchState


class Outcome(NamedTuple):
    """An episode. Open: no `resolved_ms`, and its peak so far; closed unverified: no recovery."""

    start_ms: int
    fired_ms: int
    peak_c: float
    recovered_ms: int | None
    resolved_ms: int | None


def always(
    *rules: ThresholdRule,
    probe: tuple[str, str] = ("device", "unit"),
    start_ms: int = 0,
    end_ms: int | None = None,
    later: tuple[RuleSet, ...] = (),
) -> Watch:
    """Return the watch of the probe t1 of a device in a unit, under rules since ever."""
    return Watch(
        device_id=probe[0],
        channel="t1",
        unit_id=probe[1],
        site_id="",
        region_code="",
        start_ms=start_ms,
        end_ms=end_ms,
        rule_sets=(RuleSet(1, 0, rules), *later),
    )


class Rehearsal:
    """The readings, episodes, events and states of one probe."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = list(watches)
        self.rows: dict[tuple[int, int], float | None] = {}
        self.by_alert: dict[str, Episode] = {}
        self.streams: dict[str, list[EpisodeEvent]] = {}
        self.states: dict[int, WatchState] = {}

    def readings(self, from_ms: int, to_ms: int) -> Sequence[Reading]:
        """Answer the engine from what is stored."""
        return [(*key, self.rows[key]) for key in sorted(self.rows) if from_ms <= key[0] < to_ms]

    def episodes(self) -> Sequence[Episode]:
        """Answer the engine from what is stored."""
        return list(self.by_alert.values())

    def take(self, batch: Iterable[Reading]) -> list[EpisodeEvent]:
        """Judge a batch and keep the result, as ingest does in one transaction."""
        batch = list(batch)
        results = [
            (on, evaluate(on, self.state(on), rows, self))
            for on, rows in by_watch(self.watches, batch)
        ]
        for ts_ms, seq, value in batch:
            self.rows.setdefault((ts_ms, seq), value)
        return [event for on, result in results for event in self.keep(on, result)]

    def keep(self, on: Watch, result: Evaluation) -> list[EpisodeEvent]:
        """Store what an evaluation says; return its events."""
        for change in result.changes:
            alert_id = change.episode.alert_id
            self.streams.setdefault(alert_id, []).append(change.event)
            self.by_alert[alert_id] = change.episode
        self.states[on.start_ms] = result.state
        return [change.event for change in result.changes]

    def restart(self) -> None:
        """Forget all but what is stored: states go through their plain values."""
        for start_ms, state in self.states.items():
            self.states[start_ms] = WatchState.from_json(state.to_json())

    def state(self, on: Watch) -> WatchState:
        """Return the stored state of a watch."""
        if on.end_ms is not None:
            return WatchState.ended(on)
        return self.states.get(on.start_ms) or WatchState.initial(on)

    def outcomes(self, rule_id: str, on: Watch | None = None) -> list[Outcome]:
        """Return the episodes not withdrawn, by start; the open one with its peak of now."""
        on = on or self.watches[0]
        found = []
        for episode in sorted(self.by_alert.values(), key=lambda episode: episode.start_ms):
            if episode.withdrawn or (episode.rule_id, episode.unit_id) != (rule_id, on.unit_id):
                continue
            peak_c, firing = episode.peak_c, self.state(on).active.get(rule_id)
            if episode.resolved_ms is None and isinstance(firing, Firing):
                peak_c = firing.peak_c
            times = (episode.recovered_ms, episode.resolved_ms)
            found.append(Outcome(episode.start_ms, episode.fired_ms, peak_c, *times))
        return found
