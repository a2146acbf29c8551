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

CATALOGUE: dict[str, tuple[str, str]] = {
    **_REQUEST,
    **_SHARED,
    **_REGISTRY,
    **_ACCOUNTS,
    **_COLD_CHAIN,
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
