"""What each refusal says, in Chinese and in English, by its permanent code.

{names} are the facts of the error. A module adds its codes in a block of its own; a test holds
that every code raised anywhere has both texts and that the placeholders are facts it carries.
"""

from __future__ import annotations

from collections.abc import Mapping

_REQUEST = {
    "malformed_json": ("请求体不是有效的 JSON", "The body is not valid JSON"),
    "malformed_request": ("请求格式有误", "The request is malformed"),
    "bad_field": ("字段 {field} 的值不正确", "Field {field} has an unacceptable value"),
    "unknown_field": ("没有名为 {field} 的字段", "There is no field {field}"),
    "unknown_parameter": ("没有名为 {field} 的查询参数", "There is no query parameter {field}"),
    "bad_header": ("请求头 {field} 的值不正确", "Header {field} has an unacceptable value"),
    "bad_cursor": ("翻页游标无效", "The paging cursor is not valid"),
    "unauthenticated": ("缺少有效的 API 密钥", "A valid API key is required"),
    "not_permitted": ("角色 {role} 无权执行此操作", "Role {role} may not do this"),
    "out_of_scope": ("地区 {region} 不在授权范围内", "Region {region} is outside the grant"),
    "no_such_path": ("没有这个地址：{path}", "There is nothing at {path}"),
    "method_not_allowed": (
        "此地址不支持 {method} 方法",
        "This address does not take method {method}",
    ),
    "body_too_large": ("请求体过大", "The body is too large"),
    "unsupported_media_type": ("只接受 {expected}", "Only {expected} is accepted"),
    "version_required": (
        "修改已有对象时须在 If-Match 中给出其版本",
        "If-Match must name the version of the thing to be changed",
    ),
    "unavailable": ("数据库暂时不可用，请稍后重试", "The database is unavailable, try again soon"),
    "internal_error": ("服务器内部错误", "The server failed"),
}

_SHARED = {
    "bad_name": (
        "字段 {field} 只能含字母、数字、“_”和“-”，1 至 64 位",
        "Field {field} takes 1 to 64 letters, digits, _ and -",
    ),
    "bad_region": (
        "字段 {field} 须为 6 位行政区划代码",
        "Field {field} must be a 6-digit region code (GB/T 2260)",
    ),
    "bad_org_code": (
        "字段 {field} 不是有效的统一社会信用代码",
        "Field {field} is not a valid unified social credit code (GB 32100)",
    ),
}

_REGISTRY = {
    "bad_text": (
        "字段 {field} 须为一行文字，最多 {length_max} 个字符",
        "Field {field} must be one line of text, at most {length_max} characters",
    ),
    "bad_site_kind": ("没有场所类型 {value}", "There is no kind of site {value}"),
    "bad_site_no": ("场所序号须在 1 至 99999 之间", "A site number lies between 1 and 99999"),
    "bad_coordinates": (
        "坐标须成对给出：北纬 3–54 度，东经 73–136 度",
        "Coordinates come in pairs: latitude 3 to 54, longitude 73 to 136 degrees",
    ),
    "unknown_organisation": ("没有这个机构", "There is no such organisation"),
    "unknown_site": ("没有这个场所", "There is no such site"),
    "already_registered": (
        "已按别的内容登记过，不同的字段：{differs}",
        "Registered already with other particulars; these differ: {differs}",
    ),
}

_ACCOUNTS = {
    "bad_digest": (
        "密钥摘要须为 64 位十六进制小写（SHA-256）",
        "The digest must be 64 lower-case hexadecimal digits (SHA-256)",
    ),
    "unknown_role": ("没有角色 {value}", "There is no role {value}"),
    "unknown_key": ("没有这个密钥", "There is no such key"),
    "key_revoked": ("密钥 {key_id} 已撤销", "Key {key_id} was revoked"),
}

