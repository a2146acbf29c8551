"""CSV files in: idempotent, errors by line, in the encodings that offices use."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.commands import state_of
from api.importing import Report, import_file
from domain.cold_chain import model as cold_chain
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger
from tests.conftest import START

META = Meta(occurred_at=START, recorded_at=START, source="import")
SITES = """站点编号,统一社会信用代码,机构名称,站点序号,站点名称,站点类型,行政区划
szs,12640200454000000C,石嘴山市疾控中心,1,市疾控冷库,city_cdc,640200
dwk,126402024540000009,大武口接种门诊,1,大武口接种门诊,clinic,640202
bad,126402024540000009,大武口接种门诊,2,大武口接种门诊,palace,640202
dup,126402024540000009,大武口接种门诊,1,同号的门诊,clinic,640202
"""
UNITS = "unit_id,site_id,kind,name,profile_id\nfridge,dwk,refrigerator,冰箱,cold-2-8\n"
DEVICES = """device_id,gateway_id,site_id,channels,interval_s,unit_id,placed_at
log-1,gw-1,dwk,t1;rh,300,fridge,2026-03-01T08:00:00+08:00
log-2,gw-1,dwk,t1,soon,fridge,2026-03-01T08:00:00+08:00
"""
PRODUCTS = """产品标识,产品名称,上市许可持有人,每瓶剂数,最低温度,最高温度,怕冻
8474354,示例灭活疫苗,示例生物制品有限公司,1,2,8,是
"""


def load(folder: Path, ledger: Ledger, kind: str, text: str, encoding: str = "utf-8-sig") -> Report:
    file = folder / f"{kind}.csv"
    file.write_bytes(text.encode(encoding))
    return import_file(kind, file, ledger, META)


def test_given_sites_in_gb18030_when_imported_then_good_lines_in_and_bad_ones_named(
    tmp_path: Path, ledger: Ledger
) -> None:
    report = load(tmp_path, ledger, "sites", SITES, "gb18030")
    assert (report.created, report.unchanged) == (2, 0)
    assert [(wrong.line, wrong.code) for wrong in report.errors] == [
        (4, "bad_site_kind"),
        (5, "already_claimed"),
    ]
    assert report.errors[0].zh.startswith("没有站点类型 palace，可选：")
    site = state_of(ledger, registry.site_stream("dwk"), registry.evolve_site)
    assert site is not None
    assert site.name == "大武口接种门诊"


def test_given_equipment_when_imported_twice_then_the_second_changes_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    load(tmp_path, ledger, "sites", SITES)
    profile = decide(
        cold_chain.evolve_profile,
        None,
        cold_chain.define_profile,
        profile_id="cold-2-8",
        name="冷藏",
        temperature_c_min=2,
        temperature_c_max=8,
        source="规范",
    )
    execute(ledger, Command(cold_chain.profile_stream("cold-2-8"), profile, META))
    assert load(tmp_path, ledger, "units", UNITS).created == 1
    first = load(tmp_path, ledger, "devices", DEVICES)
    assert (first.created, [(w.line, w.code) for w in first.errors]) == (1, [(3, "bad_cell")])
    position = ledger.last_position()
    assert load(tmp_path, ledger, "units", UNITS).unchanged == 1
    assert load(tmp_path, ledger, "devices", DEVICES).unchanged == 1
    assert ledger.last_position() == position
    device = state_of(ledger, cold_chain.device_stream("log-1"), cold_chain.evolve_device)
    assert device is not None
    assert device.unit_at("t1", START) == "fridge"


def test_given_products_with_chinese_columns_when_imported_then_registered(
    tmp_path: Path, ledger: Ledger
) -> None:
    assert load(tmp_path, ledger, "products", PRODUCTS).created == 1
    assert load(tmp_path, ledger, "products", PRODUCTS).unchanged == 1


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("people", "name\n", "unknown_import"),
        ("units", "unit_id,colour\n", "bad_columns"),
        ("units", "unit_id\n", "bad_columns"),
        ("units", "", "bad_columns"),
        ("units", "unit_id,设备编号,site_id,kind,name,profile_id\n", "bad_columns"),
        ("units", '"unit_id\n', "bad_quote"),
    ],
)
def test_given_a_file_that_cannot_be_read_as_such_when_imported_then_refused(
    tmp_path: Path, ledger: Ledger, kind: str, text: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        load(tmp_path, ledger, kind, text)
    assert refused.value.code == code


HEAD = "站点编号,统一社会信用代码,机构名称,站点序号,站点名称,站点类型,行政区划\n"
SITE = "s{0},126402024540000009,大武口接种门诊,{0},接种点,接种单位,640202"


def test_given_kinds_in_chinese_when_imported_then_understood(
    tmp_path: Path, ledger: Ledger
) -> None:
    assert load(tmp_path, ledger, "sites", HEAD + SITE.format(21) + "\n").errors == []
    site = state_of(ledger, registry.site_stream("s21"), registry.evolve_site)
    assert site is not None
    assert site.kind == "clinic"


def test_given_a_wrong_cell_when_imported_then_named_as_in_the_file_with_what_is_right(
    tmp_path: Path, ledger: Ledger
) -> None:
    bad = SITE.format(31).replace(",31,", ",一,")
    wrong = load(tmp_path, ledger, "sites", HEAD + bad).errors[0]
    assert wrong.zh == "列 站点序号 的“一”不正确：须为整数"
    assert wrong.en == "Column 站点序号: 一 is not acceptable, it must be a whole number"
    empty = load(tmp_path, ledger, "sites", HEAD + SITE.format(31).replace(",640202", ",")).errors
    assert empty[0].zh == "列 行政区划 不能为空"
    kind = load(tmp_path, ledger, "sites", HEAD + SITE.format(31).replace("接种单位", "诊所"))
    assert "接种单位 clinic" in kind.errors[0].zh
    assert "clinic, hospital" in kind.errors[0].en


def test_given_more_cells_than_columns_when_imported_then_the_line_is_wrong(
    tmp_path: Path, ledger: Ledger
) -> None:
    text = HEAD + SITE.format(41) + ",,\n" + SITE.format(42) + ",多余\n" + SITE.format(43) + "\n"
    report = load(tmp_path, ledger, "sites", text)
    assert report.created == 2
    assert [(wrong.line, wrong.code) for wrong in report.errors] == [(3, "surplus_cells")]


def test_given_a_quote_that_is_not_closed_when_imported_then_told_at_its_line(
    tmp_path: Path, ledger: Ledger
) -> None:
    opened = SITE.format(52).replace("接种点", '"接种点')
    text = HEAD + SITE.format(51) + "\n" + opened + "\n" + SITE.format(53) + "\n"
    report = load(tmp_path, ledger, "sites", text)
    assert report.created == 1
    assert [(wrong.line, wrong.code) for wrong in report.errors] == [(3, "bad_quote")]
    assert "引号" in report.errors[0].zh


def test_given_missing_columns_when_imported_then_named_in_both_ways(
    tmp_path: Path, ledger: Ledger
) -> None:
    with pytest.raises(Invalid) as refused:
        load(tmp_path, ledger, "units", "unit_id,site_id,kind,name\n")
    assert refused.value.facts == {"columns": ["profile_id (储存条件)"]}
