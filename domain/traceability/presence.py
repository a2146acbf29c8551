"""Where the codes of a whole lot were, all at once: `thermal.whereabouts` of each, in columns.

Most codes share their life with those of the same pack but for the last scan, by which they are
used up: such codes are one group, followed once, and each leaves it with its own last scan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from domain.traceability.custody import NOT_INHERITED
from domain.traceability.facts import LEVEL_MAX, Step

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Nothing is known to have ended it.
OPEN_MS = 2**62
_SPAN = 2**31  # more than there are facts, or codes, of one lot
_ALL_DOSES = 2**31
# Scans that show where a code is without a change of custody.
_SEEN = (
    Step.PACKING,
    Step.STORING,
    Step.CYCLE_COUNTING,
    Step.UNPACKING,
    Step.OPENING,
    Step.FINDING,
)
_MOVING = (Step.SHIPPING, Step.RETURNING)
_USING = (Step.DISPENSING, Step.WASTING)
_ENDING = (Step.SAMPLING, Step.DESTROYING)
_PLACING = (Step.COMMISSIONING, Step.LOSING, Step.RECEIVING, *_SEEN, *_MOVING, *_USING, *_ENDING)
_ALONE = tuple(NOT_INHERITED)


class Facts(NamedTuple):
    """Facts in their order; a fact is named by its place among them.

    Sites and units are numbers, 0 = none; `site`: the one that the goods are at or go to, `unit`:
    the unit or vehicle named, `vehicle`: that of a receipt. `doses`: how many were wasted, -1 =
    all. `level`: as commissioned, 1 where nothing was said.
    """

    step: Ints
    t_ms: Ints
    site: Ints
    unit: Ints
    vehicle: Ints
    doses: Ints
    level: Ints


class Scanned(NamedTuple):
    """Which fact names which code (a number from 0); `filled`: it is the pack that was filled."""

    code: Ints
    fact: Ints
    filled: Flags


class Inside(NamedTuple):
    """Stays of codes in packs, after one fact and before another (-1 and beyond all: open)."""

    code: Ints
    pack: Ints
    after: Ints
    before: Ints


class Presence(NamedTuple):
    """Where groups of codes were, and which code left its group when.

    Stays: `group`, `site`, `unit`, from the fact `since`, `t0` to `t1` (ms, `OPEN_MS` = still), in
    order. Codes: `code` was as `of_group` says up to the fact `left`, at `left_ms`.
    """

    group: Ints
    site: Ints
    unit: Ints
    since: Ints
    t0: Ints
    t1: Ints
    code: Ints
    of_group: Ints
    left: Ints
    left_ms: Ints


class _Chain(NamedTuple):
    """Facts that happened to codes, by code and in order; `own`: not by way of a pack."""

    code: Ints
    fact: Ints
    own: Flags
    filled: Flags

    def some(self, rows: Flags) -> _Chain:
        """Return some of the rows."""
        return _Chain(self.code[rows], self.fact[rows], self.own[rows], self.filled[rows])


def presence(
    facts: Facts, scanned: Scanned, inside: Inside, codes: Ints, doses_per_vial: int
) -> Presence:
    """Return where some codes, which never held anything, were until they were used up.

    `scanned` and `inside` tell of these codes and of all packs above them. ValueError for packs
    that are in each other.
    """
    left = _left(facts, scanned, codes, doses_per_vial)
    members = np.zeros(left.size, np.bool_)
    members[codes] = True
    by_last = members[inside.code] & (inside.before == left[inside.code])
    inside = inside._replace(before=np.where(by_last, facts.step.size, inside.before))
    rest = ~(members[scanned.code] & (scanned.fact == left[scanned.code]))
    scanned = Scanned(scanned.code[rest], scanned.fact[rest], scanned.filled[rest])
    _, leads, of_group = np.unique(
        _shape(scanned, inside, left.size)[codes], return_index=True, return_inverse=True
    )
    leads = codes[leads]
    chain = _of_leads(_chains(facts, scanned, inside, leads, left.size), leads, left.size)
    stays = _stays(facts, chain, _levels(facts, scanned, left.size)[leads], doses_per_vial)
    left_ms = np.append(facts.t_ms, OPEN_MS)[left[codes]]
    return Presence(*stays, codes, of_group.astype(np.int64), left[codes], left_ms)


def _levels(facts: Facts, scanned: Scanned, codes: int) -> Ints:
    """Return the level that each code was commissioned as, 1 where it was not."""
    found = np.ones(codes, np.int64)
    made = facts.step[scanned.fact] == Step.COMMISSIONING
    found[scanned.code[made]] = facts.level[scanned.fact[made]]
    return found


def _left(facts: Facts, scanned: Scanned, codes: Ints, doses_per_vial: int) -> Ints:
    """Return by which own last fact each code was used up; that beyond all facts where by none."""
    known = int(max(scanned.code.max(initial=-1), codes.max(initial=-1))) + 1
    last = np.full(known, -1, np.int64)
    own = ~scanned.filled
    np.maximum.at(last, scanned.code[own], scanned.fact[own])
    found = np.full(known, facts.step.size, np.int64)
    some = codes[last[codes] >= 0]
    step, doses = facts.step[last[some]], facts.doses[last[some]]
    vial = _levels(facts, scanned, known)[some] == 1
    given = (step == Step.DISPENSING) & vial & (doses_per_vial == 1)
    wasted = (step == Step.WASTING) & ((doses < 0) | (doses >= doses_per_vial))
    ends = given | wasted | np.isin(step, _ENDING)
    found[some[ends]] = last[some[ends]]
    return found


def _shape(scanned: Scanned, inside: Inside, codes: int) -> npt.NDArray[np.uint64]:
    """Return for each code a number that is equal where all that was told of them is."""
    found = np.zeros(codes, np.uint64)
    with np.errstate(over="ignore"):
        np.add.at(found, scanned.code, _mixed(scanned.fact * 2 + scanned.filled))
        stay = _mixed(inside.pack * _SPAN + inside.after) ^ _mixed(-inside.before)
        np.add.at(found, inside.code, _mixed(stay.view(np.int64)))
    return found


def _mixed(numbers: Ints) -> npt.NDArray[np.uint64]:
    """Return numbers spread over 64 bits, each to another one (splitmix64)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _chains(
    facts: Facts, scanned: Scanned, inside: Inside, leads: Ints, codes: int
) -> list[_Chain]:
    """Return what happened to some codes and to their packs, from the outermost inwards."""
    wanted, depth = _depths(inside, leads, codes)
    within = np.flatnonzero(wanted[inside.code])
    named = np.flatnonzero(wanted[scanned.code])
    keys = facts_passed = np.empty(0, np.int64)  # by pack and fact, ascending
    chains = []
    for level in range(int(depth[wanted].max(initial=0)) + 1):
        stays = within[depth[inside.code[within]] == level]
        own = named[depth[scanned.code[named]] == level]
        chain = _chain(scanned, own, _inherited(inside, stays, keys, facts_passed))
        chains.append(chain)
        passes = ~chain.filled & ~np.isin(facts.step[chain.fact], _ALONE)
        keys = np.append(keys, chain.code[passes] * _SPAN + chain.fact[passes])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        facts_passed = np.append(facts_passed, chain.fact[passes])[order]
    return chains


