"""The goods' way in three days: from the maker's line to the clinics' refrigerators.

Codes of 20 digits (7 product, 9 serial, 4 check) on small, middle and large packs; a plan of all
that people do with them until the clinics take over (`clinic.py`). Times are UTC milliseconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from simulators.city import EXPIRES_ON, City, Product, Site
from simulators.cold_store import LOCAL_OFFSET_MIN, MINUTE_MS
from simulators.scanner import Act
from simulators.vehicle import Leg, route

CHINA = timezone(timedelta(minutes=LOCAL_OFFSET_MIN))
DAY_MS = 24 * 60 * MINUTE_MS
CASES_PER_COUNTY = 2
CASES_IN_RESERVE = 2  # stay at the city and in the province
MIDDLES_PER_CLINIC = 2
LEVEL_SMALL, LEVEL_MIDDLE, LEVEL_CASE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Middle:
    """A middle pack and the vials in it."""

    product: Product
    code: str
    vials: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A large pack and the middle packs in it."""

    product: Product
    code: str
    middles: tuple[Middle, ...]


@dataclass(slots=True)
class Plan:
    """All acts up to the clinics, the drives, and what each clinic has been given and when."""

    acts: list[Act] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)
    delivered: dict[str, tuple[int, list[Middle]]] = field(default_factory=dict)


def local_day(ms: int) -> int:
    """Return the number of the local day that a time falls in."""
    return (ms + LOCAL_OFFSET_MIN * MINUTE_MS) // DAY_MS


def at_local(day: int, hour: int, minute: int = 0) -> int:
    """Return the time of a local hour and minute of a local day."""
    return day * DAY_MS + (hour * 60 + minute - LOCAL_OFFSET_MIN) * MINUTE_MS


def unit_for(city: City, site: Site, product: Product) -> str:
    """Return where a product is kept at a site: the cold room, or one refrigerator of two."""
    rooms = city.units_at(site.site_id, "cold_room")
    if rooms:
        return rooms[0].unit_id
    fridges = city.units_at(site.site_id, "refrigerator")
    return fridges[int(product.product_id) % min(2, len(fridges))].unit_id if fridges else ""


def plan(city: City, *, start_ms: int, seed: str) -> Plan:
    """Return the plan of the goods; from `start_ms` to the clinics next morning."""
    made = _Planner(city, start_ms, random.Random(f"goods:{seed}"))
    made.build()
    return made.plan


