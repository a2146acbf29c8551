"""What each refusal says, in Chinese and in English, by its permanent code.

{names} are the facts of the error. Each module has its own file in `api/texts/`; a test holds that
every code raised anywhere has both texts and that the placeholders are facts it carries.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import api.texts

_REQUEST = {
    "malformed_json": ("请求体不是有效的 JSON", "The body is not valid JSON"),
    "repeated_name": (
        "字段 {field} 在同一个对象中出现了两次",
        "Field {field} stands twice in one object",
    ),
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
        "字段 {field} 须为 6 位行政区划代码，前两位为现有省份（GB/T 2260）",
        "Field {field} must be a 6-digit region code of an existing province (GB/T 2260)",
    ),
    "bad_org_code": (
        "字段 {field} 不是有效的统一社会信用代码",
        "Field {field} is not a valid unified social credit code (GB 32100)",
    ),
}

_IMPORTS = {
    "unknown_import": ("不能导入 {kind}，可选：{kinds}", "Cannot import {kind}; one of {kinds}"),
    "bad_encoding": ("文件须为 UTF-8 或 GB18030", "The file must be UTF-8 or GB18030"),
    "bad_workbook": (
        "文件不是可读取的 .xlsx（旧的 .xls 请另存为 .xlsx 或 CSV）",
        "The file cannot be read as .xlsx (save an old .xls as .xlsx or CSV)",
    ),
    "too_many_lines": (
        "一个文件最多 {limit} 行，请分成几个",
        "A file holds at most {limit} lines; cut it in parts",
    ),
    "bad_columns": ("列缺失或多余：{columns}", "Missing or unknown columns: {columns}"),
    "empty_cell": ("列 {field} 不能为空", "Column {field} must not be empty"),
    "bad_cell": (
        "列 {field} 的“{value}”不正确：{expected}",
        "Column {field}: {value} is not acceptable, {expected}",
    ),
    "rounded_number": (
        "列 {field} 的 {value} 是超过 15 位的数字，表格软件已改动末尾几位；"
        "请把该列设为文本格式再重新填写",
        "Column {field}: {value} is a number of more than 15 digits, of which spreadsheets change "
        "the last; format the column as text and type it again",
    ),
    "surplus_cells": (
        "这一行有 {count} 格，表头只有 {columns} 列",
        "The line has {count} cells, the header {columns} columns",
    ),
    "bad_quote": (
        "引号不成对，从这一行起无法读取",
        "A quotation mark is not closed; nothing can be read from this line on",
    ),
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


def _of_modules() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the texts of every file in `api/texts/`. AttributeError when one has no TEXTS."""
    for module in pkgutil.iter_modules(api.texts.__path__):
        yield from importlib.import_module(f"api.texts.{module.name}").TEXTS.items()


CATALOGUE: dict[str, tuple[str, str]] = {
    **_POSITIONS,
    **_IMPORTS,
    **_STORE,
    **_REQUEST,
    **_SHARED,
    **dict(_of_modules()),
}


# Facts that are words of ours, by fact and value: (zh, en). Others are shown as they are.
_WORDS: dict[tuple[str, str], tuple[str, str]] = {
    ("expected", "number"): ("须为数字", "it must be a number"),
    ("expected", "time"): (
        "须为带时区的时间，例如 2026-03-02T08:00:00+08:00",
        "it must be a time with its offset, for example 2026-03-02T08:00:00+08:00",
    ),
    ("expected", "whole_number"): ("须为整数", "it must be a whole number"),
    ("expected", "day"): ("须为日期，例如 2027-10-31", "it must be a day, for example 2027-10-31"),
    ("expected", "points"): (
        "须为“参考温度:偏差:不确定度”，多点以“;”分隔，例如 5:0.3:0.1;20:0.2:0.1",
        "it must be reference:deviation:uncertainty with ; between, such as 5:0.3:0.1;20:0.2:0.1",
    ),
    ("expected", "yes_or_no"): ("须为“是”或“否”", "it must be yes or no"),
    ("reason", "empty"): ("空白", "empty"),
    ("reason", "too_long"): ("太长", "too long"),
    ("reason", "retail_ean"): (
        "这是商品条码，请扫追溯码",
        "this is a retail barcode, scan the supervision code",
    ),
    ("reason", "several_codes"): ("含多个码", "several codes in one"),
    ("reason", "length"): ("不是 20 位", "not 20 digits"),
    ("reason", "first_digit"): ("不以 8 开头", "does not begin with 8"),
    ("reason", "characters"): ("含数字以外的字符", "characters other than digits"),
    ("reason", "url"): ("网址中没有追溯码", "no code in the address"),
    ("reason", "gs1_identifier"): (
        "GS1 应用标识符不支持",
        "a GS1 application identifier is not supported",
    ),
    ("reason", "gs1_check_digit"): ("GTIN 校验位不对", "the check digit of the GTIN is wrong"),
    ("reason", "gs1_no_serial"): ("没有序列号（21）", "no serial number (21)"),
    ("reason", "gs1_value"): ("GS1 数据内容不对", "a GS1 value is malformed"),
}


class _Facts(dict[str, object]):
    """Facts for str.format_map; one that is missing stays visible as its name."""

    def __missing__(self, name: str) -> str:
        return name


def message(code: str, facts: Mapping[str, object]) -> tuple[str, str]:
    """Return (zh, en) of a code with its facts filled in; the code itself when it is unknown."""
    zh, en = CATALOGUE.get(code, (code, code))
    return zh.format_map(_worded(facts, 0)), en.format_map(_worded(facts, 1))


def _worded(facts: Mapping[str, object], language: int) -> _Facts:
    """Return facts as they read in a language: 0 Chinese, 1 English."""
    shown = _Facts()
    for name, value in facts.items():
        if isinstance(value, list | tuple | set | frozenset):
            shown[name] = ("、", ", ")[language].join(map(str, value))
        else:
            words = _WORDS.get((name, str(value)))
            shown[name] = words[language] if words else value
    return shown