def _depths(inside: Inside, leads: Ints, codes: int) -> tuple[Flags, Ints]:
    """Return which codes are these or packs above them, and how many packs each was ever in."""
    wanted = np.zeros(codes, np.bool_)
    wanted[leads] = True
    depth = np.zeros(codes, np.int64)
    for _ in range(LEVEL_MAX + 1):
        wanted[inside.pack[wanted[inside.code]]] = True
        deeper = depth.copy()
        np.maximum.at(deeper, inside.code, depth[inside.pack] + 1)
        if (deeper == depth).all():
            return wanted, depth
        depth = deeper
    raise ValueError("packs are in each other")


def _of_leads(chains: list[_Chain], leads: Ints, codes: int) -> _Chain:
    """Return the chains of the leads alone, each under its place among them."""
    group = np.full(codes, -1, np.int64)
    group[leads] = np.arange(leads.size)
    chain = _Chain(
        np.concatenate([each.code for each in chains]),
        np.concatenate([each.fact for each in chains]),
        np.concatenate([each.own for each in chains]),
        np.concatenate([each.filled for each in chains]),
    )
    chain = chain.some(group[chain.code] >= 0)
    place = group[chain.code]
    order = np.argsort(place * _SPAN + chain.fact, kind="stable")
    return _Chain(place[order], chain.fact[order], chain.own[order], chain.filled[order])


def _inherited(inside: Inside, stays: Ints, keys: Ints, facts: Ints) -> tuple[Ints, Ints]:
    """Return codes and facts: what the packs of some stays went through meanwhile."""
    pack = inside.pack[stays] * _SPAN
    begins = np.searchsorted(keys, pack + inside.after[stays] + 1)
    counts = np.maximum(np.searchsorted(keys, pack + inside.before[stays]) - begins, 0)
    which = np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return np.repeat(inside.code[stays], counts), facts[which]