class _Planner:
    def __init__(self, city: City, start_ms: int, rng: random.Random) -> None:
        self.city = city
        self.plan = Plan()
        self._start = start_ms
        self._random = rng
        self._serial = {p.product_id: rng.randrange(10**8, 8 * 10**8) for p in city.products}
        self._bill = 0
        self._maker = city.of_kind("holder")[0]
        self._province = city.of_kind("province_cdc")[0]
        self._city_cdc = city.of_kind("city_cdc")[0]
        self._counties = city.of_kind("county_cdc")
        self._vans = [u.unit_id for u in city.units if u.plate]

    def build(self) -> None:
        """Make, drive in three stages, divide among the clinics."""
        cases = self._made(self._start + 5 * MINUTE_MS)
        hour = 60 * MINUTE_MS
        van, second_van = self._vans
        self._moved(Leg("", self._maker.site_id, self._province.site_id,
                        self._start + hour, self._start + 2 * hour), cases)  # fmt: skip
        onward = [c for n, c in enumerate(cases) if n % self._cases_each() != 0]
        self._moved(Leg(van, self._province.site_id, self._city_cdc.site_id,
                        self._start + 3 * hour, self._start + 5 * hour), onward)  # fmt: skip
        stops = [county.site_id for county in self._counties]
        legs = route(second_van, self._city_cdc.site_id, stops,
                     departs_ms=self._start + 6 * hour, drive_min=50)  # fmt: skip
        for leg, share in zip(legs, self._shares(onward), strict=True):
            self._moved(leg, share)
            self._to_clinics(self.city.site(leg.to_site), share)

    def _cases_each(self) -> int:
        return CASES_PER_COUNTY * len(self._counties) + CASES_IN_RESERVE

    def _made(self, at_ms: int) -> list[Case]:
        cases: list[Case] = []
        for n, product in enumerate(self.city.products):
            lot = [self._case(product) for _ in range(self._cases_each())]
            self._commission(at_ms + n * MINUTE_MS, product, lot)
            cases += lot
        return cases

    def _case(self, product: Product) -> Case:
        middles = tuple(
            Middle(
                product,
                self._code(product),
                tuple(self._code(product) for _ in range(product.middle)),
            )
            for _ in range(product.case)
        )
        return Case(product, self._code(product), middles)

    def _code(self, product: Product) -> str:
        self._serial[product.product_id] += 1
        serial = self._serial[product.product_id]
        return f"{product.product_id}{serial:09d}{self._random.randrange(10_000):04d}"

    def _commission(self, at_ms: int, product: Product, lot: list[Case]) -> None:
        middles = [middle for case in lot for middle in case.middles]
        levels = (
            (LEVEL_SMALL, [code for middle in middles for code in middle.vials]),
            (LEVEL_MIDDLE, [middle.code for middle in middles]),
            (LEVEL_CASE, [case.code for case in lot]),
        )
        site_id = self._maker.site_id
        for level, codes in levels:
            fields = {"lot": product.lot_id, "expiry": EXPIRES_ON.isoformat(), "level": level}
            self._act(at_ms, site_id, "commissioning", codes, fields)
        for middle in middles:
            self._act(at_ms + MINUTE_MS, site_id, "packing", middle.vials, {"parent": middle.code})
        for case in lot:
            codes = [middle.code for middle in case.middles]
            self._act(at_ms + 2 * MINUTE_MS, site_id, "packing", codes, {"parent": case.code})

    def _shares(self, cases: list[Case]) -> Iterator[list[Case]]:
        """Yield each county's cases; the last case of every product stays at the city CDC."""
        for index in range(len(self._counties)):
            share: list[Case] = []
            for product in self.city.products:
                own = [case for case in cases if case.product is product]
                share += own[index * CASES_PER_COUNTY : (index + 1) * CASES_PER_COUNTY]
            yield share

    def _moved(self, leg: Leg, packs: list[Case] | list[Middle]) -> None:
        """Ship, receive and put away; the vehicle's temperatures are written down."""
        self._bill += 1
        departed = datetime.fromtimestamp(leg.departs_ms / 1000, CHINA)
        bill = f"CK{departed:%Y%m%d}{self._bill:04d}"
        codes = [pack.code for pack in packs]
        vehicle = {"vehicle": leg.vehicle_id} if leg.vehicle_id else {}
        self._act(leg.departs_ms, leg.from_site, "shipping", codes,
                  {"to": leg.to_site, "bill": bill, **vehicle},
                  unit_seen=leg.vehicle_id)  # fmt: skip
        self._act(leg.arrives_ms, leg.to_site, "receiving", codes,
                  {"from": leg.from_site, "bill": bill, **vehicle},
                  unit_seen=leg.vehicle_id,
                  since_ms=leg.departs_ms if leg.vehicle_id else None)  # fmt: skip
        site = self.city.site(leg.to_site)
        by_unit: dict[str, list[str]] = {}
        for pack in packs:
            by_unit.setdefault(unit_for(self.city, site, pack.product), []).append(pack.code)
        for unit_id, inside in by_unit.items():
            self._act(leg.arrives_ms + 8 * MINUTE_MS, leg.to_site, "storing", inside,
                      {"unit": unit_id})  # fmt: skip
        if leg.vehicle_id:
            self.plan.legs.append(leg)

    def _to_clinics(self, county: Site, share: list[Case]) -> None:
        """Next morning: unpack the cases and drive the middle packs round the county's clinics."""
        morning = local_day(self._start) + 1
        for case in share:
            codes = [middle.code for middle in case.middles]
            unit_id = unit_for(self.city, county, case.product)
            self._act(at_local(morning, 7, 30), county.site_id, "unpacking", codes,
                      {"parent": case.code, "unit": unit_id})  # fmt: skip
        clinics = [s for s in self.city.of_kind("clinic") if s.region == county.region]
        van = self._vans[self._counties.index(county) % len(self._vans)]
        # The two counties that share a vehicle are driven one after the other.
        departs_ms = at_local(morning, 8 + self._counties.index(county) // len(self._vans) * 2)
        legs = route(van, county.site_id, [c.site_id for c in clinics],
                     departs_ms=departs_ms, drive_min=20)  # fmt: skip
        middles = {
            p.product_id: [m for c in share if c.product is p for m in c.middles]
            for p in self.city.products
        }
        for n, leg in enumerate(legs):
            first = n * MIDDLES_PER_CLINIC
            given = [m for own in middles.values() for m in own[first : first + MIDDLES_PER_CLINIC]]
            self._moved(leg, given)
            self.plan.delivered[leg.to_site] = (leg.arrives_ms + 10 * MINUTE_MS, given)

    def _act(
        self, at_ms: int, site_id: str, step: str, codes: list[str] | tuple[str, ...],
        fields: dict[str, object], *, unit_seen: str = "", since_ms: int | None = None,
    ) -> None:  # fmt: skip
        self.plan.acts.append(
            Act(at_ms=at_ms, site_id=site_id, step=step, codes=tuple(codes), fields=fields,
                unit_seen=unit_seen, since_ms=since_ms)
        )  # fmt: skip
