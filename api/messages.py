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

CATALOGUE: dict[str, tuple[str, str]] = {**_REQUEST, **_SHARED}


class _Facts(dict[str, object]):
    """Facts for str.format_map; one that is missing stays visible as its name."""

    def __missing__(self, name: str) -> str:
        return name


def message(code: str, facts: Mapping[str, object]) -> tuple[str, str]:
    """Return (zh, en) of a code with its facts filled in; the code itself when it is unknown."""
    known = _Facts(facts)
    zh, en = CATALOGUE.get(code, (code, code))
    return zh.format_map(known), en.format_map(known)
