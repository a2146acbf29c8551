"""What may be imported: the columns of each kind of table, and the commands a line leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from api.rehearsal import Rehearsal
from api.schemas import moment
from api.texts.cold_chain import UNIT_KINDS
from api.texts.registry import SITE_KINDS
from domain.cold_chain import calibration
from domain.cold_chain import model as cold_chain
from domain.cold_chain.calibration_events import CalibrationPoint
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid
from domain.traceability import model as traceability

Row = dict[str, Any]


class Column(NamedTuple):
    """A column: its two headers, an example, how a filled cell is read, whether it may be empty."""

    name: str
    zh: str
    example: str
    read: Callable[[str], Any] = str
    optional: bool = False

    def named(self, title: str) -> bool:
        """Tell whether this is the column's header: either name, or both as in a template."""
        return title in {self.name, self.zh, f"{self.zh} {self.name}"}

    @property
    def title(self) -> str:
        """Return the header in a template; a star marks what must be filled in."""
        return f"{self.zh} {self.name}" + ("" if self.optional else " *")


# The streams that the ids in a line name: what its commands will look at.
_STREAMS: Mapping[str, Callable[[str], UUID]] = {
    "org_code": registry.organisation_stream,
    "site_id": registry.site_stream,
    "unit_id": cold_chain.unit_stream,
    "profile_id": cold_chain.profile_stream,
    "gateway_id": cold_chain.gateway_stream,
    "device_id": cold_chain.device_stream,
    "product_id": traceability.product_stream,
}


def streams_of(cells: Mapping[str, str]) -> list[UUID]:
    """Return the streams that the cells of a line name."""
    return [_STREAMS[name](cell) for name, cell in cells.items() if cell and name in _STREAMS]


class Kind(NamedTuple):
    """A kind of table: its columns, and what a line of it does."""

    columns: Sequence[Column]
    take: Callable[[Rehearsal, Row, datetime], None]


def _flag(cell: str) -> bool:
    if cell.lower() in {"1", "true", "yes", "是"}:
        return True
    if cell.lower() in {"0", "false", "no", "否"}:
        return False
    raise ValueError(cell)


def _kind(names: Mapping[Any, str]) -> Callable[[str], str]:
    """Return how a kind is read: its code, or its Chinese name out of these."""
    codes = {zh: str(code) for code, zh in names.items()}
    return lambda cell: codes.get(cell, cell)


def _channels(cell: str) -> list[str]:
    return cell.replace("；", ";").replace(" ", ";").split(";")


def _site(ledger: Rehearsal, row: Row, _now: datetime) -> None:
    name, name_en = row.pop("org_name", ""), row.pop("org_name_en", "")
    region = row.pop("org_region_code", row["region_code"])
    stream = registry.organisation_stream(row["org_code"])
    if name and ledger.state_of(stream, registry.evolve_organisation) is None:
        organisation = {"org_code": row["org_code"], "name": name, "name_en": name_en}
        decision = decide(
            registry.evolve_organisation,
            None,
            registry.register_organisation,
            region_code=region,
            **organisation,
        )
        ledger.run(stream, decision, region=region)
    known = ledger.state_of(stream, registry.evolve_organisation)
    decision = decide(registry.evolve_site, None, registry.register_site, organisation=known, **row)
    claim = registry.site_number_claim(
        org_code=row["org_code"], site_no=row["site_no"], site_id=row["site_id"]
    )
    site = registry.site_stream(row["site_id"])
    ledger.run(site, decision, region=row["region_code"], claims=[claim])


def _unit(ledger: Rehearsal, row: Row, _now: datetime) -> None:
    region = _region_of(ledger, row["site_id"])
    profile_stream = cold_chain.profile_stream(row["profile_id"])
    decision = decide(
        cold_chain.evolve_unit,
        None,
        cold_chain.register_unit,
        site_region=region,
        profile=ledger.state_of(profile_stream, cold_chain.evolve_profile),
        **row,
    )
    ledger.run(cold_chain.unit_stream(row["unit_id"]), decision, region=region or "")


