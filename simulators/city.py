"""Shizuishan in small: organisations, sites, cold units, devices, products and lots of the demo.

A maker and a provincial warehouse in Yinchuan, the city CDC, its three county-level CDCs, ten
clinics, two refrigerated vehicles. Regions are those of GB/T 2260; organisations, products and
lots are invented (their codes have right check digits and bodies that name nobody).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from simulators import wire
from simulators.http import Api, Json

MAKER_REGION, PROVINCE_REGION, CITY_SEAT_REGION = "640104", "640104", "640202"
COUNTIES = (("640202", "dwk", "大武口区", "Dawukou District", 4),
            ("640205", "hnq", "惠农区", "Huinong District", 3),
            ("640221", "plx", "平罗县", "Pingluo County", 3))  # fmt: skip
SEATS = {  # degrees north, degrees east
    "640104": (38.47, 106.28),
    "640202": (39.01, 106.37),
    "640205": (39.24, 106.78),
    "640221": (38.91, 106.54),
}
ORDINALS = "一二三四五六"
PRODUCED_ON, EXPIRES_ON = date(2026, 6, 1), date(2028, 5, 31)
# 预防接种工作规范 (2023): minutes that an opened vial may be used, live and killed vaccines.
OPENED_LIVE_MIN, OPENED_KILLED_MIN = 30, 60
REGISTERED_AT_ONCE = 4  # requests on their way together
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
BODY_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with its organisation's code and its scanner."""

    site_id: str
    kind: str
    region: str
    name: str
    name_en: str
    number: int  # makes its organisation's code
    latitude: float
    longitude: float

    @property
    def gateway_id(self) -> str:
        """The gateway of the devices that stand here."""
        return f"GW-{self.site_id}"

    @property
    def scanner_id(self) -> str:
        """The hand scanner used here."""
        return f"SC-{self.site_id}"

    @property
    def org_code(self) -> str:
        """The unified social credit code of its organisation, invented."""
        return org_code("91" if self.kind == "holder" else "12", self.region, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A cold unit and its devices: for each the channels and the seconds between readings."""

    unit_id: str
    site: Site
    kind: str
    name: str
    name_en: str
    devices: tuple[tuple[str, ...], ...]
    interval_s: int
    plate: str = ""

    @property
    def gateway_id(self) -> str:
        """A vehicle carries its own gateway."""
        return f"GW-{self.unit_id}" if self.plate else self.site.gateway_id

    @property
    def base(self) -> str:
        """The topic prefix of its devices."""
        return wire.prefix(self.site.region, self.site.site_id, self.gateway_id)

    def device_ids(self) -> list[str]:
        """Return the ids of its devices, in the order of `devices`."""
        return [f"TH-{self.unit_id}-{n}" for n in range(1, len(self.devices) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A vaccine with one lot; pack sizes are vials in a middle pack and middle packs in a case."""

    product_id: str
    name: str
    name_en: str
    specification: str
    doses: int
    freeze_sensitive: bool
    opened_limit_min: int | None
    lot_number: str
    middle: int = 10
    case: int = 5

    @property
    def lot_id(self) -> str:
        """The key of its lot."""
        return f"{self.product_id}.{self.lot_number}"


@dataclass(frozen=True, slots=True)
class City:
    """Everything that has to be registered before the first message."""

    sites: tuple[Site, ...]
    units: tuple[Unit, ...]
    products: tuple[Product, ...]

    def site(self, site_id: str) -> Site:
        """Return a site by its id."""
        return next(site for site in self.sites if site.site_id == site_id)

    def units_at(self, site_id: str, *kinds: str) -> list[Unit]:
        """Return the units of these kinds at a site, vehicles left out unless asked for."""
        return [u for u in self.units if u.site.site_id == site_id and u.kind in kinds]

    def of_kind(self, kind: str) -> list[Site]:
        """Return the sites of a kind."""
        return [site for site in self.sites if site.kind == kind]


def _product(
    product_id: str, name: str, name_en: str, lot_number: str, *, freeze_sensitive: bool
) -> Product:
    return Product(
        product_id=product_id,
        name=f"{name}（模拟）",
        name_en=f"{name_en} (simulated)",
        specification="0.5 ml/支",
        doses=1,
        freeze_sensitive=freeze_sensitive,
        opened_limit_min=OPENED_KILLED_MIN if freeze_sensitive else OPENED_LIVE_MIN,
        lot_number=lot_number,
    )


PRODUCTS = (
    _product("8690011", "重组乙型肝炎疫苗", "Hepatitis B", "HB260701", freeze_sensitive=True),
    _product("8690022", "脊髓灰质炎灭活疫苗", "sIPV", "PV260512", freeze_sensitive=True),
    _product("8690033", "麻腮风联合减毒活疫苗", "MMR", "MM260630", freeze_sensitive=False),
    replace(
        _product("8690044", "皮内注射用卡介苗", "BCG", "BC260415", freeze_sensitive=False),
        specification="5 人份/支",
        doses=5,
    ),
    _product("8690055", "吸附无细胞百白破联合疫苗", "DTaP", "DT260620", freeze_sensitive=True),
)


def org_code(kind: str, region: str, number: int) -> str:
    """Return an invented 18-character code (GB 32100) with the body MA + six digits."""
    body = f"MA{number:06d}"
    total = sum(
        int(character, 36) * weight for character, weight in zip(body, BODY_WEIGHTS, strict=True)
    )
    first17 = f"{kind}{region}{body}{'0123456789X0'[(11 - total % 11) % 11]}"
    weighted = sum(USCC_ALPHABET.index(c) * pow(3, i, 31) for i, c in enumerate(first17))
    return first17 + USCC_ALPHABET[-weighted % 31]


def shizuishan() -> City:
    """Return the city: 60 devices, about a hundred probes."""
    maker = _site("maker", "holder", MAKER_REGION, ("示例生物制品有限公司", "Example Biologics"), 1)
    province = _site("nx-cdc", "province_cdc", PROVINCE_REGION,
                     ("自治区疾控中心疫苗库", "Provincial CDC vaccine warehouse"), 2)  # fmt: skip
    city = _site("szs-cdc", "city_cdc", CITY_SEAT_REGION,
                 ("石嘴山市疾控中心", "Shizuishan City CDC"), 3)  # fmt: skip
    sites = [maker, province, city]
    units = [*_rooms(province, 3), *_rooms(city, 2), *_freezers(city, 1), *_fridges(city, 2)]
    for number, (region, stem, name, name_en, clinics) in enumerate(COUNTIES, start=1):
        names = (f"{name}疾控中心", f"{name_en} CDC")
        county = _site(f"{stem}-cdc", "county_cdc", region, names, 10 * number)
        sites.append(county)
        units += [*_rooms(county, 1), *_freezers(county, 1), *_fridges(county, 2)]
        for n in range(1, clinics + 1):
            names = (f"{name}第{ORDINALS[n - 1]}接种门诊", f"{name_en} Clinic {n}")
            clinic = _site(f"{stem}-c{n}", "clinic", region, names, 10 * number + n)
            sites.append(clinic)
            units += _fridges(clinic, 3)
    units += [_vehicle(city, n) for n in (1, 2)]
    return City(tuple(sites), tuple(units), PRODUCTS)


def _site(site_id: str, kind: str, region: str, names: tuple[str, str], number: int) -> Site:
    latitude, longitude = SEATS[region]
    return Site(
        site_id=site_id,
        kind=kind,
        region=region,
        name=names[0],
        name_en=names[1],
        number=number,
        latitude=round(latitude + number % 7 * 0.01, 2),
        longitude=round(longitude + number % 5 * 0.01, 2),
    )


def _rooms(site: Site, count: int) -> list[Unit]:
    """Return cold rooms with two devices each, as the rules ask of an independent store."""
    return [
        Unit(
            unit_id=f"{site.site_id}-room{n}",
            site=site,
            kind="cold_room",
            name=f"{n} 号冷库",
            name_en=f"Cold room {n}",
            devices=(("t1", "t2", "rh"),) * 2,
            interval_s=120,
        )
        for n in range(1, count + 1)
    ]


def _freezers(site: Site, count: int) -> list[Unit]:
    return [
        Unit(
            unit_id=f"{site.site_id}-freezer{n}",
            site=site,
            kind="freezer",
            name=f"{n} 号冷冻柜",
            name_en=f"Freezer {n}",
            devices=(("t1", "mains"),),
            interval_s=300,
        )
        for n in range(1, count + 1)
    ]


def _fridges(site: Site, count: int) -> list[Unit]:
    """Return refrigerators, of which the first is large and has two probes."""
    return [
        Unit(
            unit_id=f"{site.site_id}-fridge{n}",
            site=site,
            kind="refrigerator",
            name=f"{n} 号医用冰箱",
            name_en=f"Refrigerator {n}",
            devices=(("t1", "t2", "door", "mains") if n == 1 else ("t1", "door", "mains"),),
            interval_s=300,
        )
        for n in range(1, count + 1)
    ]


def _vehicle(site: Site, n: int) -> Unit:
    return Unit(
        unit_id=f"{site.site_id}-van{n}",
        site=site,
        kind="refrigerated_vehicle",
        name=f"{n} 号冷藏车",
        name_en=f"Refrigerated vehicle {n}",
        devices=(("t1", "t2", "door"),),
        interval_s=60,
        plate=f"宁B·模拟{n}",
    )


def profile_of(kind: str) -> str:
    """Return the shipped storage profile of a kind of unit."""
    return "frozen_minus_20" if kind.startswith("freezer") else "vaccine_2_8"


def registrations(city: City, *, placed_at: datetime) -> list[list[tuple[str, Json]]]:
    """Return the commands that register the city, in groups whose order matters."""
    units = city.units
    gateways = {(u.gateway_id, u.site.site_id) for u in units}
    placed = placed_at.astimezone(UTC).isoformat()
    devices = [(u, d, c) for u in units for d, c in zip(u.device_ids(), u.devices, strict=True)]
    return [
        [("/organisations", _organisation(site)) for site in city.sites]
        + [("/products", _product_body(product)) for product in city.products],
        [("/sites", _site_body(site)) for site in city.sites]
        + [("/lots", _lot(product)) for product in city.products],
        [("/units", _unit_body(unit)) for unit in units]
        + [("/gateways", {"gateway_id": g, "site_id": s}) for g, s in sorted(gateways)],
        [
            ("/devices", {"device_id": device_id, "gateway_id": unit.gateway_id,
                          "channels": list(channels), "interval_s": unit.interval_s,
                          "simulated": True})
            for unit, device_id, channels in devices
        ],
        [
            ("/probes", {"device_id": device_id, "channel": channel, "unit_id": unit.unit_id,
                         "placed_at": placed})
            for unit, device_id, channels in devices
            for channel in channels
        ],
    ]  # fmt: skip


def register(api: Api, commands: list[tuple[str, Json]]) -> None:
    """Send one group of registrations; what is known already stays as it is."""
    with ThreadPoolExecutor(REGISTERED_AT_ONCE) as pool:
        for _ in pool.map(lambda command: api.post(*command), commands):
            pass


def _organisation(site: Site) -> Json:
    return {
        "org_code": site.org_code,
        "name": f"{site.name}（模拟）",
        "name_en": f"{site.name_en} (simulated)",
        "region_code": site.region,
    }


def _site_body(site: Site) -> Json:
    return {
        "site_id": site.site_id,
        "org_code": site.org_code,
        "site_no": 1,
        "name": site.name,
        "name_en": site.name_en,
        "kind": site.kind,
        "region_code": site.region,
        "latitude": site.latitude,
        "longitude": site.longitude,
    }


def _unit_body(unit: Unit) -> Json:
    return {
        "unit_id": unit.unit_id,
        "site_id": unit.site.site_id,
        "kind": unit.kind,
        "name": unit.name,
        "name_en": unit.name_en,
        "profile_id": profile_of(unit.kind),
        "plate": unit.plate,
    }


def _product_body(product: Product) -> Json:
    return {
        "product_id": product.product_id,
        "name": product.name,
        "name_en": product.name_en,
        "specification": product.specification,
        "holder": "示例生物制品有限公司",
        "doses_per_vial": product.doses,
        "temperature_c_min": 2.0,
        "temperature_c_max": 8.0,
        "freeze_sensitive": product.freeze_sensitive,
        "opened_limit_min": product.opened_limit_min,
        "middle_pack_size": product.middle,
        "case_size": product.case,
    }


def _lot(product: Product) -> Json:
    return {
        "product_id": product.product_id,
        "lot_number": product.lot_number,
        "produced_on": PRODUCED_ON.isoformat(),
        "expires_on": EXPIRES_ON.isoformat(),
        "lot_release_no": f"批签{product.lot_number}",
    }
