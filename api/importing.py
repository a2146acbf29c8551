"""Import CSV files through the same commands as the HTTP routes: good lines in, bad lines named.

The first line names the columns, in English or in Chinese, in any order; kinds are in English or in
Chinese as well. UTF-8 (with or without BOM) and GB18030 are read. The same file twice changes
nothing. A line with more cells than the header or with a quotation mark that is not closed is
wrong: nothing of it is taken.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from api.commands import state_of
from api.messages import message
from api.schemas import moment
from api.texts.cold_chain import UNIT_KINDS
from api.texts.registry import SITE_KINDS
from domain.cold_chain import model as cold_chain
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import DomainError, Invalid
from domain.shared.events import Event
from domain.traceability import model as traceability
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger


class Wrong(NamedTuple):
    """A line that was not imported, with the reason in both languages; line 1 is the header."""

    line: int
    code: str
    zh: str
    en: str

    def __str__(self) -> str:
        """Return it as one line for people."""
        return f"第 {self.line} 行 | line {self.line}: {self.zh} | {self.en} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did, counted in lines."""

    created: int
    unchanged: int
    errors: Sequence[Wrong]


class Column(NamedTuple):
    """A column: its two headers, how a filled cell is read, whether a cell may be empty."""

    name: str
    zh: str
    read: Callable[[str], Any] = str
    optional: bool = False


def import_file(kind: str, path: Path, ledger: Ledger, meta: Meta) -> Report:
    """Import a file of `sites` (with their organisations), `units`, `devices` or `products`.

    Invalid("unknown_import") for another kind, Invalid("bad_encoding"), Invalid("bad_columns");
    errors of single lines stand in the report. OSError when the file cannot be read.
    """
    if kind not in KINDS:
        raise Invalid("unknown_import", kind=kind, kinds=", ".join(KINDS))
    columns, take = KINDS[kind]
    created = unchanged = 0
    errors: list[Wrong] = []
    sheet = _Sheet(_text(path), columns)
    for line, cells in sheet.lines():
        try:
            if take(ledger, meta, _read(columns, sheet.row(cells))):
                created += 1
            else:
                unchanged += 1
        except DomainError as error:
            errors.append(Wrong(line, error.code, *message(error.code, sheet.facts(error))))
    return Report(created, unchanged, errors)


class _Sheet:
    """The cells of a file, and what its header calls the columns."""

    def __init__(self, text: str, columns: Sequence[Column]) -> None:
        self._reader = csv.reader(text.splitlines(keepends=True), strict=True)
        try:
            titles = [title.strip() for title in next(self._reader, [])]
        except csv.Error:
            raise Invalid("bad_quote") from None
        self._names = [_named(title, columns) for title in titles]
        self._titles = dict(zip(self._names, titles, strict=True))
        missing = [c for c in columns if not c.optional and c.name not in self._titles]
        if missing or len(self._titles) < len(titles):
            twice = [title for title in titles if titles.count(title) > 1]
            names = [f"{c.name} ({c.zh})" for c in missing]
            raise Invalid("bad_columns", columns=names or sorted(set(twice)) or titles)

    def lines(self) -> Iterator[tuple[int, list[str] | None]]:
        """Yield (number of its first line, cells) of every row that is not blank; None: broken."""
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                yield line, None
                continue
            if any(cell.strip() for cell in cells):
                yield line, [cell.strip() for cell in cells]

    def row(self, cells: list[str] | None) -> dict[str, str]:
        """Return the cells of a row by column; Invalid for a broken row or one that is too long."""
        if cells is None:
            raise Invalid("bad_quote")
        if any(cells[len(self._names) :]):
            raise Invalid("surplus_cells", count=len(cells), columns=len(self._names))
        return dict(zip(self._names, cells, strict=False))

    def facts(self, error: DomainError) -> dict[str, object]:
        """Return the facts of an error, its column called as the file calls it."""
        field = error.facts.get("field")
        title = self._titles.get(field) if isinstance(field, str) else None
        return {**error.facts, "field": title} if title else dict(error.facts)


def _text(path: Path) -> str:
    content = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Invalid("bad_encoding")


def _named(title: str, columns: Sequence[Column]) -> str:
    for column in columns:
        if title in {column.name, column.zh}:
            return column.name
    raise Invalid("bad_columns", columns=title)