def _device(ledger: Rehearsal, row: Row, now: datetime) -> None:
    site_id, unit_id = row.pop("site_id", ""), row.pop("unit_id", "")
    probes, placed_at = row.pop("probes", row["channels"]), row.pop("placed_at", now)
    cold_chain.checked_past(placed_at, now, "placed_at")
    if site_id:
        _gateway(ledger, row["gateway_id"], site_id)
    gateway = ledger.state_of(
        cold_chain.gateway_stream(row["gateway_id"]), cold_chain.evolve_gateway
    )
    region = gateway.registered.region_code if gateway else ""
    decision = decide(
        cold_chain.evolve_device, None, cold_chain.register_device, gateway=gateway, **row
    )
    stream = cold_chain.device_stream(row["device_id"])
    ledger.run(stream, decision, region=region)
    if not unit_id:
        return
    unit = ledger.state_of(cold_chain.unit_stream(unit_id), cold_chain.evolve_unit)
    if unit is not None:
        ledger.allow(unit.region_code)
    # The device may have moved since: its probes are its present region's.
    device = ledger.state_of(stream, cold_chain.evolve_device)
    region = device.region_code if device else region
    for channel in probes:
        decision = decide(
            cold_chain.evolve_device,
            None,
            cold_chain.place_probe,
            unit=unit,
            channel=channel,
            unit_id=unit_id,
            placed_at=placed_at,
        )
        ledger.run(stream, decision, region=region)


def _equipment(ledger: Rehearsal, row: Row, now: datetime) -> None:
    """Take a unit and, where the line names one, the device whose probes stand in it."""
    named = {name: row.pop(name) for name in _LOGGER_NAMES if name in row}
    _unit(ledger, row, now)
    if named:
        for column in _LOGGER[: _LOGGER.index(_PROBES)]:
            if column.name not in named:
                raise Invalid("empty_cell", field=column.name)
        place = {"site_id": row["site_id"], "unit_id": row["unit_id"]}
        _device(ledger, named | place, now)


def _gateway(ledger: Rehearsal, gateway_id: str, site_id: str) -> None:
    region = _region_of(ledger, site_id)
    decision = decide(
        cold_chain.evolve_gateway,
        None,
        cold_chain.register_gateway,
        site_region=region,
        gateway_id=gateway_id,
        site_id=site_id,
    )
    ledger.run(cold_chain.gateway_stream(gateway_id), decision, region=region or "")


def _product(ledger: Rehearsal, row: Row, _now: datetime) -> None:
    decision = decide(traceability.evolve_product, None, traceability.register_product, **row)
    ledger.run(traceability.product_stream(row["product_id"]), decision)


def _calibration(ledger: Rehearsal, row: Row, now: datetime) -> None:
    device_id, channel = row.pop("device_id"), row["channel"]
    device = ledger.state_of(cold_chain.device_stream(device_id), cold_chain.evolve_device)
    named = cold_chain.CHANNEL_ALIASES.get(channel, channel)
    decision = decide(
        calibration.evolve_calibrations,
        calibration.NONE,
        calibration.record_calibration,
        device=device,
        now=now,
        **row,
    )
    stream = calibration.calibration_stream(device_id, named)
    ledger.run(stream, decision, region=device.region_code if device else "")


def _day(cell: str) -> date:
    """Read a day; a cell that is formatted as a date has its midnight in China beside it."""
    return date.fromisoformat(cell.removesuffix("T00:00:00+08:00"))


def _points(cell: str) -> list[CalibrationPoint]:
    """Read the points of a certificate: reference:deviation:uncertainty, with ; between."""
    points = [each.split(":") for each in cell.replace("；", ";").replace("：", ":").split(";")]
    return [
        CalibrationPoint(
            reference_c=float(reference), deviation_c=float(deviation), uncertainty_c=float(within)
        )
        for reference, deviation, within in points
    ]


def _region_of(ledger: Rehearsal, site_id: str) -> str | None:
    site = ledger.state_of(registry.site_stream(site_id), registry.evolve_site)
    return site.region_code if site else None