_COLD_CHAIN = {
    "bad_unit_kind": ("没有设备类型 {value}", "There is no kind of unit {value}"),
    "bad_channel": (
        "通道须为 1 至 16 个互不相同的小写名称：{value}",
        "Channels are 1 to 16 distinct lower-case names: {value}",
    ),
    "bad_interval": (
        "记录间隔须在 1 至 86400 秒之间",
        "The interval lies between 1 and 86,400 seconds",
    ),
    "bad_limits": (
        "温度下限须低于上限，且在 −200 至 100 ℃ 之内",
        "The lower limit must be below the upper one, both within −200 to 100 °C",
    ),
    "naive_time": ("字段 {field} 的时间须带时区", "The time in field {field} needs an offset"),
    "empty_file": ("文件是空的", "The file is empty"),
    "unknown_profile": ("没有存储条件 {profile_id}", "There is no storage profile {profile_id}"),
    "unknown_unit": ("没有这台设备", "There is no such unit"),
    "unknown_gateway": ("没有这个网关", "There is no such gateway"),
    "unknown_device": ("没有这个记录仪", "There is no such device"),
    "unknown_channel": ("记录仪没有通道 {value}", "The device has no channel {value}"),
    "already_placed": (
        "记录仪 {device_id} 的通道 {channel} 在同一时刻已有另一条安放记录",
        "Channel {channel} of device {device_id} was placed or removed at that very moment",
    ),
    "not_placed": (
        "记录仪 {device_id} 的通道 {channel} 当时不在任何设备中",
        "Channel {channel} of device {device_id} stood in no unit then",
    ),
}

