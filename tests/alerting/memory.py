"""Ingest's side of the engine's contract, in memory: stores what an evaluation says, checks it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import UUID

from domain.alerting.engine import Evaluation, evaluate, reassess
from domain.alerting.episodes import Episode, EpisodeEvent
from domain.alerting.rules import ThresholdRule
from domain.alerting.watch import Reading, RuleSet, Watch, WatchState

END_OF_TIME_MS = 2**53


def watch(
    *rules: ThresholdRule, start_ms: int = 0, end_ms: int | None = None, unit_id: str = "fridge"
) -> Watch:
    """Return a watch with one rule set that was always in force."""
    return Watch(
        device_id="TH-0007",
        channel="t1",
        unit_id=unit_id,
        site_id="clinic",
        region_code="640202",
        start_ms=start_ms,
        end_ms=end_ms,
        rule_sets=(RuleSet(1, 0, rules),),
    )


class Memory:
    """The readings, episodes, events and state of one probe."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], float | None] = {}
        self.by_alert: dict[str, Episode] = {}
        self.streams: dict[str, list[EpisodeEvent]] = {}
        self.state: WatchState | None = None
        self.asked = 0

    def readings(self, from_ms: int, to_ms: int) -> list[Reading]:
        """Answer the engine from what is stored."""
        self.asked += 1
        return [(*key, self.rows[key]) for key in sorted(self.rows) if from_ms <= key[0] < to_ms]

    def episodes(self) -> list[Episode]:
        """Answer the engine from what is stored."""
        return list(self.by_alert.values())

    def take(self, on: Watch, batch: Iterable[Reading]) -> Evaluation:
        """Evaluate a batch and store the result, as ingest does in one transaction."""
        batch = list(batch)
        result = evaluate(on, self.state or WatchState.initial(on), batch, self)
        for ts_ms, seq, value in batch:
            if self.rows.get((ts_ms, seq)) is None:
                self.rows[ts_ms, seq] = value
        return self._store(result)

    def reassess(self, on: Watch, from_ms: int, to_ms: int = END_OF_TIME_MS) -> Evaluation:
        """Judge the stored readings again and store the result."""
        state = self.state or WatchState.initial(on)
        return self._store(reassess(on, state, from_ms=from_ms, to_ms=to_ms, stored=self))

    def restart(self) -> None:
        """Forget all but what is stored: the state goes through its JSON."""
        if self.state is not None:
            self.state = WatchState.from_json(json.loads(json.dumps(self.state.to_json())))

    def living(self) -> list[Episode]:
        """Return the episodes not withdrawn, by start."""
        found = [episode for episode in self.by_alert.values() if not episode.withdrawn]
        return sorted(found, key=lambda episode: episode.start_ms)

    def events(self) -> list[EpisodeEvent]:
        """Return all events, stream by stream."""
        return [event for stream in self.streams.values() for event in stream]

    def _store(self, result: Evaluation) -> Evaluation:
        for change in result.changes:
            alert_id = change.episode.alert_id
            assert change.event.alert_id == alert_id == str(UUID(alert_id))
            stream = self.streams.setdefault(alert_id, [])
            stream.append(change.event)
            assert change.episode.version == len(stream)
            self.by_alert[alert_id] = change.episode
        self.state = result.state
        return result
