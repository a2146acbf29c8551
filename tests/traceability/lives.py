"""Logs of lives of codes: most ordinary, some with something wrong, told in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from domain.shared.events import Event
from domain.traceability import events as told
from domain.traceability.facts import FactEvent
from tests.traceability.chain import START

P = "8474354"
LOT, OTHER = f"{P}.A1", f"{P}.A2"
UNITS = ("", "", "C1", "C2")
Fact = tuple[FactEvent, datetime, datetime]
Log = list[tuple[Event, datetime, datetime]]


def code(number: int) -> str:
    return f"{P}{number:013d}"


def masters(doses: int = 1) -> Log:
    product = told.ProductRegistered(
        product_id=P, name="x", holder="h", doses_per_vial=doses, temperature_c_min=2,
        temperature_c_max=8, freeze_sensitive=True,
    )  # fmt: skip
    lots = [
        told.LotReleased(
            lot_id=lot, product_id=P, lot_number=lot[8:], expires_on=date(2026, 4, day)
        )
        for lot, day in ((LOT, 30), (OTHER, 9))
    ]
    return [(event, START, START) for event in (product, *lots)]


class Carton:
    """The facts of a carton of two boxes of three packs, drawn at random but in good order."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self._rng, self._number = rng, number
        self.whole = code(number * 100)
        self.boxes = [code(number * 100 + 1 + n) for n in range(2)]
        self.packs = [[code(number * 100 + 10 + 3 * b + n) for n in range(3)] for b in range(2)]
        self.facts: list[FactEvent] = []
        self._unit = rng.choice(UNITS)
        self._make()
        for sender, receiver in (("maker", "city"), ("city", "county")):
            self._travel(sender, receiver, self.whole)
        self._open()

    def _id(self) -> str:
        return f"{self._number}-{len(self.facts)}"

    def _make(self) -> None:
        rng, deep = self._rng, self._rng.random() < 0.5
        declared, inner = rng.random() < 0.7, [*self.packs[0], *self.packs[1]]
        for level, codes in enumerate((inner, self.boxes, [self.whole]), start=1):
            self.facts.append(
                told.CodesCommissioned(
                    fact_id=self._id(), site_id="maker", unit_id=self._unit, lot_id=LOT,
                    expires_on=rng.choice([None, date(2026, 4, 30)]),
                    level=level if declared else None, codes=tuple(codes),
                )
            )  # fmt: skip
        packing: dict[str, Any] = {"site_id": "maker", "unit_id": rng.choice(UNITS[1:3])}
        if deep:
            for box, packs in zip(self.boxes, self.packs, strict=True):
                self._say(told.PacksAggregated, **packing, parent=box, codes=tuple(packs))
        self._say(told.PacksAggregated, **packing, parent=self.whole, codes=tuple(self.boxes))

    def _say(self, cls: Any, **what: Any) -> None:
        self.facts.append(cls(fact_id=self._id(), **what))

    def _travel(self, sender: str, receiver: str, what: str) -> None:
        rng = self._rng
        bill = f"b{self._number}-{len(self.facts)}" if rng.random() < 0.8 else "shared"
        sent = told.GoodsReturned if sender != "maker" and rng.random() < 0.3 else None
        way: dict[str, Any] = {"site_id": sender, "to_site_id": receiver, "vehicle_id": "V1"}
        self._say(sent or told.GoodsDispatched, **way, bill_no=bill, codes=(what,))
        unit = rng.choice(UNITS)
        self._say(told.GoodsReceived, site_id=receiver, unit_id=unit, bill_no=bill, codes=(what,))
        if rng.random() < 0.4:
            self._say(told.PutAway, site_id=receiver, unit_id="C2", codes=(what,))
        if rng.random() < 0.2:
            self._say(told.StockCounted, site_id=receiver, codes=(what,))

    def _open(self) -> None:
        rng = self._rng
        named = tuple(self.boxes) if rng.random() < 0.5 else ()
        unit = rng.choice(UNITS[1:])
        out = {"site_id": "county", "unit_id": unit, "parent": self.whole}
        self._say(told.PacksDisaggregated, **out, codes=named)
        for box, packs in zip(self.boxes, self.packs, strict=True):
            clinic = rng.choice(["clinic-1", "clinic-2"])
            self._travel("county", clinic, box)
            for pack in packs[: rng.randint(0, 3)]:
                parent = box if rng.random() < 0.8 else ""
                self._say(told.DoseAdministered, site_id=clinic, codes=(pack,), parent=parent)


def log(rng: random.Random, cartons: int, wrong: float) -> Log:
    """Return masters and the facts of cartons, a share of them with something `wrong`."""
    found: list[tuple[int, Fact]] = []
    for number in range(1, cartons + 1):
        facts: Sequence[FactEvent] = Carton(rng, number).facts
        for n, event in enumerate(facts):
            at = START + timedelta(hours=4 * n + number)
            told_at = 1000 * n + number
            for changed in _changed(rng, event, wrong):
                late = rng.random() < wrong
                found.append(
                    (told_at + 5000 * late, (changed, at, at + timedelta(hours=30 * late)))
                )
    found.sort(key=lambda each: each[0])
    return [*masters(), *(fact for _, fact in found)]


def _changed(rng: random.Random, event: FactEvent, wrong: float) -> list[FactEvent]:
    """Return a fact as it is told: changed, left out, or with another beside it."""
    if rng.random() >= wrong:
        return [event]
    codes = event.codes or (code(100),)
    more: dict[str, Any] = {"fact_id": f"{event.fact_id}x", "site_id": event.site_id}
    drawn: list[list[FactEvent]] = [
        [],
        [event, event],
        [replace(event, site_id="elsewhere")],
        [replace(event, codes=event.codes[:1])],
        [replace(event, codes=(*event.codes, code(777)))],
        [event, told.CodesCommissioned(**more, lot_id=OTHER, codes=codes[:1])],
        [event, told.VialOpened(**more, codes=codes[:1])],
        [event, told.DosesWasted(**more, codes=codes[:1], reason="broken")],
        [event, told.HoldPlaced(**more, codes=codes)],
        [event, told.PacksAggregated(**more, parent=code(100), codes=codes)],
        [event, told.PacksDisaggregated(**more, parent=codes[0])],
        [event, told.DoseAdministered(**more, codes=codes[:1], parent=code(101))],
        [event, told.GoodsDispatched(**more, to_site_id="", bill_no="y", codes=codes)],
        [event, told.GoodsReceived(**more, bill_no="y", codes=codes, accepted=False)],
    ]
    return rng.choice(drawn)
