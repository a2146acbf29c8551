"""Which goods an alert affects and holds, and what people may decide on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.alerting import consequence, policy
from domain.alerting.consequence import Assessment, Stock, assess, evolve, follow, select
from domain.alerting.events import (
    AffectedStockCleared,
    AlertAmended,
    AlertFired,
    StockAssessed,
)
from domain.alerting.model import Alert
from domain.alerting.model import evolve as evolve_alert
from domain.shared.decide import fold
from domain.shared.errors import Conflict, DomainError, Invalid
from domain.shared.events import Event
from domain.traceability.events import HoldCondemned, HoldPlaced, HoldReleased, ProductRegistered
from tests.alerts.notices_of import ALERT, FIRED_AT, fired, resolved, withdrawn

PRODUCT = ProductRegistered(
    product_id="8474354",
    name="示例灭活疫苗",
    holder="示例生物制品有限公司",
    doses_per_vial=1,
    temperature_c_min=2.0,
    temperature_c_max=8.0,
    freeze_sensitive=True,
)
LIVE = replace(PRODUCT, freeze_sensitive=False)
FROZEN = replace(PRODUCT, temperature_c_min=-25.0, temperature_c_max=-15.0)
FIRED = replace(fired(severity="critical"), rule_id="freeze_60min", side="low", limit_c=-0.5)
SIGNED = Assessment(
    decision="release",
    grounds="摇晃试验阴性",
    method="shake_test",
    executed_by="Q-1",
    supervised_by="Q-2",
)


@dataclass(frozen=True)
class Vial:
    """A vial in a pack of its own unless said otherwise."""

    code: str
    lot_id: str = "8474354.A1"
    product_id: str = "8474354"
    site_id: str = "s1"
    doses: int = 2
    ended: bool = False
    held: bool = False
    released_at: datetime | None = None
    pack: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pack", self.pack or self.code)


def at(minutes: float) -> datetime:
    return FIRED_AT + timedelta(minutes=minutes)


def alert(*events: Event, of: AlertFired = FIRED) -> Alert:
    found = fold(evolve_alert, None, (of, *events))
    assert found is not None
    return found


def followed(
    stock: Stock, inside: Sequence[Vial], of: Alert, *, reason: str | None = "freeze", **more: Any
) -> list[Any]:
    fields = {"now": at(1), "version": 0, **more}
    return follow(
        stock, alert=of, fired=FIRED, inside=inside, why=lambda _product: reason, **fields
    )


def after(events: Iterable[Any], stock: Stock | None = None) -> Stock:
    return fold(evolve, stock or Stock(), events)


def assessed(stock: Stock, of: Alert, said: Assessment = SIGNED, **more: Any) -> StockAssessed:
    fields: dict[str, Any] = {"codes": stock.waiting, "fact_ids": ("f1",), "held_too": {}} | more
    (event,) = assess(stock, alert=of, said=said, **fields)
    return event


@pytest.mark.parametrize(
    ("side", "limit_c", "peak_c", "severity", "product", "reason"),
    [
        ("low", -0.5, -0.6, "critical", PRODUCT, "freeze"),
        ("low", 0.0, -0.1, "minor", PRODUCT, "freeze"),
        ("low", -0.5, -0.6, "critical", LIVE, None),
        ("low", -0.5, -30.0, "critical", FROZEN, None),
        ("low", -0.5, -0.6, "critical", None, "freeze"),
        ("low", 2.0, 1.0, "critical", PRODUCT, None),
        ("low", 2.0, -0.5, "minor", PRODUCT, "freeze"),
        ("high", 8.0, 9.0, "minor", PRODUCT, None),
        ("high", 8.0, 9.0, "major", LIVE, "heat"),
        ("high", 15.0, 16.0, "critical", None, "heat"),
    ],
)
def test_given_an_alert_and_a_product_when_asked_then_it_holds_or_not(
    side: str,
    limit_c: float,
    peak_c: float,
    severity: str,
    product: ProductRegistered | None,
    reason: str | None,
) -> None:
    told = replace(FIRED, side=side, limit_c=limit_c, severity=severity)
    assert policy.holds(told, peak_c, product) == reason


def test_given_goods_inside_when_followed_then_named_held_and_the_same_again_changes_nothing() -> (
    None
):
    pack = "P"
    inside = [Vial("b", pack=pack), Vial("a", pack=pack), Vial("u", ended=True, doses=0)]
    moved = Vial("m", site_id="s2", lot_id="8474354.A2")
    events = followed(Stock(), [*inside, moved], alert(), version=4)
    used, here, there = events
    assert (used.hold_id, used.held, policy.hold_of(used)) == ("", (), None)
    assert [(lot.lot_id, lot.codes, lot.doses) for lot in here.lots] == [
        ("8474354.A1", ("a", "b"), (2, 2))
    ]
    assert (here.site_id, here.reason, here.held) == ("s1", "freeze", (pack,))
    assert there.site_id == "s2"
    assert policy.hold_of(here) == HoldPlaced(
        fact_id=here.hold_id,
        site_id="s1",
        codes=(pack,),
        issued_by="system",
        reason=f"freeze {ALERT}",
    )
    assert len({here.hold_id, there.hold_id}) == 2
    assert followed(Stock(), [*inside, moved], alert(), version=4) == events
    assert followed(Stock(), inside, alert(), tried=1)[1].hold_id != here.hold_id
    stock = after(events)
    assert stock.lots == {"8474354.A1": (3, 4), "8474354.A2": (1, 2)}
    assert sorted(stock.waiting) == ["a", "b", "m"]
    bound = [replace(vial, held=not vial.ended) for vial in (*inside, moved)]
    assert followed(stock, bound, alert()) == []
    late = Vial("z", site_id="")
    (found,) = followed(stock, [*bound, late], alert())
    assert (found.site_id, found.lots[0].codes) == ("s1", ("z",))


def test_given_more_goods_than_one_event_tells_when_followed_then_in_parts() -> None:
    inside = [Vial(f"{n:05}", pack=f"P{n // 1500}") for n in range(3000)]
    first, second = followed(Stock(), inside, alert())
    assert [len(event.lots[0].codes) for event in (first, second)] == [2000, 1000]
    assert (first.held, second.held) == (("P0", "P1"), ("P1",))


def test_given_an_alert_that_holds_nothing_when_it_comes_to_hold_then_held() -> None:
    (named,) = followed(Stock(), [Vial("a")], alert(), reason=None)
    assert (named.hold_id, named.reason) == ("", "")
    stock = after([named])
    assert stock.waiting == []
    (held,) = followed(stock, [Vial("a")], alert())
    assert held.hold_id
    assert after([held], stock).waiting == ["a"]


def test_given_goods_not_there_after_all_when_followed_then_cleared_and_still_held() -> None:
    stock = after(followed(Stock(), [Vial("a"), Vial("b")], alert()))
    (cleared,) = followed(stock, [Vial("a", held=True)], alert())
    assert cleared == AffectedStockCleared(alert_id=ALERT, codes=("b",), cause="corrected")
    stock = after([cleared], stock)
    (gone,) = followed(stock, [Vial("a", held=True)], alert(withdrawn()))
    assert (gone.codes, gone.cause) == (("a",), "withdrawn")
    stock = after([gone], stock)
    assert stock.lots == {}
    assert sorted(stock.waiting) == ["a", "b"]
    assert followed(stock, [], alert(withdrawn())) == []
    (again,) = followed(stock, [Vial("a", held=True)], alert())
    assert again.hold_id == ""
    stock = after([again], stock)
    assert (stock.units["a"].cleared, sorted(stock.waiting)) == (False, ["a", "b"])


def amended(start: float = -30, end: float = 10, peak_c: float = 9.8) -> AlertAmended:
    return AlertAmended(
        alert_id=ALERT,
        started_at=at(start),
        fired_at=at(0),
        peak_c=peak_c,
        recovered_at=at(end),
        resolved_at=at(end + 10),
        cause="late_data",
    )


@pytest.mark.parametrize(
    ("later", "again"),
    [
        (amended(), False),
        (amended(end=5), False),
        (amended(start=-31), True),
        (amended(end=11), True),
        (amended(peak_c=9.7), True),
        (amended(peak_c=9.9), False),
    ],
)
def test_given_released_goods_when_the_episode_is_graver_than_known_then_held_again(
    later: AlertAmended, again: bool
) -> None:
    stock = after(followed(Stock(), [Vial("a")], alert()))
    over = alert(resolved())
    stock = after([assessed(stock, over)], stock)
    assert stock.waiting == []
    free = Vial("a", released_at=at(60))
    assert followed(stock, [free], over) == []
    found = followed(stock, [free], alert(resolved(), later))
    assert bool(found) is again
    assert after(found, stock).waiting == ["a"] * again


def test_given_goods_that_late_facts_took_out_of_their_pack_when_followed_then_held_again() -> None:
    stock = after(followed(Stock(), [Vial("a", pack="P")], alert()))
    (again,) = followed(stock, [Vial("a")], alert())
    assert again.held == ("a",)
    released = Vial("a", released_at=at(2))
    assert followed(stock, [released], alert()) == []
    assert followed(stock, [replace(released, released_at=at(-60))], alert()) != []


def test_given_two_alerts_when_their_goods_are_told_then_in_streams_of_their_own() -> None:
    streams = {consequence.stock_stream(name) for name in ("a", "b", "a")}
    assert len(streams) == 2


def test_given_a_high_alert_when_compared_then_the_higher_peak_is_graver() -> None:
    known = consequence.Extent(at(0), None, 9.0)
    assert known._replace(peak_c=9.1).exceeds(known, "high")
    assert not known._replace(peak_c=9.1).exceeds(known, "low")


REOPENED = replace(amended(), recovered_at=None, resolved_at=None)


@pytest.mark.parametrize("lasting", [alert(), alert(resolved(), REOPENED)])
def test_given_an_alert_that_lasts_when_released_then_refused_and_condemned_not(
    lasting: Alert,
) -> None:
    stock = after(followed(Stock(), [Vial("a")], alert()))
    with pytest.raises(Conflict, match="alert_lasts"):
        assessed(stock, lasting)
    condemned = assessed(stock, lasting, replace(SIGNED, decision="condemn"))
    decided = policy.decisions_of(condemned, {"s1": ["a"]})
    assert [type(fact) for fact in decided] == [HoldCondemned]
    assert after([condemned], stock).waiting == []


def test_given_a_withdrawn_alert_when_released_by_two_then_the_decision_names_what_was_held() -> (
    None
):
    stock = after(followed(Stock(), [Vial("a", pack="P")], alert()))
    event = assessed(stock, alert(withdrawn()), fact_ids=("f1", "f2"))
    first, second = policy.decisions_of(event, {"s1": ["P"], "s2": ["x"]})
    assert first == HoldReleased(
        fact_id="f1",
        site_id="s1",
        codes=("P",),
        executed_by="Q-1",
        supervised_by="Q-2",
        reason="摇晃试验阴性",
    )
    assert (second.fact_id, second.site_id, second.codes) == ("f2", "s2", ("x",))


def test_given_goods_kept_when_assessed_then_they_wait_on() -> None:
    stock = after(followed(Stock(), [Vial("a")], alert()))
    kept = assessed(stock, alert(), replace(SIGNED, decision="keep", supervised_by=""), fact_ids=())
    assert policy.decisions_of(kept, {"s1": ["a"]}) == []
    assert after([kept], stock).waiting == ["a"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (replace(SIGNED, supervised_by=""), "two_persons"),
        (replace(SIGNED, supervised_by="Q-1"), "two_persons"),
        (replace(SIGNED, decision="keep", executed_by=""), "two_persons"),
        (replace(SIGNED, executed_by="张三"), "not_a_pseudonym"),
        (replace(SIGNED, grounds=" "), "bad_text"),
        (replace(SIGNED, grounds="电话 13812345678"), "names_a_person"),
    ],
)
def test_given_no_right_signature_when_assessed_then_refused(said: Assessment, code: str) -> None:
    stock = after(followed(Stock(), [Vial("a")], alert()))
    with pytest.raises(Invalid, match=code):
        assessed(stock, alert(resolved()), said)


def test_given_other_alerts_that_hold_the_same_when_released_then_each_is_named_and_over() -> None:
    stock, over = after(followed(Stock(), [Vial("a")], alert())), alert(resolved())
    with pytest.raises(Conflict, match="also_held"):
        assessed(stock, over, held_too={"other": False})
    with pytest.raises(Conflict, match="alert_lasts"):
        assessed(stock, over, replace(SIGNED, also=("other",)), held_too={"other": True})
    event = assessed(stock, over, replace(SIGNED, also=("other", "x")), held_too={"other": False})
    assert event.also == ("other",)


def test_given_codes_or_lots_when_selected_then_those_that_wait() -> None:
    other = Vial("b", lot_id="8474354.A2")
    stock = after(followed(Stock(), [Vial("a"), other], alert()))
    assert select(stock) == ["a", "b"]
    assert select(stock, codes=["b", "b"]) == ["b"]
    assert select(stock, lots=["8474354.A1"]) == ["a"]
    for named in ({"codes": ["z"]}, {"lots": ["8474354.Z"]}):
        with pytest.raises(Invalid, match="not_affected"):
            select(stock, **named)
    with pytest.raises(Conflict, match="nothing_to_assess"):
        select(Stock())
    with pytest.raises(DomainError, match="not_affected"):
        assessed(stock, alert(resolved()), codes=["z"])