# What a cell must be that cannot be read: a word of the catalogue.
EXPECTED: Mapping[Callable[[str], Any], str] = {
    int: "whole_number",
    float: "number",
    _flag: "yes_or_no",
    moment: "time",
    _day: "day",
    _points: "points",
}
_SITES = (
    Column("site_id", "站点编号", "szs-cdc"),
    Column("org_code", "统一社会信用代码", "12640200454000000C"),
    Column("org_name", "机构名称", "石嘴山市疾病预防控制中心", optional=True),
    Column("org_name_en", "机构英文名称", "Shizuishan CDC", optional=True),
    Column("org_region_code", "机构行政区划", "640200", optional=True),
    Column("site_no", "站点序号", "1", int),
    Column("name", "站点名称", "市疾控中心冷库"),
    Column("name_en", "站点英文名称", "City cold store", optional=True),
    Column("kind", "站点类型", "、".join(SITE_KINDS.values()), _kind(SITE_KINDS)),
    Column("region_code", "行政区划", "640202"),
    Column("latitude", "纬度", "38.98", float, optional=True),
    Column("longitude", "经度", "106.38", float, optional=True),
)
_UNITS = (
    Column("unit_id", "设备编号", "szs-cdc-room1"),
    Column("site_id", "站点编号", "szs-cdc"),
    Column("kind", "设备类型", "、".join(UNIT_KINDS.values()), _kind(UNIT_KINDS)),
    Column("name", "设备名称", "一号冷库"),
    Column("name_en", "设备英文名称", "Cold room 1", optional=True),
    Column("profile_id", "储存条件", "vaccine_2_8"),
    Column("plate", "车牌", "宁B00001", optional=True),
)
_PROBES = Column("probes", "探头通道", "t1", _channels, optional=True)
_DEVICES = (
    Column("device_id", "记录仪编号", "TH-0007"),
    Column("gateway_id", "网关编号", "GW-01"),
    Column("site_id", "站点编号", "szs-cdc", optional=True),
    Column("channels", "通道", "t1;rh", _channels),
    Column("interval_s", "记录间隔秒", "300", int),
    Column("simulated", "模拟", "否", _flag, optional=True),
    Column("unit_id", "设备编号", "szs-cdc-room1", optional=True),
    _PROBES,
    Column("placed_at", "安放时间", "2026-03-01T08:00:00+08:00", moment, optional=True),
)
# A device in the line of its unit: all of it may be empty.
_LOGGER = tuple(
    column._replace(optional=True)
    for column in _DEVICES
    if column.name not in {"site_id", "unit_id", "simulated"}
)
_LOGGER_NAMES = [column.name for column in _LOGGER]
_PRODUCTS = (
    Column("product_id", "产品标识", "8690011"),
    Column("name", "产品名称", "重组乙型肝炎疫苗"),
    Column("name_en", "产品英文名称", "Hepatitis B vaccine", optional=True),
    Column("specification", "规格", "0.5 ml/支", optional=True),
    Column("holder", "上市许可持有人", "示例生物制品有限公司"),
    Column("doses_per_vial", "每瓶剂数", "1", int),
    Column("temperature_c_min", "最低温度", "2", float),
    Column("temperature_c_max", "最高温度", "8", float),
    Column("freeze_sensitive", "怕冻", "是", _flag),
    Column("opened_limit_min", "开启后可用分钟", "60", int, optional=True),
    Column("middle_pack_size", "中包装数量", "10", int, optional=True),
    Column("case_size", "大包装数量", "10", int, optional=True),
    Column("trade_name", "商品名", "示例苗", optional=True),
    Column("form", "剂型", "注射剂", optional=True),
    Column("approval_no", "批准文号", "国药准字S20260001", optional=True),
    Column("producer", "生产企业", "示例生物制品有限公司", optional=True),
    Column("programme", "免疫规划疫苗", "是", _flag, optional=True),
)
_CALIBRATIONS = (
    Column("device_id", "记录仪编号", "TH-0007"),
    Column("channel", "通道", "t1"),
    Column("certificate_no", "证书编号", "RZ2026-03817"),
    Column("laboratory", "校准机构", "示例计量研究院"),
    Column("calibrated_on", "校准日期", "2026-11-01", _day),
    Column("since", "修正起始时间", "2026-11-01T00:00:00+08:00", moment, optional=True),
    Column("valid_until", "有效期至", "2027-10-31", _day),
    Column("points", "校准点", "5:0.3:0.1;20:0.2:0.1", _points),
)
KINDS: dict[str, Kind] = {
    "sites": Kind(_SITES, _site),
    "equipment": Kind((*_UNITS, *_LOGGER), _equipment),
    "units": Kind(_UNITS, _unit),
    "devices": Kind(_DEVICES, _device),
    "products": Kind(_PRODUCTS, _product),
    "calibrations": Kind(_CALIBRATIONS, _calibration),
}
