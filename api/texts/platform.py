"""What is said to the outside and about it, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "unknown_upload": ("没有这条上报记录", "There is no such upload"),
    "upload_under_way": (
        "上报记录 {upload_id} 状态为 {state}，不能重新上报",
        "Upload {upload_id} is {state}: it cannot be sent anew",
    ),
    "upload_not_rejected": (
        "上报记录 {upload_id} 未被平台拒绝，无须处理",
        "Upload {upload_id} was not rejected: there is nothing to settle",
    ),
    "too_many_days": ("一次最多查询 {max} 天", "At most {max} days at once"),
    "too_many_immunizations": (
        "该时段接种记录超过 {max} 条，请缩短时段",
        "There are more than {max} immunizations then; ask for fewer days",
    ),
    "bad_elements": (
        "接种数据元对照表有误：{why}",
        "The table of immunization data elements is wrong: {why}",
    ),
    "unknown_immunization": ("没有编号为 {id} 的接种记录", "There is no immunization {id}"),
    "bad_fhir_value": (
        "查询参数 {field} 的值“{value}”不正确或不支持",
        "Search parameter {field} cannot be {value}, or that is not supported",
    ),
    "too_many_questions": (
        "查询过于频繁，请稍后再试",
        "You have asked too often; try again in a little while",
    ),
    "bad_check_part": ("校验码须为 4 位数字", "The check part has 4 digits"),
    "public_genuine": (
        "追溯码真实有效：本系统有此疫苗的流通记录",
        "Genuine: this vaccine is on record here",
    ),
    "public_used": (
        "该疫苗已有使用或报废记录。如您手中的疫苗未曾使用，请勿接种并报告",
        "Already used or disposed of. If yours is unused, do not use it, and report it",
    ),
    "public_recalled": (
        "该批疫苗已被召回，请勿使用",
        "This lot was recalled: do not use it",
    ),
    "public_held": (
        "该疫苗已暂停使用，请勿接种",
        "On hold: do not use it",
    ),
    "public_expired": ("该疫苗已过有效期，请勿使用", "Expired: do not use it"),
    "public_unknown": (
        "本系统没有此追溯码的可靠记录。请核对后重试；仍查不到时请勿使用并报告",
        "Not on reliable record here. Check the code; if it stays unknown do not use it, report it",
    ),
}