def _chain(scanned: Scanned, own: Ints, inherited: tuple[Ints, Ints]) -> _Chain:
    """Join what was told of codes themselves and by way of packs; a fact counts once."""
    code = np.append(scanned.code[own], inherited[0])
    fact = np.append(scanned.fact[own], inherited[1])
    filled = np.append(scanned.filled[own], np.zeros(inherited[0].size, np.bool_))
    _, first = np.unique(code * _SPAN + fact, return_index=True)
    return _Chain(code[first], fact[first], first < own.size, filled[first])


def _stays(
    facts: Facts, chain: _Chain, levels: Ints, doses_per_vial: int
) -> tuple[Ints, Ints, Ints, Ints, Ints, Ints]:
    """Return the first six columns of `Presence`: go through the chains of all groups at once."""
    step = facts.step[chain.fact]
    placing = np.isin(step, _PLACING) & ~((step == Step.DISPENSING) & (levels[chain.code] > 1))
    chain, step = chain.some(placing), step[placing]
    kept = (step != Step.COMMISSIONING) | _first(chain.code)
    chain, step = chain.some(kept), step[kept]
    spent, ended = _spent(facts, chain, step, doses_per_vial)
    # What comes after the end changes nothing any more.
    alive = spent < doses_per_vial
    chain, step, ended = chain.some(alive), step[alive], ended[alive]
    site, unit = _places(facts, chain, step)
    opening = (step == Step.OPENING) | np.isin(step, _USING)
    moving = np.isin(step, _MOVING) & (_sum_before(chain.code, opening.astype(np.int64)) == 0)
    first = _first(chain.code)
    change = first | _differs(site) | _differs(unit) | _differs(moving.astype(np.int64))
    event = np.flatnonzero(change | ended)
    group, fact = chain.code[event], chain.fact[event]
    follows = np.append(group[1:] == group[:-1], np.zeros(min(1, event.size), np.bool_))
    after = np.where(follows, np.append(fact[1:], -1)[: event.size], -1)
    t1 = np.where(follows, facts.t_ms[after], OPEN_MS)
    received = follows & moving[event] & (facts.step[after] == Step.RECEIVING)
    by_receipt = received & (unit[event] == 0)
    unit_then = np.where(by_receipt, facts.vehicle[after], unit[event])
    stays = np.flatnonzero(~ended[event])
    columns = (group, site[event], unit_then, fact, facts.t_ms[fact], t1)
    found = [column[stays].astype(np.int64) for column in columns]
    return found[0], found[1], found[2], found[3], found[4], found[5]


def _spent(facts: Facts, chain: _Chain, step: Ints, doses_per_vial: int) -> tuple[Ints, Flags]:
    """Return how many doses were gone before each fact, and which facts left none."""
    told = facts.doses[chain.fact]
    partly = (step == Step.WASTING) & chain.own & (told >= 0)
    gone = np.zeros(step.size, np.int64)
    gone[np.isin(step, (*_USING, *_ENDING))] = _ALL_DOSES
    gone[step == Step.DISPENSING] = 1
    gone[partly] = told[partly]
    before = _sum_before(chain.code, gone)
    return before, (gone > 0) & (before + gone >= doses_per_vial)


def _places(facts: Facts, chain: _Chain, step: Ints) -> tuple[Ints, Ints]:
    """Return the site and the unit of each code after each fact."""
    first = _first(chain.code)
    site = _kept(facts.site[chain.fact], first | (step != Step.LOSING))
    unit = np.where(step == Step.LOSING, 0, facts.unit[chain.fact])
    moved = first | _differs(site)
    says = (unit > 0) | moved | ~np.isin(step, (*_SEEN, Step.LOSING))
    return site, _kept(unit, says)


def _first(code: Ints) -> Flags:
    """Tell which rows are the first of their code."""
    found = np.ones(code.size, np.bool_)
    found[1:] = code[1:] != code[:-1]
    return found


def _differs(values: Ints) -> Flags:
    """Tell which values are not as the one before."""
    found = np.zeros(values.size, np.bool_)
    found[1:] = values[1:] != values[:-1]
    return found


def _kept(values: Ints, says: Flags) -> Ints:
    """Return values, and where they say nothing those of the row before; the first says."""
    rows = np.where(says, np.arange(values.size), 0)
    return values[np.maximum.accumulate(rows)] if values.size else values


def _sum_before(code: Ints, values: Ints) -> Ints:
    """Return the sums of the values of the same code in the rows before."""
    sums = np.cumsum(values) - values
    starts = np.flatnonzero(_first(code))
    lengths = np.diff(np.append(starts, code.size))
    return sums - np.repeat(sums[starts], lengths)
