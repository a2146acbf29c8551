"""What refusals of traceability say, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "bad_code": (
        "“{value}”不是追溯码（{reason}）",
        "{value} is not a code ({reason})",
    ),
    "bad_product": (
        "产品标识 {value} 须为追溯码前 7 位或 GTIN-14",
        "Product id {value} must be the first 7 digits of its codes, or a GTIN-14",
    ),
    "bad_lot": (
        "失效日期 {value} 须晚于生产日期",
        "The expiry {value} must be later than the day of production",
    ),
    "unknown_exception": ("没有异常 {case_id}", "There is no exception {case_id}"),
    "case_not_open": (
        "异常 {case_id} 不在待办状态，不能办结",
        "Exception {case_id} is not open and cannot be closed",
    ),
    "unknown_product": ("没有登记这个产品", "No such product is registered"),
    "unknown_lot": ("没有批次 {lot_id}", "There is no lot {lot_id}"),
    "unknown_code": ("没有追溯码 {code} 的记录", "Nothing is recorded of code {code}"),
    "unregistered_code": (
        "追溯码 {value} 的产品 {product_id} 尚未登记",
        "Product {product_id} of code {value} is not registered",
    ),
    "unknown_step": ("没有步骤 {value}", "There is no step {value}"),
    "missing_field": (
        "步骤 {step} 须给出字段 {field}",
        "Step {step} needs field {field}",
    ),
    "too_many_codes": (
        "一次扫码最多 {max} 个追溯码",
        "One scan holds at most {max} codes",
    ),
    "clock_ahead": (
        "时间 {value} 比系统时间晚 5 分钟以上",
        "The time {value} is more than 5 minutes ahead",
    ),
    "too_early": (
        "时间 {value} 早于 2015 年，不可信",
        "The time {value} is before 2015 and cannot be right",
    ),
    "late_without_reason": (
        "补录 72 小时以前的记录（{value}）须写明原因 reason",
        "What happened more than 72 hours ago ({value}) needs a reason",
    ),
    "not_a_pseudonym": (
        "字段 {field} 只能是代号（1 至 64 个字母、数字或 _ . : -），不得是姓名、证件号或手机号",
        "Field {field} must be a pseudonym (1 to 64 of A-Z a-z 0-9 _ . : -), never a name, "
        "an identity number or a telephone number",
    ),
    "parent_in_codes": (
        "追溯码 {value} 不能装在它自己里面",
        "Code {value} cannot be inside itself",
    ),
    "two_persons": (
        "解封、判定不合格和销毁须由两名不同的人员签署：executer（执行人）与 supervisor（监督人）",
        "Two different persons must sign: executer and supervisor",
    ),
    "unknown_recall": ("没有召回 {value}", "There is no recall {value}"),
    "bill_of_other_way": (
        "单据类型 {value} 的出入方向与步骤不符",
        "Bill type {value} is of the other direction",
    ),
    "earlier_lot_first": (
        "库存中批次 {value} 失效更早，按近效期先出应先发",
        "Lot {value} in stock expires earlier and should go first",
    ),
    "more_than_pack": (
        "装入 {value} 件，多于该产品一箱的数量 {max}",
        "{value} are packed, more than the {max} of a pack of this product",
    ),
    "unit_unfit": (
        "单元 {value} 的温度范围 {low} 至 {high} ℃ 超出产品 {product_id} 的储存条件",
        "Unit {value} keeps {low} to {high} °C, which is not within the limits of {product_id}",
    ),
    "no_temperature": (
        "验收记录没有运输温度；按规定应拒收或封存",
        "The receipt tells no temperature of the transport: refuse or hold the goods",
    ),
    "quantity_differs": (
        "实收与应收不符（级别：{value}）",
        "Other quantities than due (levels: {value})",
    ),
    "count_differs": (
        "盘点 {value} 件，账面应有 {due} 件（第 {level} 级）：差异在说明之前为未了结的异常",
        "{value} packs of level {level} were counted and {due} should be there: the difference "
        "is an open exception until it is explained",
    ),
    "book_moved_on": (
        "盘点已过 {minutes} 分钟，账面可能已变动：请写明应有数 due",
        "The count is more than {minutes} minutes old and the book may have gone on: tell how "
        "many were due",
    ),
    "bad_lot_id": (
        "批次“{value}”须为“产品标识.批号”；只写批号时，追溯码须同属一个产品",
        "Lot {value} must be product id, dot, lot number; or a lot number with codes of one "
        "product",
    ),
    "reserved_fact_id": (
        "记录编号 {value} 的格式留给扫码枪，请换一个编号",
        "Ids like {value} are those of scanners; choose another",
    ),
    "fact_differs": (
        "编号 {fact_id} 已记录了不同的内容",
        "Something else is recorded under id {fact_id}",
    ),
    "more_doses_than_vial": (
        "报废剂数多于一支的剂数 {max}",
        "More doses are wasted than the {max} of a vial",
    ),
    "unknown_fact": ("没有记录 {fact_id}", "There is no fact {fact_id}"),
    "already_withdrawn": ("记录 {fact_id} 已撤销", "Fact {fact_id} was withdrawn already"),
    "unknown_capture": ("没有文档 {sha256}", "There is no document {sha256}"),
    "epcis_not_a_document": (
        "不是 EPCIS 2.0 文档（EPCISDocument）",
        "This is no EPCIS 2.0 document (EPCISDocument)",
    ),
    "epcis_unsupported_step": (
        "不支持的 EPCIS 事件：{type}，业务步骤 {step}；支持的步骤：{supported}",
        "EPCIS event {type} with business step {step} is not supported; supported: {supported}",
    ),
    "epcis_missing_field": (
        "EPCIS 事件缺少字段 {field} 或其格式不对",
        "Field {field} of an EPCIS event is missing or malformed",
    ),
    "epcis_bad_time": (
        "EPCIS 事件的 {field} 须为带时区的时间",
        "{field} of an EPCIS event must be a time with its offset",
    ),
    "code_key_collision": (
        "两个 GS1 码的内部键相同：{codes}",
        "Two GS1 codes have the same key: {codes}",
    ),
}