def _read(columns: Sequence[Column], cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the filled cells of a line, read; Invalid for an empty or unreadable one."""
    row: dict[str, Any] = {}
    for column in columns:
        cell = cells.get(column.name, "")
        if not cell and not column.optional:
            raise Invalid("empty_cell", field=column.name)
        if cell:
            try:
                row[column.name] = column.read(cell)
            except ValueError:
                expected = _EXPECTED[column.read]
                raise Invalid(
                    "bad_cell", field=column.name, value=cell, expected=expected
                ) from None
    return row


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


def _run(
    ledger: Ledger,
    meta: Meta,
    stream: UUID,
    decision: Callable[[Sequence[Event]], list[Event]],
    *,
    region: str = "",
    claims: Sequence[tuple[UUID, Event]] = (),
) -> bool:
    placed = msgspec.structs.replace(meta, region_code=region or meta.region_code)
    return bool(execute(ledger, Command(stream, decision, placed, claims=claims)).events)


def _site(ledger: Ledger, meta: Meta, row: dict[str, Any]) -> bool:
    name, name_en = row.pop("org_name", ""), row.pop("org_name_en", "")
    region = row.pop("org_region_code", row["region_code"])
    stream = registry.organisation_stream(row["org_code"])
    changed = False
    if name and state_of(ledger, stream, registry.evolve_organisation) is None:
        organisation = {"org_code": row["org_code"], "name": name, "name_en": name_en}
        decision = decide(
            registry.evolve_organisation,
            None,
            registry.register_organisation,
            region_code=region,
            **organisation,
        )
        changed = _run(ledger, meta, stream, decision, region=region)
    known = state_of(ledger, stream, registry.evolve_organisation)
    decision = decide(registry.evolve_site, None, registry.register_site, organisation=known, **row)
    claim = registry.site_number_claim(
        org_code=row["org_code"], site_no=row["site_no"], site_id=row["site_id"]
    )
    site = registry.site_stream(row["site_id"])
    return _run(ledger, meta, site, decision, region=row["region_code"], claims=[claim]) or changed


def _unit(ledger: Ledger, meta: Meta, row: dict[str, Any]) -> bool:
    region = _region_of(ledger, row["site_id"])
    profile = state_of(
        ledger, cold_chain.profile_stream(row["profile_id"]), cold_chain.evolve_profile
    )
    decision = decide(
        cold_chain.evolve_unit,
        None,
        cold_chain.register_unit,
        site_region=region,
        profile=profile,
        **row,
    )
    stream = cold_chain.unit_stream(row["unit_id"])
    return _run(ledger, meta, stream, decision, region=region or "")


def _device(ledger: Ledger, meta: Meta, row: dict[str, Any]) -> bool:
    site_id, unit_id = row.pop("site_id", ""), row.pop("unit_id", "")
    placed_at = row.pop("placed_at", meta.occurred_at)
    gateway_id, device_id = row["gateway_id"], row["device_id"]
    stream = cold_chain.gateway_stream(gateway_id)
    changed = False
    if site_id:
        region = _region_of(ledger, site_id)
        decision = decide(
            cold_chain.evolve_gateway,
            None,
            cold_chain.register_gateway,
            site_region=region,
            gateway_id=gateway_id,
            site_id=site_id,
        )
        changed = _run(ledger, meta, stream, decision, region=region or "")
    gateway = state_of(ledger, stream, cold_chain.evolve_gateway)
    region = gateway.registered.region_code if gateway else ""
    decision = decide(
        cold_chain.evolve_device, None, cold_chain.register_device, gateway=gateway, **row
    )
    stream = cold_chain.device_stream(device_id)
    changed = _run(ledger, meta, stream, decision, region=region) or changed
    if not unit_id:
        return changed
    unit = state_of(ledger, cold_chain.unit_stream(unit_id), cold_chain.evolve_unit)
    for channel in row["channels"]:
        decision = decide(
            cold_chain.evolve_device,
            None,
            cold_chain.place_probe,
            unit=unit,
            channel=channel,
            unit_id=unit_id,
            placed_at=placed_at,
        )
        changed = _run(ledger, meta, stream, decision, region=region) or changed
    return changed


def _product(ledger: Ledger, meta: Meta, row: dict[str, Any]) -> bool:
    decision = decide(traceability.evolve_product, None, traceability.register_product, **row)
    return _run(ledger, meta, traceability.product_stream(row["product_id"]), decision)


def _region_of(ledger: Ledger, site_id: str) -> str | None:
    site = state_of(ledger, registry.site_stream(site_id), registry.evolve_site)
    return site.region_code if site else None


# What a cell must be that cannot be read: a word of the catalogue.
_EXPECTED: Mapping[Callable[[str], Any], str] = {
    int: "whole_number",
    float: "number",
    _flag: "yes_or_no",
    moment: "time",
}
_SITES = (
    Column("site_id", "站点编号"),
    Column("org_code", "统一社会信用代码"),
    Column("org_name", "机构名称", optional=True),
    Column("org_name_en", "机构英文名称", optional=True),
    Column("org_region_code", "机构行政区划", optional=True),
    Column("site_no", "站点序号", int),
    Column("name", "站点名称"),
    Column("name_en", "站点英文名称", optional=True),
    Column("kind", "站点类型", _kind(SITE_KINDS)),
    Column("region_code", "行政区划"),
    Column("latitude", "纬度", float, optional=True),
    Column("longitude", "经度", float, optional=True),
)
_UNITS = (
    Column("unit_id", "设备编号"),
    Column("site_id", "站点编号"),
    Column("kind", "设备类型", _kind(UNIT_KINDS)),
    Column("name", "设备名称"),
    Column("name_en", "设备英文名称", optional=True),
    Column("profile_id", "储存条件"),
    Column("plate", "车牌", optional=True),
)
_DEVICES = (
    Column("device_id", "记录仪编号"),
    Column("gateway_id", "网关编号"),
    Column("site_id", "站点编号", optional=True),
    Column("channels", "通道", _channels),
    Column("interval_s", "记录间隔秒", int),
    Column("simulated", "模拟", _flag, optional=True),
    Column("unit_id", "设备编号", optional=True),
    Column("placed_at", "安放时间", moment, optional=True),
)
_PRODUCTS = (
    Column("product_id", "产品标识"),
    Column("name", "产品名称"),
    Column("name_en", "产品英文名称", optional=True),
    Column("specification", "规格", optional=True),
    Column("holder", "上市许可持有人"),
    Column("doses_per_vial", "每瓶剂数", int),
    Column("temperature_c_min", "最低温度", float),
    Column("temperature_c_max", "最高温度", float),
    Column("freeze_sensitive", "怕冻", _flag),
    Column("opened_limit_min", "开启后可用分钟", int, optional=True),
    Column("middle_pack_size", "中包装数量", int, optional=True),
    Column("case_size", "大包装数量", int, optional=True),
)
KINDS: dict[str, tuple[Sequence[Column], Callable[[Ledger, Meta, dict[str, Any]], bool]]] = {
    "sites": (_SITES, _site),
    "units": (_UNITS, _unit),
    "devices": (_DEVICES, _device),
    "products": (_PRODUCTS, _product),
}
