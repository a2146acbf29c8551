"""The alert engine: new readings in, whatever their order, changes of alerts out.

Ingest calls `evaluate` for every probe of a batch, and `reassess` when a placement or a rule set
begins, ends or changes. Both are pure: no clock, nothing stored here. The invariant they keep:

    Whatever the order and grouping in which the readings of a watch arrived, the episodes not
    withdrawn are those the rule (`threshold.step`) finds in all of them in the order of (ts, seq);
    and whatever was told before and turned out otherwise was amended, withdrawn or fired late.

Readings after the newest one judged only move the rules on. A late reading is judged where it
belongs: the fold restarts at an anchor, the last reading before it that left the rule idle, and
runs on over the stored readings until the rule is idle at a reading that had left it idle before as
well; from there on nothing can differ. Most late readings need none of this: one that is not bad
and lies outside every episode and the present pending run changes nothing; nor does one that is not
good and not beyond the peak, between the firing of an episode and its recovery.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from domain.alerting.episodes import Book, Change, Episode, Found, Stored, as_found
from domain.alerting.rules import ThresholdRule
from domain.alerting.tape import Key, Known, Tape, known
from domain.alerting.threshold import (
    Closed,
    Fired,
    Firing,
    Pending,
    RuleState,
    is_bad,
    is_good,
    step,
)
from domain.alerting.watch import Reading, Watch, WatchState, is_quiet


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The state to store for the next call, and what changed, in order."""

    state: WatchState
    changes: Sequence[Change] = ()


def evaluate(
    watch: Watch, state: WatchState, readings: Iterable[Reading], stored: Stored
) -> Evaluation:
    """Judge new readings of a watch by all of its rules.

    Call it once per watch and transaction, with all new readings of the watch in it, in any order;
    of an identity that comes twice the first counts. `stored` answers as of before the transaction
    (it is asked only for late readings, or when an alert begins or ends). In the same transaction
    store, beside the readings: `state`; the `episode` row of each change, the last one of an alert
    winning; each `event`, in order, as version `episode.version` of the stream `episode.alert_id`.

    state: as the last call returned it; `WatchState.ended(watch)` once the watch has an end;
    `WatchState.initial(watch)` where nothing of the watch is stored yet. ValueError when the state
    is of another watch, or a reading lies outside it.
    """
    if state.watch_ms != watch.start_ms:
        raise ValueError("the state belongs to another watch")
    fresh = known(readings)
    if not fresh:
        return Evaluation(state)
    if not (watch.covers(fresh[0][0]) and watch.covers(fresh[-1][0])):
        raise ValueError("a reading lies outside the watch")
    newest = fresh[-1][:2]
    if is_quiet(watch, state, fresh):
        return Evaluation(WatchState(state.watch_ms, newest))
    split = bisect_right(fresh, state.last, key=_key)
    late, ahead = fresh[:split], fresh[split:]
    book = Book(watch, stored)
    if late:
        tape = Tape(watch, stored, late[0][0], state.last[0] + 1, late)
        state = _revise(state, tape, book, late, "late_data")
    if ahead:
        state = _advance(watch, replace(state, last=newest), ahead, book)
    return Evaluation(state, book.changes)


def reassess(
    watch: Watch, state: WatchState, *, from_ms: int, to_ms: int, stored: Stored
) -> Evaluation:
    """Judge again what is stored, after the watch itself was learnt of or has changed.

    watch: as it is now. `from_ms`: the moment from which it is new or different (its start, its
    end, the `effective_ms` of a rule set). `to_ms`: just after the newest reading stored. state: as
    it was; initial for a watch never judged. Store the result as that of `evaluate`. When a probe
    moves: first the watch that ends, then the one that begins.
    """
    book = Book(watch, stored)
    tape = Tape(watch, stored, from_ms, to_ms)
    revised = _revise(state, tape, book, (), "reassessed")
    if watch.end_ms is not None:
        return Evaluation(WatchState.ended(watch), book.changes)
    return Evaluation(replace(revised, last=max(state.last, tape.newest())), book.changes)


def found_in(watch: Watch, rule_id: str, readings: Iterable[Known]) -> list[Found]:
    """Return what a rule finds in all readings of a watch, ascending: by its definition, in full.

    What `evaluate` and `reassess` have told of the same readings, not withdrawn, is this.
    """
    fold = _Fold(watch, rule_id)
    for ts_ms, _, value_c in readings:
        fold.judge(ts_ms, value_c)
    fold.finish()
    return fold.found


