"""What refusals of oversight say, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "bad_case_no": (
        "案件编号须为 1 至 64 个字符，不含 / ? # %",
        "A case number has 1 to 64 characters, without / ? # %",
    ),
    "bad_until": (
        "截止时间须在现在之后、{max_days} 天之内",
        "The end must be in the future, within {max_days} days",
    ),
    "inspection_in_force": (
        "该密钥正用于案件 {case_no}，请先结束",
        "This key serves case {case_no}: end that first",
    ),
    "unknown_inspection": ("没有这次检查", "There is no such inspection"),
    "not_an_inspector": (
        "{value} 不是有效的检查员（inspector）密钥",
        "{value} is no valid key of the role inspector",
    ),
    "no_inspection": (
        "没有生效的检查授权，或已到期",
        "No inspection is in force for this key, or it is over",
    ),
    "inspection_of_lots": (
        "本次检查只限指定批次，不能查询整个地区",
        "This inspection is about single lots: ask about them, not about a region",
    ),
    "unknown_legal_hold": (
        "批次 {lot_id} 没有案件 {case_no} 的司法冻结",
        "Case {case_no} does not hold lot {lot_id}",
    ),
    "report_too_large": (
        "这段时间内记录超过 {max} 条，请缩短时间或缩小范围",
        "There are more than {max} scans in this time: ask for less",
    ),
    "evidence_not_a_bundle": ("不是证据包或已损坏", "This is no evidence bundle, or it is spoilt"),
    "evidence_bad_signature": ("清单签名不符", "The signature of the manifest does not fit"),
    "evidence_other_key": ("由另一密钥签名", "It was signed with another key"),
    "evidence_missing": ("缺少文件", "A file is missing"),
    "evidence_changed": ("内容已改动", "A file was changed"),
    "evidence_unlisted": ("多出清单以外的文件", "A file that the manifest does not list"),
    "evidence_unknown_event": (
        "答复引用了清单以外的事件",
        "The answer rests on an event that the manifest does not list",
    ),
}
