"""What is right for a field that was refused, in Chinese and in English.

The validator's own messages are English and show expressions; here each kind of error has a
sentence, and each pattern another: by the pattern where several fields share it, else by the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.schemas import (
    EMAIL_PATTERN,
    KEY_PATTERN,
    NAME_OR_NONE_PATTERN,
    NOTE_PATTERN,
    PHONE_PATTERN,
    REGION_OR_COUNTRY_PATTERN,
    ROBOT_PATTERN,
    TIME_OF_DAY_PATTERN,
    URL_PATTERN,
)
from domain.shared.ids import NAME_PATTERN, ORG_CODE_PATTERN, REGION_PATTERN
from domain.shared.text import TEXT_PATTERN

Both = tuple[str, str]

KINDS: dict[str, Both] = {
    **dict.fromkeys(("missing", "union_tag_not_found"), ("必须给出", "it must be given")),
    "string_too_short": ("至少 {min_length} 个字符", "at least {min_length} characters"),
    "string_too_long": ("最多 {max_length} 个字符", "at most {max_length} characters"),
    **dict.fromkeys(("string_type", "string_unicode"), ("须为文字", "it must be a text")),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
        ("须为整数", "it must be a whole number"),
    ),
    **dict.fromkeys(
        ("float_type", "float_parsing", "finite_number"), ("须为数字", "it must be a number")
    ),
    **dict.fromkeys(
        ("bool_type", "bool_parsing"), ("须为 true 或 false", "it must be true or false")
    ),
    "greater_than": ("须大于 {gt}", "it must be above {gt}"),
    "greater_than_equal": ("不得小于 {ge}", "it must be {ge} or more"),
    "less_than": ("须小于 {lt}", "it must be below {lt}"),
    "less_than_equal": ("不得大于 {le}", "it must be {le} or less"),
    **dict.fromkeys(
        ("enum", "literal_error", "union_tag_invalid"),
        ("须为其中之一：{expected}", "it must be one of {expected}"),
    ),
    "too_short": ("至少 {min_length} 项", "at least {min_length} items"),
    "too_long": ("最多 {max_length} 项", "at most {max_length} items"),
    "list_type": ("须为列表", "it must be a list"),
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type"),
        ("须为对象（{{…}}）", "it must be an object ({{…}})"),
    ),
    "not_a_time": (
        "须为带时区的时间，例如 2026-03-02T08:00:00+08:00",
        "it must be a time with its offset, for example 2026-03-02T08:00:00+08:00",
    ),
    "not_a_day": (
        "须为日期，例如 2028-02-28",
        "it must be a day, for example 2028-02-28",
    ),
    "json_invalid": ("第 {position} 个字符处有误", "wrong at character {position}"),
}

_NAME: Both = (
    "须为 1 至 64 位字母、数字、“_”或“-”",
    "it takes 1 to 64 letters, digits, _ and -",
)
_LINE: Both = (
    "须为一行文字，不含控制字符，不能全为空白",
    "it must be one line of text, without control characters and not blank",
)
_REGION: Both = (
    "须为 6 位行政区划代码，例如 640202（GB/T 2260）",
    "it must be a 6-digit region code, for example 640202 (GB/T 2260)",
)
_HEX: Both = (
    "须为 64 位十六进制小写数字（SHA-256）",
    "it must be 64 lower-case hexadecimal digits (SHA-256)",
)

_ORG: Both = (
    "须为 18 位统一社会信用代码（GB 32100）",
    "it must be an 18-character unified social credit code (GB 32100)",
)

PATTERNS: dict[str, Both] = {
    NAME_PATTERN: _NAME,
    NAME_OR_NONE_PATTERN: _NAME,
    TEXT_PATTERN: _LINE,
    NOTE_PATTERN: _LINE,
    REGION_PATTERN: _REGION,
    REGION_OR_COUNTRY_PATTERN: (
        "须为 6 位行政区划代码，000000 表示全国（GB/T 2260）",
        "it must be a 6-digit region code, 000000 for the whole country (GB/T 2260)",
    ),
    ORG_CODE_PATTERN: _ORG,
    EMAIL_PATTERN: (
        "须为邮箱，例如 duty@cdc.example",
        "it must be an e-mail address, for example duty@cdc.example",
    ),
    URL_PATTERN: (
        "须为网址，例如 https://city.example/alerts",
        "it must be a web address, for example https://city.example/alerts",
    ),
    PHONE_PATTERN: (
        "须为中国大陆手机号，例如 +8613800000000",
        "it must be a mobile number of mainland China, for example +8613800000000",
    ),
    ROBOT_PATTERN: (
        "须为机器人网址末尾的密钥（key=、access_token= 或 hook/ 之后的部分），不是整个网址",
        "it must be the key that ends the robot's address (after key=, access_token= or hook/),"
        " not the whole address",
    ),
    TIME_OF_DAY_PATTERN: ("须为时刻，例如 22:00", "it must be a time of day, for example 22:00"),
    KEY_PATTERN: (
        "须为浏览器订阅给出的 base64url 密钥",
        "it must be a key of the browser's subscription, in base64url",
    ),
}

_CHANNEL: Both = (
    "须为通道名，例如 t1、rh、door",
    "it must be the name of a channel, for example t1, rh, door",
)
_FACT: Both = (
    "须为 1 至 200 位字母、数字或“_.:#-”",
    "it takes 1 to 200 letters, digits and _.:#-",
)

_LOT: Both = (
    "须为产品标识、“.”和批号，例如 8474354.A2026573",
    "product id, a dot and the lot number, for example 8474354.A2026573",
)
_PRODUCT: Both = (
    "须为追溯码前 7 位（以 8 开头）或 GTIN-14",
    "the first 7 digits of its codes (beginning with 8), or a GTIN-14",
)

# Patterns that one field has.
FIELDS: dict[str, Both] = {
    "alert_id": ("须为告警编号（UUID）", "it must be the id of an alert (a UUID)"),
    "as_of": (
        "须为位置（例如 L12.T34）或带时区的时间（例如 2026-11-22T08:00:00Z）",
        "a position like L12.T34, or a time with its offset like 2026-11-22T08:00:00Z",
    ),
    "at": KINDS["not_a_time"],
    "case_id": ("须为异常编号（UUID）", "it must be the id of an exception (a UUID)"),
    "also": ("须为告警编号", "it must be the id of an alert"),
    "case_no": (
        "须为案号：1 至 64 个字符，不含 / ? # %",
        "it must be a case number of 1 to 64 characters without / ? # %",
    ),
    "channel": _CHANNEL,
    "channels": _CHANNEL,
    "code": ("须为错误代码，例如 unknown_device", "a refusal's code, for example unknown_device"),
    "corrective_fact_ids": _FACT,
    "cursor": ("须为上一页给出的 next", "it must be `next` of the page before"),
    "fact_id": _FACT,
    "from": KINDS["not_a_time"],
    "day": KINDS["not_a_day"],
    "due_before": KINDS["not_a_day"],
    "idempotency-key": (
        "须为 1 至 200 位字母、数字或“_.:-”",
        "it takes 1 to 200 letters, digits and _.:-",
    ),
    "if-match": (
        '须为读取时给出的 ETag，带引号，例如 "1"',
        'it must be the ETag as it was read, in quotes, for example "1"',
    ),
    "last-event-id": (
        "须为事件的 id（数字）",
        "it must be the id of an event, a number",
    ),
    "lot_id": _LOT,
    "lot_ids": _LOT,
    "lot_number": (
        "须为 1 至 20 个字符，不含空格和 / ? # %",
        "it takes 1 to 20 characters without blanks and / ? # %",
    ),
    "month": ("须为月份，例如 2026-03", "it must be a month, for example 2026-03"),
    "org_code": _ORG,
    "owner": _ORG,
    "prefer": ("例如 wait=2", "for example wait=2"),
    "product_id": _PRODUCT,
    "product_ids": _PRODUCT,
    **dict.fromkeys(
        ("executer", "recipient", "signed_by", "supervisor"),
        (
            "须为假名：1 至 64 位字母、数字或“_.:-”",
            "it must be a pseudonym of 1 to 64 letters, digits and _.:-",
        ),
    ),
    "secret": (
        "须为 16 至 200 个可见 ASCII 字符，不含空格",
        "it takes 16 to 200 visible ASCII characters without blanks",
    ),
    "sha256": _HEX,
    "since": KINDS["not_a_time"],
    "state": ("须为 open、closed 或 resolved", "it must be open, closed or resolved"),
    "to": KINDS["not_a_time"],
    "until": KINDS["not_a_time"],
    "upload_id": (
        "须为 32 位十六进制小写数字",
        "it must be 32 lower-case hexadecimal digits",
    ),
}
_ANY_PATTERN: Both = ("格式不对", "its form is not the agreed one")


def why(error: Mapping[str, Any]) -> Both:
    """Return what is right for the field of one of the validator's errors; ("", "") if unknown."""
    context = dict(error.get("ctx") or {})
    if error["type"] == "string_pattern_mismatch":
        zh, en = _of_pattern(str(context["pattern"]), named(error["loc"]))
    else:
        zh, en = KINDS.get(error["type"], ("", ""))
    expected = str(context.get("expected") or context.get("expected_tags") or "")
    context["expected"] = expected.replace("'", "").replace(" or ", ", ")
    context["position"] = error["loc"][-1]
    return zh.format_map(context), en.format_map(context)


def named(place: tuple[int | str, ...]) -> str:
    """Return the innermost name in the place of an error: that of the field."""
    names = [part for part in place if isinstance(part, str)]
    return names[-1] if names else ""


def _of_pattern(pattern: str, field: str) -> Both:
    return PATTERNS.get(pattern) or FIELDS.get(field, _ANY_PATTERN)