_TRACEABILITY = {
    "bad_code": (
        "“{value}”不是追溯码（{reason}）",
        "{value} is no supervision code ({reason})",
    ),
    "bad_product": (
        "产品标识 {value} 须为追溯码前 7 位或 GTIN-14",
        "Product id {value} must be the first 7 digits of its codes, or a GTIN-14",
    ),
    "bad_lot": (
        "失效日期 {value} 须晚于生产日期",
        "The expiry {value} must be later than the day of production",
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
    "unknown_fact": ("没有记录 {fact_id}", "There is no fact {fact_id}"),
    "already_withdrawn": ("记录 {fact_id} 已撤销", "Fact {fact_id} was withdrawn already"),
    "unknown_capture": ("没有文档 {sha256}", "There is no document {sha256}"),
    "epcis_not_a_document": (
        "不是 EPCIS 2.0 文档（EPCISDocument）",
        "This is no EPCIS 2.0 document (EPCISDocument)",
    ),
    "epcis_unsupported_step": (
        "不支持的 EPCIS 事件：{type}，业务步骤 {step}",
        "EPCIS event {type} with business step {step} is not supported",
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

_MEASUREMENTS = {
    "bad_base64": ("字段 {field} 不是有效的 Base64", "Field {field} is not valid Base64"),
    "bad_span": (
        "起止时间须先后有序，且不超过 {days} 天",
        "The span must run forwards and not exceed {days} days",
    ),
    "unknown_evidence": ("没有文件 {sha256}", "There is no file {sha256}"),
    "unknown_message": ("隔离区没有消息 {id}", "There is no message {id} in quarantine"),
    "already_resolved": ("消息 {id} 已处理", "Message {id} is resolved already"),
}

_INGEST = {
    "bad_topic": (
        "主题的 {field} 不符合约定",
        "Level {field} of the topic is not of the agreed form",
    ),
}

_IMPORTS = {
    "unknown_import": ("不能导入 {kind}，可选：{kinds}", "Cannot import {kind}; one of {kinds}"),
    "bad_encoding": ("文件须为 UTF-8 或 GB18030", "The file must be UTF-8 or GB18030"),
    "bad_columns": ("列缺失或多余：{columns}", "Missing or unknown columns: {columns}"),
    "empty_cell": ("列 {field} 不能为空", "Column {field} must not be empty"),
}

_POSITIONS = {
    "bad_time": (
        "字段 {field} 须为带时区的时间（RFC 3339）",
        "Field {field} must be a time with its offset (RFC 3339)",
    ),
    "bad_as_of": (
        "as_of 须为位置或时间：{value}",
        "as_of must be a position or a time: {value}",
    ),
    "as_of_ahead": ("尚无位置 {value}", "Position {value} has not been reached"),
    "read_model_behind": (
        "查询数据尚未更新到此位置，请稍后重试",
        "The read models have not reached this position, try again soon",
    ),
    "clock_backwards": ("时钟不能倒退", "The clock cannot go backwards"),
    "clock_not_stepped": (
        "本实例使用真实时钟，不能拨动",
        "This instance runs on real time; its clock cannot be moved",
    ),
}

_STORE = {
    "stale_version": (
        "对象已被修改：您依据的版本是 {expected}，现为 {actual}",
        "It was changed meanwhile: you decided on version {expected}, it is at {actual}",
    ),
    "already_claimed": ("该编号已被占用", "That number is taken"),
    "idempotency_key_reused": (
        "同一 Idempotency-Key 已用于另一个请求",
        "This Idempotency-Key was used for another request",
    ),
    "version_conflict": ("同时有另一项修改", "Something else changed it at the same moment"),
    "busy": ("系统繁忙，请稍后重试", "Busy, try again soon"),
    "no_such_projection": ("没有读模型 {name}", "There is no read model {name}"),
}

_ALERTING = {
    "unknown_alert": ("没有这条告警", "There is no such alert"),
    "already_acknowledged": ("这条告警已有人处理", "Somebody has taken this alert on already"),
    "alert_withdrawn": (
        "这条告警已撤销，无需处理",
        "This alert was withdrawn: nothing is to be done",
    ),
    "alert_closed": ("这条告警已关闭", "This alert is closed"),
    "comment_required": ("请说明现场情况或已采取的措施", "Say what was found or done"),
    "recipient_exists": ("接收人 {recipient_id} 已存在", "Recipient {recipient_id} exists already"),
    "unknown_recipient": ("没有这个接收人", "There is no such recipient"),
    "bad_address": ("接收地址不正确", "The address is not acceptable"),
    "rules_not_later": (
        "新规则须在现行版本（{effective_from}）之后生效",
        "New rules must take effect after the present ones ({effective_from})",
    ),
    "rule_side_changed": (
        "规则 {rule_id} 不能改变方向，请另设编号",
        "Rule {rule_id} cannot change its side: give it another id",
    ),
    "bad_rule_count": ("规则数须为 1 至 {count_max} 条", "There must be 1 to {count_max} rules"),
    "duplicate_rule_id": ("规则编号 {rule_id} 重复", "Rule id {rule_id} is given twice"),
    "bad_side": ("方向须为 high 或 low", "The side is high or low"),
    "bad_severity": ("没有告警级别 {value}", "There is no severity {value}"),
    "bad_limit": ("限值 {value} ℃ 超出可测范围", "No probe measures a limit of {value} °C"),
    "bad_hysteresis": ("回差 {value} ℃ 不正确", "A hysteresis of {value} °C is not acceptable"),
    "bad_duration": (
        "字段 {field} 的时长 {value} 分钟不正确",
        "Field {field}: a duration of {value} min is not acceptable",
    ),
}

CATALOGUE: dict[str, tuple[str, str]] = {
    **_TRACEABILITY,
    **_MEASUREMENTS,
    **_POSITIONS,
    **_IMPORTS,
    **_INGEST,
    **_STORE,
    **_REQUEST,
    **_SHARED,
    **_REGISTRY,
    **_ACCOUNTS,
    **_COLD_CHAIN,
    **_ALERTING,
}


class _Facts(dict[str, object]):
    """Facts for str.format_map; one that is missing stays visible as its name."""

    def __missing__(self, name: str) -> str:
        return name


def message(code: str, facts: Mapping[str, object]) -> tuple[str, str]:
    """Return (zh, en) of a code with its facts filled in; the code itself when it is unknown."""
    known = _Facts(facts)
    zh, en = CATALOGUE.get(code, (code, code))
    return zh.format_map(known), en.format_map(known)