def by_watch(
    watches: Sequence[Watch], readings: Iterable[Reading]
) -> list[tuple[Watch, list[Reading]]]:
    """Divide the readings of a probe among its watches; those under none are left out."""
    divided: dict[int, tuple[Watch, list[Reading]]] = {}
    for reading in readings:
        for watch in watches:
            if watch.covers(reading[0]):
                divided.setdefault(watch.start_ms, (watch, []))[1].append(reading)
    return list(divided.values())


def _advance(watch: Watch, state: WatchState, ahead: Sequence[Known], book: Book) -> WatchState:
    for rule_id in watch.rule_ids:
        before: RuleState = state.active.get(rule_id)
        for ts_ms, _, value_c in ahead:
            after, signal = step(watch.rule(rule_id, ts_ms), before, ts_ms, value_c)
            if isinstance(signal, Fired):
                book.fire(rule_id, signal)
            elif signal and isinstance(before, Firing):
                book.end(book.open_episode(rule_id, before.start_ms), signal)
            before = after
        state = state.with_rule(rule_id, before)
    return state


def _revise(
    state: WatchState, tape: Tape, book: Book, late: Sequence[Known], cause: str
) -> WatchState:
    """Fold the tape again for each rule and tell the differences.

    late: what is new on the tape; empty when the watch itself is, then the fold runs to the end.
    """
    revised, judged_ms = state, state.last[0] + 1
    for rule_id in tape.watch.rule_ids:
        rule_state = state.active.get(rule_id)
        told = _told(rule_state, book.living(rule_id, tape.start_ms, judged_ms))
        if late and not _matters(tape.watch, rule_id, rule_state, told, late):
            continue
        anchor_ms, readings = _from_anchor(tape, rule_id, told)
        fold = _Fold(tape.watch, rule_id)
        stop_ms = judged_ms
        for ts_ms, seq, value_c in readings:
            fold.judge(ts_ms, value_c)
            settled = late and (ts_ms, seq) > late[-1][:2] and fold.state is None
            if settled and _left_idle(tape.watch, rule_id, told, ts_ms, value_c):
                stop_ms = ts_ms
                break
        else:
            fold.finish()
            revised = revised.with_rule(rule_id, fold.state)
        touched = [episode for episode in told if anchor_ms < episode.start_ms < stop_ms]
        _tell(book, rule_id, touched, fold.found, cause)
    return revised


def _matters(
    watch: Watch,
    rule_id: str,
    rule_state: RuleState,
    told: Sequence[Episode],
    late: Sequence[Known],
) -> bool:
    """Tell whether late readings can change anything for the rule.

    One that is not bad can only break a run of bad readings. A run that never fired and is over
    stays so when broken; what is left are episodes and the run pending now. Within an episode, one
    that is not good can only break a recovery: those that came to nothing stay so.
    """
    if isinstance(rule_state, Pending) and late[-1][0] >= rule_state.since_ms:
        return True
    recovering_ms = rule_state.good_since_ms if isinstance(rule_state, Firing) else None
    return not all(
        _left_idle(watch, rule_id, told, ts, value_c)
        or _goes_on(watch.rule(rule_id, ts), told, recovering_ms, ts, value_c)
        for ts, _, value_c in late
    )


def _goes_on(
    rule: ThresholdRule | None,
    told: Sequence[Episode],
    recovering_ms: int | None,
    ts_ms: int,
    value_c: float,
) -> bool:
    """Tell whether a reading lies in an episode, after it fired and before it recovers, no worse.

    recovering_ms: since when the open episode has been good, if it has.
    """
    at = bisect_right(told, ts_ms, key=lambda episode: episode.start_ms)
    if rule is None or not at or is_good(rule, value_c):
        return False
    episode = told[at - 1]
    ends_ms = episode.recovered_ms or episode.resolved_ms or recovering_ms
    within = episode.fired_ms < ts_ms and (ends_ms is None or ts_ms < ends_ms)
    worse = value_c > episode.peak_c if rule.side == "high" else value_c < episode.peak_c
    return within and not worse


def _told(state: RuleState, living: list[Episode]) -> list[Episode]:
    """Return the episodes as told so far, the open one with its peak of today."""
    if isinstance(state, Firing):
        living[-1] = replace(living[-1], peak_c=state.peak_c)
    return living


