"""The parts of a report as people read them: columns, what they are called, what cells say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from domain.traceability.kinds import Kind

ZONE = ZoneInfo("Asia/Shanghai")

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the field of its rows, and its heading in Chinese and in English."""

    name: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its name in JSON, its title, its columns; `narrow`: those on the certificate."""

    name: str
    zh: str
    en: str
    columns: tuple[Column, ...]
    narrow: tuple[str, ...]


def _part(name: str, zh: str, en: str, columns: str, narrow: str) -> Part:
    """Return a part out of lines `field | 中文 | English`; each has its events at the end."""
    lines = [line.split("|") for line in columns.strip().splitlines()]
    found = [Column(*(text.strip() for text in line)) for line in lines]
    found += [Column("events", "事件位置:哈希", "events position:sha256")]
    return Part(name, zh, en, tuple(found), tuple(narrow.split()))


PARTS = (
    _part(
        "chain",
        "流通链",
        "Custody chain",
        """
        seq | 序号 | no.
        step | 环节 | step
        from_site_id | 发货单位 | from
        to_site_id | 收货单位 | to
        bill_no | 单号 | bill
        bill_type | 类型 | bill type
        packs_due | 应收（级:件） | due (level:packs)
        packs_received | 实收（级:件） | received (level:packs)
        units_due | 应收支数 | units due
        units | 实收支数 | units
        first_at | 开始时间 | begun
        departed_at | 启运时间 | departed
        departed_c | 启运温度 °C | departed °C
        arrived_at | 到达时间 | arrived
        arrived_c | 到达温度 °C | arrived °C
        transport_c_min | 途中最低 °C | min °C
        transport_c_max | 途中最高 °C | max °C
        outside_min | 超温分钟 | minutes outside
        unknown_min | 缺测分钟 | minutes unknown
        vehicle_id | 车辆 | vehicle
        unit_id | 冷链设备 | cold unit
        device_id | 测温设备 | device
        carrier | 配送单位 | carrier
        handed_over_by | 交货人 | handed over by
        taken_over_by | 收货人 | taken over by
        accepted | 验收合格 | accepted
        reason | 原因 | reason
        fact_ids | 记录编号 | facts
        recorded_at | 记录时间 | recorded
        corrected | 是否更正 | corrected
        """,
        "seq step from_site_id to_site_id bill_no units_due units first_at arrived_at "
        "transport_c_min transport_c_max accepted events",
    ),
    _part(
        "orders",
        "封存与召回",
        "Holds and recalls in force",
        """
        binds | 类型 | kind
        scope | 范围 | scope
        lot_id | 批次 | lot
        units | 支数 | units
        site_id | 单位 | place
        occurred_at | 时间 | since
        recall_class | 召回级别 | recall class
        issued_by | 召回单位 | issued by
        notice_no | 通知编号 | notice
        decision_no | 决定编号 | decision
        reason | 原因 | reason
        fact_id | 记录编号 | fact
        recorded_at | 记录时间 | recorded
        """,
        "binds scope lot_id units site_id occurred_at recall_class notice_no reason events",
    ),
    _part(
        "corrections",
        "更正记录",
        "Corrections",
        """
        fact_id | 记录编号 | fact
        step | 环节 | step
        site_id | 单位 | place
        occurred_at | 发生时间 | occurred
        recorded_at | 记录时间 | recorded
        declared_at | 撤销时间 | withdrawn
        reason | 原因 | reason
        corrective_fact_ids | 更正后记录 | instead
        """,
        "fact_id step site_id occurred_at declared_at reason events",
    ),
    _part(
        "stock",
        "库存与去向（支）",
        "Stock by place (units)",
        """
        site_id | 单位 | place
        region | 区划 | region
        lot_id | 批次 | lot
        in_stock | 在库 | in stock
        in_transit | 在途 | in transit
        held | 隔离 | held
        opened | 已开瓶 | opened
        used | 已接种 | used
        wasted | 报废 | wasted
        sampled | 抽检 | sampled
        destroyed | 销毁 | destroyed
        missing | 缺失 | missing
        difference | 差额 | difference
        doses_given | 接种剂数 | doses given
        doses_wasted | 报废剂数 | doses wasted
        """,
        "site_id lot_id in_stock in_transit held opened used wasted destroyed missing "
        "difference events",
    ),
    _part(
        "thermal",
        "温度",
        "Temperatures",
        """
        site_id | 单位 | place
        unit_id | 设备/车辆 | unit or vehicle
        moving | 运输中 | moving
        from | 起 | from
        to | 止 | to
        devices | 测温设备 | devices
        readings | 读数 | readings
        min_c | 最低 °C | min °C
        max_c | 最高 °C | max °C
        mean_c | 平均 °C | mean °C
        above_min | 超上限分钟 | minutes above
        below_min | 低于下限分钟 | minutes below
        frozen | 冻结 | frozen
        unknown_min | 缺测分钟 | minutes unknown
        units | 受影响支数 | units
        settled | 处置 | settled
        """,
        "site_id unit_id from to min_c max_c mean_c above_min below_min frozen unknown_min units "
        "events",
    ),
    _part(
        "injections",
        "接种",
        "Injections",
        """
        occurred_at | 接种时间 | given
        recipient | 受种者代号 | recipient
        series_dose | 剂次 | series dose
        code | 追溯码 | code
        dose_number | 本支第几剂 | dose of vial
        lot_id | 批次 | lot
        site_id | 接种单位 | clinic
        county | 区县 | county
        city | 地市 | city
        vaccinator | 接种医生代号 | vaccinator
        body_site | 接种部位 | site
        route | 途径 | route
        dose_ml | 剂量 ml | dose ml
        funding | 费用 | funding
        flags | 检查结果 | findings
        manual | 手工录入 | manual
        fact_id | 记录编号 | fact
        recorded_at | 记录时间 | recorded
        """,
        "occurred_at recipient series_dose code site_id county vaccinator flags events",
    ),
    _part(
        "exceptions",
        "异常",
        "Exceptions",
        """
        kind | 类型 | kind
        severity | 级别 | severity
        state | 状态 | state
        site_id | 单位 | place
        owner | 责任单位 | owner
        occurred_at | 发生时间 | occurred
        found_at | 发现时间 | found
        due_at | 期限 | due
        ended_at | 了结时间 | ended
        resolution | 处置 | resolution
        reason | 原因 | reason
        units | 支数 | units
        codes | 追溯码 | codes
        fact_ids | 记录编号 | facts
        case_id | 编号 | case
        """,
        "kind severity state site_id owner occurred_at due_at units resolution events",
    ),
    _part(
        "quality",
        "填报质量",
        "Quality of reporting",
        """
        site_id | 单位 | place
        facts | 记录数 | facts
        late | 迟报 | late
        manual | 手工录入 | manual
        without_code | 未提供追溯码 | without code
        unknown_code | 追溯码未赋码 | unknown code
        data_error | 批号等异常 | data errors
        doses_exceed_vial | 次数超过包装剂次 | doses exceed vial
        temperature_missing | 缺温度 | temperature missing
        """,
        "site_id facts late manual without_code unknown_code data_error doses_exceed_vial "
        "temperature_missing events",
    ),
)
PART_NAMES = tuple(part.name for part in PARTS)

HEAD = {
    "product": ("疫苗名称", "vaccine"),
    "specification": ("规格", "specification"),
    "holder": ("上市许可持有人", "holder"),
    "lot_number": ("批号", "lot"),
    "produced_on": ("生产日期", "produced"),
    "expires_on": ("有效期至", "expires"),
    "lot_release_no": ("批签发编号", "lot release"),
    "released": ("签发数量", "released"),
    "held": ("整批封存", "whole lot held"),
    "held_units": ("封存支数", "units held"),
    "recalled": ("整批召回", "whole lot recalled"),
    "recalled_units": ("召回支数", "units recalled"),
    "recall_class": ("召回级别", "recall class"),
}
STEPS = {
    "commissioning": "赋码",
    "packing": "装箱",
    "unpacking": "拆箱",
    "shipping": "发货",
    "returning": "退货",
    "receiving": "收货",
    "storing": "入库",
    "cycle_counting": "盘点",
    "adjusting": "调账",
    "opening": "开瓶",
    "dispensing": "接种",
    "wasting": "报废",
    "losing": "报失",
    "finding": "找回",
    "sampling": "抽检",
    "destroying": "销毁",
    "acknowledging": "召回确认",
    "holding": "封存",
    "condemning": "判定不合格",
    "releasing": "解封",
}
KINDS: Mapping[str, str] = {
    Kind.PRODUCT_WITHOUT_DATA: "有货无单",
    Kind.DATA_WITHOUT_PRODUCT: "有单无货",
    Kind.SHIPMENT_OVERDUE: "逾期未到货",
    Kind.DATA_ERROR: "批号等与码不符",
    Kind.DAMAGED: "收货不合格",
    Kind.QUANTITY_MISMATCH: "数量不符",
    Kind.TEMPERATURE_MISSING: "缺途中温度",
    Kind.THERMAL_EXCURSION: "温度超限",
    Kind.USE_AFTER_EXCURSION: "超温后接种",
    Kind.EXPIRED: "过期后收发",
    Kind.EXPIRED_USE: "过期后接种",
    Kind.RECALLED: "召回后发出",
    Kind.RECALLED_USE: "召回后接种",
    Kind.WRONG_DESTINATION: "到了别处",
    Kind.ALREADY_USED: "重复使用",
    Kind.DOSES_EXCEED_VIAL: "超过每支剂数",
    Kind.OPEN_VIAL_OVERRUN: "开瓶超时",
    Kind.UNKNOWN_CODE: "未赋码",
    Kind.IMPOSSIBLE_JOURNEY: "来不及到的两地",
    Kind.LATE_CAPTURE: "迟报",
    Kind.HIERARCHY_BROKEN: "包装关系矛盾",
    Kind.MASS_IMBALANCE: "账物不平",
    Kind.UNEXPLAINED_UNIT: "去向不明",
    Kind.CODE_MISSING_ON_RECORD: "记录无码",
    Kind.ILLEGAL_STATE: "状态不允许",
    Kind.ERROR_DECLARED: "已更正",
}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "kind": KINDS,
    "step": STEPS,
    "state": {"open": "未了结", "closed": "已了结", "resolved": "已消除"},
    "severity": {"critical": "严重", "major": "重要", "minor": "一般"},
    "binds": {"recall": "召回", "hold": "封存", "condemned": "判定不合格", "refused": "收货不合格"},
    "scope": {"lot": "整批", "codes": "部分追溯码"},
}
_SITES = frozenset({"site_id", "from_site_id", "to_site_id"})
_UNITS = frozenset({"unit_id", "vehicle_id"})
HASH_SHOWN = 16  # of the hash, where a person compares it; files hold it whole

Body = Mapping[str, Any]


def cell(column: str, value: Any, body: Body, *, short: bool = False) -> Cell:
    """Return what a cell of an answer says; `short`: on paper."""
    if value is None or value == "":
        return ""
    if column in _SITES | _UNITS:
        name = body["units" if column in _UNITS else "sites"].get(value)
        return _named(name.zh if name else "", value, short=short)
    if column in _WORDS:
        return _named(_WORDS[column].get(value, ""), value, short=short)
    if column == "events":
        return _events(value, short=short)
    return _plain(value, short=short)


def _named(name: str, value: str, *, short: bool) -> str:
    if not name:
        return value
    return name if short else f"{name} ({value})"


def _plain(value: Any, *, short: bool) -> Cell:
    for kind, told in _TOLD:
        if isinstance(value, kind):
            return told(value, short)
    return str(value)


def _time(value: datetime, short: bool) -> str:
    local = value.astimezone(ZONE)
    return f"{local:%Y-%m-%d %H:%M}" if short else local.isoformat()


_TOLD: tuple[tuple[type, Callable[[Any, bool], Cell]], ...] = (
    (bool, lambda value, _short: "是" if value else "否"),
    (int, lambda value, _short: value),
    (float, lambda value, _short: round(value, 2)),
    (datetime, _time),
    (Mapping, lambda value, _short: "；".join(f"{k}:{v}" for k, v in value.items())),
    (list, lambda value, _short: "；".join(str(each) for each in value)),
)


def _events(events: Iterable[Mapping[str, Any]], *, short: bool) -> str:
    length = HASH_SHOWN if short else None
    shown = [f"{event['position']}:{event['sha256'][:length]}" for event in events]
    more = f" +{len(shown) - 1}" if short and len(shown) > 1 else ""
    return shown[0] + more if short and shown else "；".join(shown)
