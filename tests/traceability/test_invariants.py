"""What holds for any facts, in any order, repeated, late or withdrawn: the twelve invariants."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.shared.errors import Invalid
from domain.traceability import events, model
from domain.traceability.custody import MOVING, Book, Product
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.hops import stock_of
from domain.traceability.progress import MINUTE_MS, Entry
from domain.traceability.pseudonyms import checked_pseudonym
from domain.traceability.scan import STEPS, fact_from_scan
from domain.traceability.states import ENDED, Flag, Status
from tests.traceability.test_custody import (
    BOX,
    BOX_2,
    CASE,
    CITY,
    CLINIC,
    HERE,
    LOT,
    MADE,
    MAKER,
    VIAL,
    VIAL_2,
    book,
    scan,
)

few = settings(max_examples=30, deadline=None)
SITES = [MAKER, CITY, CLINIC]
DOSES, LIMIT_MIN = 3, 2
EXPIRES = {LOT: date(1970, 1, 1)}


class World(NamedTuple):
    """Facts about codes, each with its mentions, and facts about the whole lot."""

    told: list[list[Mention]]
    lot: list[Fact]

    def book(self, as_of: int | None = None, **more: Any) -> Book:
        """Return them as a book; `told` mixed and doubled where a seed is given."""
        mentions = [m for fact in self.told for m in fact]
        if (seed := more.pop("seed", None)) is not None:
            mentions *= 2
            random.Random(seed).shuffle(mentions)
        return Book(
            [*MADE, *mentions],
            facts=self.lot,
            product=lambda _: Product(DOSES, LIMIT_MIN),
            expires_on=EXPIRES,
            as_of=as_of,
        )

    def until(self, t_ms: int) -> World:
        """Return what had happened by a moment."""
        return World(
            [fact for fact in self.told if all(m.fact.t_ms <= t_ms for m in fact)],
            [fact for fact in self.lot if fact.t_ms <= t_ms],
        )


_STEPS = st.sampled_from([s for s in Step if s is not Step.COMMISSIONING])
_CODES = st.lists(st.sampled_from([VIAL, VIAL_2, BOX, BOX_2]), min_size=1, max_size=2, unique=True)
_LOT_STEPS = st.sampled_from([Step.HOLDING, Step.CONDEMNING, Step.RELEASING])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw up to ten facts, several at one moment, some withdrawn, about a few codes and packs."""
    told, lot = [], []
    for n in range(draw(st.integers(1, 10))):
        step, codes = draw(_STEPS), draw(_CODES)
        packing = step in {Step.PACKING, Step.UNPACKING}
        parents = [BOX, BOX_2, CASE] if packing else [None, BOX]
        parent = draw(st.sampled_from(parents)) if packing or step is Step.DISPENSING else None
        codes = [code for code in codes if code != parent]
        told.append(
            scan(
                step,
                draw(st.integers(2, 6)),
                draw(st.sampled_from(SITES)),
                *codes,
                parent=parent,
                all_contents=step is Step.UNPACKING and not codes,
                to_site_id=CLINIC,
                bill_type=draw(st.sampled_from(["", "205"])),
                recall=draw(st.booleans()),
                accepted=draw(st.booleans()),
                fact_id=f"f{n}",
                position=n + 2,
                withdrawn_position=draw(st.sampled_from([None, None, 50 + n])),
            )
        )
    for n in range(draw(st.integers(0, 2))):
        lot.append(lot_fact(draw(_LOT_STEPS), draw(st.integers(2, 6)), n, draw(st.booleans())))
    return World(told, lot)


def lot_fact(step: Step, t_ms: int, n: int, recall: bool) -> Fact:
    return Fact(
        fact_id=f"l{n}",
        step=step,
        t_ms=t_ms,
        recorded_ms=t_ms,
        position=20 + n,
        site_id=MAKER,
        lot_id=LOT,
        recall=recall,
    )


def shown(entry: Entry) -> object:
    return entry.fact.fact_id, entry.order, entry.via, entry.as_parent, entry.inherited


def everything(found: Book) -> list[object]:
    return [
        (
            k,
            list(map(shown, found.chain(k))),
            found.stays(k),
            found.state(k),
            found.judged(k),
            found.levels[k],
        )
        for k in found.codes
    ]


@few
@given(worlds(), st.sampled_from([None, 5, 55]))
def test_given_any_facts_when_asked_for_any_moment_then_one_parent_and_one_holder(
    world: World, as_of: int | None
) -> None:
    for t_ms in range(7):
        found = world.until(t_ms).book(as_of)
        for k in found.codes:
            stays = found.stays(k)
            for a, b in itertools.pairwise(stays):
                assert a.end is not None
                assert a.start <= a.end <= b.start
            inside, state = found.inside(k), found.state(k)
            assert state.parent == (inside.parent if inside else None)
            assert state.site_id in {"", *SITES}