def _from_anchor(tape: Tape, rule_id: str, told: Sequence[Episode]) -> tuple[int, Iterator[Known]]:
    """Return the ts of the anchor and all readings after it.

    With no anchor: a ts before the watch, and all its readings.
    """
    since: list[Known] = []
    for window in tape.backwards():
        for at in range(len(window) - 1, -1, -1):
            ts_ms, _, value_c = window[at]
            if _left_idle(tape.watch, rule_id, told, ts_ms, value_c):
                return ts_ms, chain(window[at + 1 :], since, tape.forwards())
        since = window + since
    return tape.start_ms - 1, chain(since, tape.forwards())


def _left_idle(
    watch: Watch, rule_id: str, told: Sequence[Episode], ts_ms: int, value_c: float
) -> bool:
    """Tell whether this stored reading left the rule idle when last judged.

    It did when it is not bad (so not pending) and outside every episode told (so not firing).
    """
    rule = watch.rule(rule_id, ts_ms)
    if rule is not None and is_bad(rule, value_c):
        return False
    at = bisect_right(told, ts_ms, key=lambda episode: episode.start_ms)
    return not (at and told[at - 1].holds(ts_ms))


def _tell(
    book: Book, rule_id: str, told: Sequence[Episode], found: Sequence[Found], cause: str
) -> None:
    """Tell the way from the episodes told so far to those found; an equal one is not mentioned."""
    pairs = _paired(told, found)
    kept = {episode.alert_id for episode in pairs if episode is not None}
    for episode in told:
        if episode.alert_id not in kept:
            book.withdraw(episode.alert_id, cause)
    for old, new in zip(pairs, found, strict=True):
        if old is None:
            fired = book.fire(rule_id, new.fired, late=True)
            if new.ending:
                book.end(fired, new.ending)
        elif _only_ended(old, new) and new.ending:
            book.end(old, new.ending)
        elif as_found(old, new) != old:
            book.amend(old, new, cause)


def _only_ended(old: Episode, new: Found) -> bool:
    began_same = (old.start_ms, old.fired_ms) == (new.fired.start_ms, new.fired.fired_ms)
    return old.resolved_ms is None and began_same


def _paired(told: Sequence[Episode], found: Sequence[Found]) -> list[Episode | None]:
    """Return for each episode found the one told that it continues: same start, else overlap."""
    by_start = {episode.start_ms: episode for episode in told}
    pairs = [by_start.get(new.fired.start_ms) for new in found]
    taken = {episode.alert_id for episode in pairs if episode is not None}
    for at, new in enumerate(found):
        if pairs[at] is None:
            free = (episode for episode in told if episode.alert_id not in taken)
            pairs[at] = next((episode for episode in free if _overlap(episode, new)), None)
            taken |= {episode.alert_id for episode in pairs[at : at + 1] if episode is not None}
    return pairs


def _overlap(old: Episode, new: Found) -> bool:
    ends_before = new.ending is not None and new.ending.resolved_ms < old.start_ms
    starts_after = old.resolved_ms is not None and new.fired.start_ms > old.resolved_ms
    return not (ends_before or starts_after)


class _Fold:
    """One rule folded over readings from an idle state, keeping the episodes it finds."""

    def __init__(self, watch: Watch, rule_id: str) -> None:
        self._watch = watch
        self._rule_id = rule_id
        self.state: RuleState = None
        self.found: list[Found] = []

    def judge(self, ts_ms: int, value_c: float) -> None:
        rule = self._watch.rule(self._rule_id, ts_ms)
        self.state, signal = step(rule, self.state, ts_ms, value_c)
        if isinstance(signal, Fired):
            self.found.append(Found(signal, signal.peak_c))
        elif signal:
            self.found[-1] = Found(self.found[-1].fired, signal.peak_c, signal)

    def finish(self) -> None:
        """Settle what is open after the last reading: open still, or closed with the watch."""
        end_ms = self._watch.end_ms
        if isinstance(self.state, Firing):
            peak_c = self.state.peak_c
            ending = None if end_ms is None else Closed(end_ms, peak_c, "probe_removed")
            self.found[-1] = Found(self.found[-1].fired, peak_c, ending)
        if end_ms is not None:
            self.state = None


def _key(reading: Known) -> Key:
    return reading[:2]
