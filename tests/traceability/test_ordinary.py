"""Ordinary lives: what is followed scan by scan is what the book tells, and nothing is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.traceability import events as told_as
from domain.traceability.codes import code_key
from domain.traceability.custody import Book, Product
from domain.traceability.exceptions import Ground, of_code
from domain.traceability.facts import BEGINNING
from domain.traceability.journeys import Place
from domain.traceability.ordinary import Known, Life, Lives, keys_of
from domain.traceability.progress import end_of
from projections.traceability.telling import facts_of
from store.envelope import Recorded
from tests.traceability import lives
from tests.traceability.chain import START, mentions, recorded

EXPIRES = {
    e.lot_id: e.expires_on for e, *_ in lives.masters() if isinstance(e, told_as.LotReleased)
}
UNTIL = {lot: end_of(day) for lot, day in EXPIRES.items()}
GROUND = Ground(expires_on=EXPIRES)


def followed(log: Iterable[Recorded], known: Known | None = None) -> Lives:
    found = Lives(known or Known(until_ms=UNTIL))
    for told in sorted(told for told, _ in facts_of(log)):
        found.take(told)
    return found


def first_told(log: list[Recorded]) -> list[Recorded]:
    """Return a log without facts told again."""
    seen: dict[str, Recorded] = {}
    for each in log:
        seen.setdefault(getattr(each.envelope.event, "fact_id", str(each.position)), each)
    return list(seen.values())


def of_life(life: Life) -> tuple[Any, ...]:
    end = life.end
    stays = [] if life.stay_in is None else [(life.stay_in, life.start, end)]
    where = ("", "", "") if life.parent else (life.site_id, life.unit_id, life.status)
    return (life.lot_id, life.declared, where, life.doses_given, life.since_ms, stays)


def of_book(book: Book, code: int) -> tuple[Any, ...]:
    own = book.progress(code)
    where = ("", "", "") if book.inside(code) else (own.site_id, own.unit_id, own.status)
    stays = [tuple(stay) for stay in book.stays(code)]
    return (own.lot_id, own.level, where, own.doses_given, own.since_ms, stays)


@pytest.mark.parametrize("seed", range(120))
def test_given_any_lives_when_ordinary_then_as_the_book_tells_and_nothing_is_wrong(
    seed: int,
) -> None:
    rng = random.Random(seed)
    wrong = rng.choice([0.0, 0.03, 0.15])
    log = first_told(recorded(lives.log(rng, 3, wrong)))
    found = followed(log)
    book = Book(mentions(log), product=lambda _: Product(1), expires_on=EXPIRES)
    levels = book.levels
    ordinary = {k: life for k in book.codes if (life := found.life(k)) is not None}
    for k, life in ordinary.items():
        assert of_life(life) == of_book(book, k)
        # (What is inside and fell raises levels, too.)
        assert life.level == levels[k] or (found.fallen() and life.level < levels[k])
        assert not book.progress(k).flags
        assert not of_code(book, k, GROUND)
        assert life.start == BEGINNING or life.start[0] <= life.since_ms
    if not wrong:
        assert len(ordinary) > len(book.codes) / 2


def carton(seed: int = 5) -> tuple[list[Recorded], lives.Carton]:
    made = lives.Carton(random.Random(seed), 1)
    events: Any = [
        (event, START + timedelta(hours=n), START + timedelta(hours=n))
        for n, event in enumerate(made.facts)
    ]
    return recorded(events), made


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(Known(bound={lives.LOT}), id="lot held"),
        pytest.param(Known(until_ms={lives.LOT: 0}), id="lot expired"),
        pytest.param(Known(doubtful={"maker": 2**62}), id="excursion at the place"),
    ],
)
def test_given_what_binds_all_when_followed_then_no_life_is_ordinary(known: Known) -> None:
    log, _ = carton()
    found = followed(log, known)
    assert not list(found.going_on())


def test_given_an_excursion_that_was_over_when_followed_then_still_ordinary() -> None:
    log, made = carton()
    over = Known(doubtful={"county": round(START.timestamp() * 1000)})
    assert followed(log, over).life(code_key(made.whole)) is not None


@pytest.mark.parametrize("named", ["vehicle_id", "device_id"])
@pytest.mark.parametrize(("until_h", "ordinary"), [(0.5, True), (1.5, False)])
def test_given_a_vehicle_that_only_the_receipt_names_when_too_warm_on_the_way_then_not_ordinary(
    named: str, until_h: float, *, ordinary: bool
) -> None:
    code = lives.code(1)
    on_bill: dict[str, Any] = {"bill_no": "1", "codes": (code,)}
    facts = [
        told_as.CodesCommissioned(fact_id="a", site_id="s", lot_id=lives.LOT, codes=(code,)),
        told_as.GoodsDispatched(fact_id="b", site_id="s", to_site_id="t", **on_bill),
        told_as.GoodsReceived(fact_id="c", site_id="t", **on_bill | {named: "v"}),
    ]
    events: Any = [(fact, START + timedelta(hours=n), START) for n, fact in enumerate(facts)]
    until_ms = round((START + timedelta(hours=until_h)).timestamp() * 1000)
    found = followed(recorded(events), Known(until_ms=UNTIL, doubtful={"v": until_ms}))
    assert (found.life(code_key(code)) is not None) == ordinary


@pytest.mark.parametrize(
    ("since", "county", "ordinary"),
    [
        (0, Place(39.0, 107.0), True),
        (0, Place(10.0, 100.0), False),
        (10**6, Place(39.0, 107.0), False),
        (0, None, True),
    ],
)
def test_given_places_when_a_carton_comes_too_fast_or_a_place_is_told_later_then_not_ordinary(
    since: int, county: Place | None, *, ordinary: bool
) -> None:
    log, made = carton()
    places = {"city": (0, Place(38.5, 106.2))}
    if county is not None:
        places["county"] = since, county
    found = followed(log, Known(places=places))
    assert (found.life(code_key(made.whole)) is not None) == ordinary


def test_given_known_before_when_a_fact_became_known_in_another_order_then_not_ordinary() -> None:
    log, made = carton()
    log = [Recorded(len(log) - n, each.envelope) for n, each in enumerate(log)]
    whole = code_key(made.whole)
    assert followed(log).life(whole) is None
    assert followed(log, Known(first=100)).life(whole) is not None


def test_given_vials_of_several_doses_when_given_then_not_ordinary() -> None:
    made = told_as.CodesCommissioned(
        fact_id="m", site_id="s", lot_id=lives.LOT, codes=(lives.code(1), lives.code(2))
    )
    came = [
        told_as.GoodsDispatched(
            fact_id="a", site_id="s", to_site_id="t", bill_no="1", codes=made.codes
        ),
        told_as.GoodsReceived(fact_id="b", site_id="t", bill_no="1", codes=made.codes),
    ]
    dose = told_as.DoseAdministered(fact_id="c", site_id="t", codes=made.codes[:1])
    both = replace(dose, codes=made.codes)
    for given, known in ((dose, Known(shared={lives.P})), (both, Known())):
        events: Any = [
            (e, START + timedelta(hours=n), START) for n, e in enumerate([made, *came, given])
        ]
        assert followed(recorded(events), known).life(code_key(lives.code(1))) is None


def test_given_a_code_forgotten_when_told_of_again_then_not_ordinary() -> None:
    log, made = carton()
    found = Lives(Known(), fallen=[7])
    facts = facts_of(log)
    found.take(facts[0][0])
    code = code_key(made.packs[0][0])
    assert found.life(code) is not None
    found.forget(code)
    assert found.life(code) is None
    assert code not in dict(found.going_on())
    assert found.fallen() == [7]
    found.take(facts[0][0])
    assert code in found.fallen()


def test_given_a_product_without_keys_of_its_own_when_asked_then_none() -> None:
    low, high = keys_of("06901234567892")
    assert low > high
    low, high = keys_of(lives.P)
    assert low <= code_key(lives.code(5)) <= high


@pytest.mark.parametrize(("pack", "ordinary"), [(lives.code(2), True), ("", False)])
def test_given_what_is_unpacked_at_once_when_followed_then_ordinary_if_the_pack_is_named(
    pack: str, *, ordinary: bool
) -> None:
    content, where = lives.code(1), {"site_id": "s", "parent": pack}
    facts: Any = [
        told_as.CodesCommissioned(
            fact_id="a", site_id="s", lot_id=lives.LOT, codes=(content, lives.code(2))
        ),
        told_as.PacksAggregated(fact_id="b", codes=(content,), **where),
        told_as.PacksDisaggregated(fact_id="c", codes=(content,), **where),
    ]
    events: Any = [(fact, START + timedelta(hours=n), START) for n, fact in enumerate(facts)]
    life = followed(recorded(events)).life(code_key(content))
    assert (life is not None) == ordinary
