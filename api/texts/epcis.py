"""What refusals of the EPCIS interface say, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "not_acceptable": (
        "无法按请求头 {field}“{value}”应答，可用：{expected}",
        "Header {field} asks for {value}, which is not spoken here; available: {expected}",
    ),
    "uri_too_long": (
        "地址超过 {max} 字节，请改用已存查询（/queries）",
        "The address is longer than {max} bytes; store the query instead (/queries)",
    ),
    "bad_query_name": (
        "查询名须为 1 至 64 位字母、数字、“_”“-”“.”或“~”",
        "A query name has 1 to 64 letters, digits, _, -, . or ~",
    ),
    "query_exists": ("已有名为 {name} 的查询", "There is a query {name} already"),
    "unknown_query": ("没有名为 {name} 的查询", "There is no query {name}"),
    "unknown_query_parameter": (
        "没有名为 {field} 的查询参数",
        "There is no query parameter {field}",
    ),
    "bad_query_value": (
        "查询参数 {field} 的值“{value}”不正确，应为：{expected}",
        "Query parameter {field} cannot be {value}; expected: {expected}",
    ),
    "query_needs_order": (
        "使用 eventCountLimit 时须同时给出 orderBy",
        "eventCountLimit may only be used with orderBy",
    ),
    "query_limits_exclude": (
        "eventCountLimit 与 maxEventCount 不能同时使用",
        "eventCountLimit and maxEventCount exclude each other",
    ),
}
