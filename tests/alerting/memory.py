"""Ingest's side of the engine's contract, in memory: stores what an evaluation says, checks it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import UUID

from domain.alerting.engine import Evaluation, by_watch, evaluate, reassess
from domain.alerting.episodes import Episode, EpisodeEvent
from domain.alerting.model import Alert, evolve
from domain.alerting.rules import ThresholdRule
from domain.alerting.threshold import Firing
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
    return Watch(
        device_id="TH-0007",
        channel="t1",
        unit_id=unit_id,
        site_id="clinic",
        region_code="640202",
        start_ms=start_ms,
        end_ms=end_ms,
        rule_sets=(RuleSet(1, 0, rules), *later),
    )


class Memory:
    """The readings, episodes, events and state of one probe."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = list(watches)
        self.rows: dict[tuple[int, int], float | None] = {}
        self.by_alert: dict[str, Episode] = {}
        self.streams: dict[str, list[EpisodeEvent]] = {}
        self.states: dict[int, WatchState] = {}
        self.asked = 0

    def readings(self, from_ms: int, to_ms: int) -> list[Reading]:
        """Answer the engine from what is stored."""
        self.asked += 1
        return [(*key, self.rows[key]) for key in sorted(self.rows) if from_ms <= key[0] < to_ms]

    def episodes(self) -> list[Episode]:
        """Answer the engine from what is stored."""
        self.asked += 1
        return list(self.by_alert.values())

    def take(self, batch: Iterable[Reading]) -> list[EpisodeEvent]:
        """Evaluate a batch and store the result, as ingest does in one transaction."""
        batch = list(batch)
        results = [
            (on, evaluate(on, self.state(on), rows, self))
            for on, rows in by_watch(self.watches, batch)
        ]
        for ts_ms, seq, value in batch:
            self.rows.setdefault((ts_ms, seq), value)
        return [event for on, result in results for event in self._store(on, result)]

    def replace(self, old: Watch, new: Watch, from_ms: int) -> list[EpisodeEvent]:
        """Learn that a watch is different from a moment on, and judge it again."""
        self.watches[self.watches.index(old)] = new
        return self._reassess(new, from_ms)

    def add(self, new: Watch) -> list[EpisodeEvent]:
        """Learn of a watch, and judge what is stored for it already."""
        self.watches.append(new)
        return self._reassess(new, new.start_ms)

    def restart(self) -> None:
        """Forget all but what is stored: states go through their JSON."""
        for start_ms, state in self.states.items():
            again = WatchState.from_json(json.loads(json.dumps(state.to_json())))
            assert again == state
            self.states[start_ms] = again

    def state(self, on: Watch) -> WatchState:
        """Return the stored state of a watch."""
        if on.end_ms is not None:
            return WatchState.ended(on)
        return self.states.get(on.start_ms) or WatchState.initial(on)

    def found(self, rule_id: str, on: Watch | None = None) -> list[Expected]:
        """Return the episodes not withdrawn, by start; the open one with its peak of now."""
        on = on or self.watches[0]
        found = []
        for episode in sorted(self.by_alert.values(), key=lambda episode: episode.start_ms):
            if episode.withdrawn or (episode.rule_id, episode.unit_id) != (rule_id, on.unit_id):
                continue
            peak_c = episode.peak_c
            if episode.resolved_ms is None:
                firing = self.state(on).active[rule_id]
                assert isinstance(firing, Firing)
                peak_c = firing.peak_c
            found.append(
                Expected(
                    episode.start_ms,
                    episode.fired_ms,
                    peak_c,
                    episode.recovered_ms,
                    episode.resolved_ms,
                )
            )
        return found

    def _reassess(self, on: Watch, from_ms: int) -> list[EpisodeEvent]:
        state = self.states.get(on.start_ms) or WatchState.initial(on)
        result = reassess(on, state, from_ms=from_ms, to_ms=END_OF_TIME_MS, stored=self)
        return self._store(on, result)

    def _store(self, on: Watch, result: Evaluation) -> list[EpisodeEvent]:
        for change in result.changes:
            alert_id = change.episode.alert_id
            assert change.event.alert_id == alert_id == str(UUID(alert_id))
            stream = self.streams.setdefault(alert_id, [])
            stream.append(change.event)
            assert change.episode.version == len(stream)
            self.by_alert[alert_id] = change.episode
        for alert_id in {change.episode.alert_id for change in result.changes}:
            self._check_told(alert_id)
        self.states[on.start_ms] = result.state
        return [change.event for change in result.changes]

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
