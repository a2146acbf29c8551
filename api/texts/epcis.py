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
}
