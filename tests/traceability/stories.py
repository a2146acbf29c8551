"""Stories about a few codes with all that can go wrong, master data told in the midst of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from domain.cold_chain.events import ProbePlaced
from domain.registry.events import SiteRegistered
from domain.shared.events import Event
from domain.traceability import events as told_as
from tests.traceability.chain import START

PRODUCT, GTIN = "8474354", "06901234567892"
LOTS = [f"{PRODUCT}.A1", f"{PRODUCT}.B2"]
VIALS = [f"{PRODUCT}{n:013d}" for n in range(4)] + [f"(01){GTIN}(21)V{n}" for n in range(2)]
BOXES = [f"{PRODUCT}{n:013d}" for n in range(100, 103)] + ["(00)106901234500000018"]
PALLET = f"{PRODUCT}{200:013d}"
CODES = [*VIALS, *BOXES, PALLET]
SITES = {"A": (38.0, 106.0), "B": (38.1, 106.1), "C": (30.0, 114.0)}
Told = tuple[Event, Any, Any]


class Story:
    """Events with the times they happened and were told at, in an order of telling."""

    def __init__(self, seed: int, steps: int) -> None:
        self.rng = random.Random(seed)
        self.told: list[Told] = []
        self._minute = 0
        self._made()
        self._packed()
        for _ in range(steps):
            self.rng.choice(_STEPS)(self)
        self._withdrawn()
        self.told += self._master()
        self.rng.shuffle(self.told)

    def again(self, seed: int) -> list[Told]:
        """Return the same in another order, some of it told twice."""
        rng = random.Random(seed)
        facts = [each for each in self.told if hasattr(each[0], "codes")]
        found = [*self.told, *rng.sample(facts, len(facts) // 3)]
        rng.shuffle(found)
        return found

    def tell(self, cls: type[Any], **more: Any) -> None:
        """State a fact, some minutes after the last."""
        self._minute += self.rng.choice([0, 1, 5, 5, 30])
        late = self.rng.choice([1, 1, 1, 2_000])
        self._add(cls(fact_id=f"f{len(self.told)}", **more), self._minute, late)

    def _add(self, event: Event, minute: int, late: int = 0) -> None:
        moment = START + timedelta(minutes=minute)
        self.told.append((event, moment, moment + timedelta(minutes=late)))

    def site(self) -> str:
        """Return one of the sites."""
        return self.rng.choice([*SITES])

    def some(self, of: Sequence[str] = CODES) -> tuple[str, ...]:
        """Return some codes."""
        return tuple(dict.fromkeys(self.rng.choices(of, k=self.rng.randint(1, 3))))

    def _made(self) -> None:
        named = ([*VIALS[:3], *BOXES[:1]], [*VIALS[3:], *BOXES[1:2]])
        for lot, codes in zip(LOTS, named, strict=True):
            for code in codes:
                level = self.rng.choice([None, 1, 1 if code in VIALS else 2])
                more = {"expires_on": self.rng.choice([None, None, date(2030, 1, 1)])}
                if self.rng.random() < 0.9:
                    kind = told_as.CodesCommissioned
                    self.tell(kind, site_id="A", lot_id=lot, level=level, codes=(code,), **more)

    def _packed(self) -> None:
        for box in BOXES:
            inside = tuple(self.rng.sample(VIALS, 2))
            self.tell(told_as.PacksAggregated, site_id="A", parent=box, codes=inside)
        if self.rng.random() < 0.7:
            inside = tuple(self.rng.sample(BOXES, 2))
            self.tell(told_as.PacksAggregated, site_id="A", parent=PALLET, codes=inside)

    def _sent(self) -> None:
        bill, van = self.rng.choice(["b1", "b2", ""]), self.rng.choice(["", "VAN"])
        way = {"site_id": self.site(), "to_site_id": self.site(), "bill_no": bill}
        cls = self.rng.choice([told_as.GoodsDispatched, told_as.GoodsReturned])
        self.tell(cls, codes=self.some(), vehicle_id=van, **way)

    def _received(self) -> None:
        bill, van = self.rng.choice(["b1", "b2", ""]), self.rng.choice(["", "VAN"])
        more = {"bill_no": bill, "vehicle_id": van, "accepted": self.rng.random() < 0.9}
        self.tell(told_as.GoodsReceived, site_id=self.site(), codes=self.some(), **more)

    def _seen(self) -> None:
        cls = self.rng.choice([told_as.StockCounted, told_as.CodesMissing, told_as.CodesFound])
        more = {} if cls is told_as.StockCounted else {"reason": "x"}
        self.tell(cls, site_id=self.site(), codes=self.some(), **more)
        site = self.site()
        unit = self.rng.choice([f"U{site}", "BOX"])
        self.tell(told_as.PutAway, site_id=site, unit_id=unit, codes=self.some())

    def _repacked(self) -> None:
        pack, inner = self.rng.choice([*BOXES, PALLET]), self.some([*VIALS, *BOXES])
        site, some = self.site(), self.rng.choice([(), inner])
        self.tell(told_as.PacksDisaggregated, site_id=site, parent=pack, codes=some)
        if self.rng.random() < 0.5:
            pack = self.rng.choice([*BOXES, PALLET])
            self.tell(told_as.PacksAggregated, site_id=site, parent=pack, codes=inner)

    def _given(self) -> None:
        parent = self.rng.choice(["", "", self.rng.choice(BOXES)])
        more = {"codes": (self.rng.choice(VIALS),), "recipient": "p", "parent": parent}
        self.tell(told_as.DoseAdministered, site_id=self.site(), **more)

    def _spoilt(self) -> None:
        two = {"executed_by": "a", "supervised_by": "b"}
        named = {"site_id": self.site(), "codes": self.some()}
        match self.rng.randrange(3):
            case 0:
                self.tell(told_as.DosesWasted, reason="x", **named)
            case 1:
                self.tell(told_as.GoodsDestroyed, **named, **two)
            case _:
                self.tell(told_as.VialOpened, site_id=self.site(), codes=self.some(VIALS))

    def _bound(self) -> None:
        named: dict[str, Any] = {"lot_id": LOTS[0]}
        if self.rng.random() < 0.5:
            named = {"codes": self.some()}
        named |= {"site_id": self.site(), "reason": "x", "recall": self.rng.random() < 0.6}
        placed = self.rng.random() < 0.6
        self.tell(told_as.HoldPlaced if placed else told_as.HoldReleased, **named)

    def _withdrawn(self) -> None:
        for event, *_ in self.rng.sample(self.told, self.rng.randint(0, 3)):
            wrong: Any = event
            of = {"fact_id": wrong.fact_id, "site_id": wrong.site_id, "reason": "x"}
            self._add(told_as.FactWithdrawn(declared_at=START, **of), 1_000)

    def _master(self) -> list[Told]:
        limits: Any = {"temperature_c_min": 2, "temperature_c_max": 8, "freeze_sensitive": True}
        doses = self.rng.choice([1, 1, 3])
        events: list[Event] = [
            told_as.ProductRegistered(
                product_id=product, name="x", holder="h", doses_per_vial=each, **limits
            )
            for product, each in ((PRODUCT, doses), (GTIN, 2))
        ]
        for lot, day in zip(LOTS, (date(2031, 1, 1), date(2026, 2, 1)), strict=True):
            number = lot.partition(".")[2]
            named: Any = {"lot_id": lot, "product_id": PRODUCT, "lot_number": number}
            events.append(told_as.LotReleased(expires_on=day, **named))
        for site_id in self.rng.sample([*SITES], self.rng.randint(1, 3)):
            latitude, longitude = SITES[site_id]
            where: Any = {"latitude": latitude, "longitude": longitude, "region_code": "640200"}
            named = {"site_id": site_id, "org_code": "911100000000000000", "site_no": 1}
            events.append(SiteRegistered(name=site_id, kind="other", **named, **where))
        events.append(ProbePlaced(device_id="D", channel="t1", unit_id="VAN", placed_at=START))
        for unit, site_id in (("UA", "A"), ("VAN", ""), ("BOX", ""), ("UC", "C")):
            start = START + timedelta(minutes=self.rng.randint(0, 60))
            bad: Any = {"device_id": f"D{unit}", "unit_id": unit, "site_id": site_id}
            bad |= {"started_at": start, "ended_at": start + timedelta(minutes=20)}
            events.append(told_as.ExcursionConfirmed(limit_c=8.0, peak_c=9.0, **bad))
        return [(event, START, START) for event in events]


_STEPS = (
    Story._sent, Story._sent, Story._received, Story._received, Story._seen, Story._repacked,
    Story._given, Story._given, Story._spoilt, Story._bound,
)  # fmt: skip