@few
@given(worlds())
def test_given_any_facts_when_asked_then_no_more_doses_than_a_vial_has_or_a_flag(
    world: World,
) -> None:
    found = world.book()
    for k in found.codes:
        state = found.state(k)
        spent = state.doses_given + state.doses_wasted
        assert spent <= DOSES or Flag.DOSES_EXCEED_VIAL in state.flags
        assert state.doses_left is None or 0 <= state.doses_left <= max(DOSES - spent, 0)


@few
@given(worlds(), st.sampled_from([None, 5, 55]))
def test_given_any_facts_when_units_are_summed_then_all_that_were_commissioned(
    world: World, as_of: int | None
) -> None:
    for t_ms in range(1, 7):
        found = world.until(t_ms).book(as_of)
        units = [VIAL, VIAL_2]
        placed = sum(line.units for line in stock_of(found, units))
        # Packs that contain each other are nowhere; what is inside them is an open exception.
        nowhere = sum(found.standing(k).status is Status.UNKNOWN for k in units)
        assert placed + nowhere == len(units)


@few
@given(worlds(), st.integers(0, 2**32), st.sampled_from([None, 5, 55]))
def test_given_any_facts_when_shuffled_and_doubled_then_the_same(
    world: World, seed: int, as_of: int | None
) -> None:
    assert everything(world.book(as_of, seed=seed)) == everything(world.book(as_of))


@few
@given(worlds())
def test_given_any_facts_when_told_again_later_then_nothing_changes(world: World) -> None:
    again = [
        [m._replace(fact=replace(m.fact, position=m.fact.position + 100)) for m in fact]
        for fact in world.told
    ]
    assert everything(World([*again, *world.told], world.lot).book()) == everything(world.book())
    fact = events.VialOpened(fact_id="f", site_id=CLINIC, codes=("84743540181360010008",))
    known = model.evolve_scan(model.Scan(), *model.record(model.Scan(), fact=fact))  # type: ignore[arg-type]  # the one event of a new fact
    assert model.record(known, fact=fact) == []


_MOVES = st.lists(
    st.tuples(st.sampled_from([Step.RECEIVING, Step.STORING]), st.integers(3, 20)), max_size=6
)


