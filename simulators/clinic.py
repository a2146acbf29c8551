"""A clinic's days: middle packs are unpacked, vials opened, doses given, what is left wasted.

The clinic works from its first delivery on. People are pseudonyms; nothing here names anybody.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from simulators.city import City, Product, Site
from simulators.cold_store import MINUTE_MS
from simulators.goods import Middle, at_local, local_day, unit_for
from simulators.scanner import Act

OPENS, NOON, AFTERNOON, CLOSES = (8, 30), (11, 30), (14, 0), (16, 30)  # local
VISITS_PER_DAY = (24, 36)
VACCINATORS = 2


@dataclass(slots=True)
class Clinic:
    """One clinic with the stock it was given; `acts` plans its days."""

    city: City
    site: Site
    stock: list[Middle]
    rng: random.Random
    loose: dict[str, list[str]] = field(default_factory=dict)  # vials out of their middle pack

    def acts(self, *, from_ms: int, to_ms: int) -> Iterator[Act]:
        """Yield what is done from the delivery at `from_ms` until `to_ms`, in order of time."""
        for day in range(local_day(from_ms), local_day(to_ms) + 1):
            for at_ms in self._visits(day):
                if not from_ms <= at_ms < to_ms:
                    continue
                product = self.rng.choice(self.city.products)
                if product.doses == 1:
                    yield from self._single(at_ms, product)
                elif self.rng.random() < 1 / product.doses:
                    yield from self._session(at_ms, product)

    def left_in(self, unit_id: str) -> tuple[str, ...]:
        """Return the packs and loose vials that stay in a unit after the planned days."""
        packs = [
            middle.code
            for middle in self.stock
            if unit_for(self.city, self.site, middle.product) == unit_id
        ]
        vials = [
            vial
            for product in self.city.products
            if unit_for(self.city, self.site, product) == unit_id
            for vial in self.loose.get(product.product_id, [])
        ]
        return (*packs, *vials)

    def _visits(self, day: int) -> list[int]:
        """Return the times of a day's visits; a clinic is closed at noon."""
        morning = (at_local(day, *OPENS), at_local(day, *NOON))
        afternoon = (at_local(day, *AFTERNOON), at_local(day, *CLOSES))
        times = [
            self.rng.randrange(*half) // MINUTE_MS * MINUTE_MS
            for half in (morning, afternoon)
            for _ in range(self.rng.randint(*VISITS_PER_DAY) // 2)
        ]
        return sorted(times)

    def _single(self, at_ms: int, product: Product) -> Iterator[Act]:
        vial = yield from self._vial(at_ms, product)
        if vial:
            yield self._dose(at_ms, product, vial, 1)

    def _session(self, at_ms: int, product: Product) -> Iterator[Act]:
        """Open a multi-dose vial for who has come; the rest is wasted when its time is over."""
        vial = yield from self._vial(at_ms, product)
        if not vial:
            return
        unit_id = unit_for(self.city, self.site, product)
        yield self._act(at_ms, "opening", (vial,), {"unit": unit_id})
        given = self.rng.randint(2, product.doses)
        for dose in range(1, given + 1):
            yield self._dose(at_ms + (2 + 4 * dose) * MINUTE_MS, product, vial, dose)
        if given < product.doses:
            over_ms = at_ms + (product.opened_limit_min or 30) * MINUTE_MS
            reason = "开瓶超时 / opened too long"
            fields = {"doses": product.doses - given, "opened": True, "reason": reason}
            yield self._act(over_ms, "wasting", (vial,), fields)

    def _vial(self, at_ms: int, product: Product) -> Generator[Act, None, str | None]:
        """Take the next vial, out of a middle pack when none is loose; None when all are used."""
        loose = self.loose.setdefault(product.product_id, [])
        if not loose:
            middle = next((m for m in self.stock if m.product is product), None)
            if middle is None:
                return None
            self.stock.remove(middle)
            loose += middle.vials
            fields: dict[str, object] = {
                "parent": middle.code,
                "unit": unit_for(self.city, self.site, product),
            }
            yield self._act(at_ms, "unpacking", middle.vials, fields)
        return loose.pop(0)

    def _dose(self, at_ms: int, product: Product, vial: str, dose: int) -> Act:
        fields: dict[str, object] = {
            "unit": unit_for(self.city, self.site, product),
            "recipient": f"R-{self.rng.getrandbits(48):012x}",
            "dose": dose,
            "vaccinator": f"V-{self.site.site_id}-{self.rng.randint(1, VACCINATORS)}",
        }
        return self._act(at_ms, "dispensing", (vial,), fields)

    def _act(self, at_ms: int, step: str, codes: tuple[str, ...], fields: dict[str, object]) -> Act:
        return Act(at_ms=at_ms, site_id=self.site.site_id, step=step, codes=codes, fields=fields)