@few
@given(
    moves=_MOVES,
    out=st.one_of(st.none(), st.integers(3, 20)),
    alone=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_given_a_pack_that_moves_when_its_contents_leave_it_then_they_moved_till_then(
    moves: list[tuple[Step, int]], out: int | None, alone: bool, seed: int
) -> None:
    """The unpacking may come late, or never: then a scan of the child alone tells as much."""
    facts = [scan(Step.PACKING, 2, MAKER, VIAL, VIAL_2, parent=BOX)]
    # Half moments keep the moves apart from the leaving.
    facts += [
        scan(step, 10 * t, SITES[t % 3], BOX, fact_id=f"m{n}") for n, (step, t) in enumerate(moves)
    ]
    if out is not None:
        step, parent = (Step.STORING, None) if alone else (Step.UNPACKING, BOX)
        facts.append(scan(step, 10 * out + 5, "X", VIAL, parent=parent, fact_id="out"))
    random.Random(seed).shuffle(facts)
    found = book(MADE, *facts)
    ways = {(f"m{n}", 10 * t) for n, (_, t) in enumerate(moves)}
    with_it = {fact_id for fact_id, t_ms in ways if out is None or t_ms < 10 * out + 5}
    assert {e.fact.fact_id for e in found.chain(VIAL) if e.via == BOX} == with_it
    assert {e.fact.fact_id for e in found.chain(VIAL_2) if e.via == BOX} == {n for n, _ in ways}
    assert found.state(VIAL_2).site_id == found.state(BOX).site_id
    assert (found.state(VIAL).site_id == "X") is (out is not None)


@few
@given(
    end=st.sampled_from([Step.DISPENSING, Step.WASTING, Step.SAMPLING, Step.DESTROYING]),
    world=worlds(),
)
def test_given_an_ended_code_when_anything_follows_then_only_a_withdrawal_reopens_it(
    end: Step, world: World
) -> None:
    ending = scan(end, 10, CLINIC, VIAL, fact_id="end", position=60)
    later = [
        [m._replace(fact=replace(m.fact, t_ms=m.fact.t_ms + 10)) for m in fact]
        for fact in world.told
    ]
    ended = book(MADE, ending).state(VIAL).status
    assert ended in ENDED
    for n in range(len(later) + 1):
        assert book(MADE, ending, *later[:n]).state(VIAL).status in {ended, Status.DESTROYED}
    gone = [m._replace(fact=replace(m.fact, withdrawn_position=99)) for m in ending]
    assert book(MADE, gone, *later).state(VIAL) == book(MADE, *later).state(VIAL)


@few
@given(
    opened=st.lists(
        st.tuples(st.sampled_from([Step.OPENING, Step.DISPENSING]), st.integers(4, 10**6)),
        min_size=1,
        max_size=4,
        unique_by=lambda told: told[1],
    ),
    seed=st.integers(0, 2**32),
)
def test_given_an_opened_vial_when_asked_then_its_deadline_runs_from_the_first_event_time(
    opened: list[tuple[Step, int]], seed: int
) -> None:
    facts = [scan(step, t, CLINIC, VIAL, fact_id=f"o{t}") for step, t in opened]
    random.Random(seed).shuffle(facts)
    found = book(MADE, HERE, *facts, product=lambda _: Product(9, LIMIT_MIN))
    first = min(t for _, t in opened)
    assert found.state(VIAL).use_by_ms == first + LIMIT_MIN * MINUTE_MS
    late = {f"o{t}" for step, t in opened if step is Step.DISPENSING and t - first > 120_000}
    flagged = {
        fact_id for fact_id, flags in found.judged(VIAL).items() if Flag.OPEN_VIAL_OVERRUN in flags
    }
    assert flagged == late


@few
@given(
    doses=st.lists(st.integers(4, 20), min_size=1, max_size=4, unique=True),
    at=st.integers(4, 20),
    whole_lot=st.booleans(),
)
def test_given_a_recall_when_doses_lie_around_it_then_it_binds_from_its_time_on(
    doses: list[int], at: int, whole_lot: bool
) -> None:
    given_at = [scan(Step.DISPENSING, t, CLINIC, VIAL, fact_id=f"d{t}") for t in doses]
    recall = scan(Step.HOLDING, at, CLINIC, VIAL, recall=True, fact_id="r")
    lots = [lot_fact(Step.HOLDING, at, 0, recall=True)] if whole_lot else []
    told = given_at if whole_lot else [*given_at, recall]
    found = book(MADE, HERE, *told, facts=lots, product=lambda _: Product(9))
    expected = {f"d{t}": {Flag.RECALLED} for t in doses if t > at}
    assert found.judged(VIAL) == expected


@few
@given(worlds())
def test_given_a_fact_once_told_when_asked_as_of_then_then_it_is_there_whatever_followed(
    world: World,
) -> None:
    for told in world.told:
        for mention in told:
            at = mention.fact.position
            if mention.fact.step in MOVING and not mention.as_parent:
                chain = world.book(at).chain(mention.code)
                assert mention.fact.fact_id in {e.fact.fact_id for e in chain}


@pytest.mark.parametrize(
    "field", ["recipient", "vaccinator", "executer", "supervisor", "handed_by", "taken_by"]
)
def test_given_a_person_by_name_when_told_in_any_step_then_refused(field: str) -> None:
    codes = ["84743540181360010008"]
    everything_else: dict[str, Any] = {
        **{"lot": "A", "parent": "84743548930328208656", "to": "P", "bill": "B", "unit": "U"},
        **{"reason": "x", "recall_id": "r", "units": 1},
    }
    refusals = set()
    for step in STEPS:
        for fields in (everything_else, {}):
            with pytest.raises(Invalid) as refused:
                fact_from_scan(
                    step, fact_id="f", site_id="s", codes=codes, fields={field: "张三", **fields}
                )
            refusals.add(refused.value.code)
    assert "not_a_pseudonym" in refusals


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"[1-9][0-9]{16}[0-9Xx]", fullmatch=True),
        st.from_regex(r"R-1[0-9]{10}", fullmatch=True),
    )
)
def test_given_any_text_for_a_person_when_taken_then_it_tells_nothing_of_them(text: str) -> None:
    try:
        taken = checked_pseudonym(text, "recipient")
    except Invalid:
        return
    assert taken.isascii()
    assert not any(len(run) in {11, 18} and run[:17].isdigit() for run in _runs(taken))


def _runs(text: str) -> Iterable[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()


@few
@given(worlds(), worlds(), st.integers(2, 12))
def test_given_an_answer_as_of_a_position_when_more_is_told_then_it_stays_the_same(
    world: World, later: World, position: int
) -> None:
    before = World([f for f in world.told if all(m.fact.position <= position for m in f)], [])
    for told in before.told:  # withdrawn later: not yet, at that position
        told[:] = [m._replace(fact=replace(m.fact, withdrawn_position=None)) for m in told]
    after = [
        [m._replace(fact=replace(m.fact, fact_id=f"n{m.fact.fact_id}", position=500)) for m in fact]
        for fact in later.told
    ]
    now = World([*world.told, *after], world.lot)
    assert everything(now.book(position)) == everything(before.book(position))


@few
@given(worlds())
def test_given_withdrawn_facts_when_asked_before_and_after_then_there_and_gone(
    world: World,
) -> None:
    kept = [
        [m._replace(fact=replace(m.fact, withdrawn_position=None)) for m in fact]
        for fact in world.told
    ]
    assert everything(world.book(49)) == everything(World(kept, world.lot).book(49))
    standing = [f for f in world.told if all(m.fact.withdrawn_position is None for m in f)]
    assert everything(world.book()) == everything(World(standing, world.lot).book())
