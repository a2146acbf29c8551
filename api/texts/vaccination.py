"""What the clinic's refusals and checks say, in Chinese and in English, by code.

"check_<reason>" is why a dose may not be given (or what must be known), "…_todo" what to do.
"""

from __future__ import annotations

_REFUSALS = {
    "names_a_person": (
        "字段 {field} 中不得写证件号或手机号，人员一律用代号",
        "Field {field} must not hold an identity or telephone number: people are pseudonyms",
    ),
    "too_many_items": ("字段 {field} 须为 1 至 {max} 项", "Field {field} takes 1 to {max} items"),
    "duplicate_question": ("问题编号重复", "A question id is given twice"),
    "unknown_question_list": ("没有这份问题清单", "There is no such question list"),
    "question_list_changed": (
        "问题清单已更新到第 {version} 版，请重新询问",
        "The list of questions is at version {version} now: ask again",
    ),
    "unanswered": (
        "须回答且只回答与该疫苗有关的每个问题：{questions}",
        "Every question about this vaccine, and no other, must be answered: {questions}",
    ),
    "unknown_visit": ("没有这次就诊登记", "There is no such visit"),
    "unknown_person": ("没有这名受种者的应种清单", "Nothing is known of this person"),
    "not_their_clinic": (
        "该受种者由另一接种单位管理，请先办理转诊（迁移）",
        "Another clinic looks after this person: transfer them first",
    ),
    "same_site": ("两个单位不能相同", "The two sites must differ"),
    "transfer_open": (
        "迁移 {transfer_id} 尚未答复",
        "Transfer {transfer_id} has not been answered yet",
    ),
    "transfer_closed": ("迁移 {transfer_id} 已答复", "Transfer {transfer_id} is settled"),
    "unknown_transfer": ("没有迁移 {transfer_id}", "There is no transfer {transfer_id}"),
    "other_than_planned": (
        "{field} 与所指的检查或接种单不符",
        "{field} differs from the check or the visit that is named",
    ),
    "unknown_check": ("没有检查 {check_id}", "There is no check {check_id}"),
    "unknown_not_given": (
        "没有这条未接种记录",
        "There is no such record of a dose not given",
    ),
    "dose_on_record": (
        "接种记录 {fact_id} 已存在；如有误请先声明作废",
        "Dose {fact_id} is on record; declare it wrong first if it is",
    ),
    "unknown_dose": ("没有接种记录 {fact_id}", "There is no dose {fact_id}"),
    "release_reason_required": (
        "留观到 {due_at} 才满，提前离开须用文字写明原因",
        "The observation lasts until {due_at}: leaving earlier needs a reason in words",
    ),
    "already_released": ("该受种者已结束留观", "This person has left already"),
    "unknown_sign": ("症状须取自：{expected}", "Signs are of: {expected}"),
    "bad_onset": (
        "发生时间须在接种之后、现在之前",
        "The onset must lie after the dose and not in the future",
    ),
    "unknown_aefi": ("没有这份报告", "There is no such report"),
    "aefi_closed": ("报告 {aefi_id} 已结案", "Report {aefi_id} is closed"),
    "bad_stock_limit": (
        "库存下限不得大于上限，最多 {max}",
        "The least stock must not exceed the most, of at most {max}",
    ),
    "not_asked_for": (
        "产品 {product_id} 的分配多于要货数量",
        "More of product {product_id} is allotted than was asked for",
    ),
    "no_stock": ("库存中没有可分配的批次", "The stock has no lot to allot"),
    "unknown_requisition": ("没有这份要货单", "There is no such requisition"),
    "requisition_closed": (
        "要货单 {requisition_id} 已答复",
        "Requisition {requisition_id} is answered already",
    ),
    "no_price": (
        "产品 {product_id} 在本地区没有价格（免疫规划疫苗免费）",
        "Product {product_id} has no price here (programme vaccines are free)",
    ),
    "price_not_later": (
        "新价格须晚于现行价格的生效日 {valid_from}",
        "A new price must begin after the present one ({valid_from})",
    ),
    "wrong_amount": ("金额须为 {expected} 分", "The amount must be {expected} fen"),
    "unknown_charge": ("没有这笔收费", "There is no such charge"),
    "charge_not_due": (
        "这笔收费不是待付状态（{status}）",
        "This charge is not due (it is {status})",
    ),
    "refund_not_asked": (
        "这笔收费没有待退款（{status}）",
        "No refund of this charge was asked for (it is {status})",
    ),
    "no_signing_key": ("本实例没有签名密钥", "This instance has no signing key"),
    "bad_snapshot": (
        "快照文件不可信（{reason}），请重新下载并核对公钥",
        "The snapshot cannot be trusted ({reason}): get a new one and check the public key",
    ),
}

_REASONS = {
    "unknown_code": ("没有这个追溯码的任何记录", "Nothing is recorded of this code"),
    "unknown_product": ("这个追溯码的产品没有登记", "The product of this code is not registered"),
    "not_a_vial": ("这是整包装的码，不是单支", "This is the code of a pack, not of a vial"),
    "used": ("已用完或已接种", "It is used, or its doses are"),
    "destroyed": ("已销毁", "It was destroyed"),
    "not_received": ("尚未在本单位验收入库", "It has not been received here yet"),
    "wrong_place": ("不在本单位的库存中", "It is not in this site's stock"),
    "recalled": ("已召回", "It is recalled"),
    "condemned": ("质量判定为不合格", "It was found unfit"),
    "held": ("已封存，未放行", "It is held"),
    "expired": ("已过有效期", "It has expired"),
    "opened_too_long": ("开瓶超过时限", "It has been open too long"),
    "excursion": ("曾超出储运温度，未经质量放行", "It was outside its temperatures, not cleared"),
    "snapshot_old": ("离线快照已过期或本机时间不对", "The snapshot is old, or this clock is wrong"),
    "other_person": ("与就诊登记不是同一人", "This is not the person of the visit"),
    "not_planned": ("与计划接种的疫苗不符", "This is not the vaccine that was planned"),
    "not_due": ("不在该受种者的应种清单中", "The person is not due this vaccine"),
    "too_early": ("未到接种日期", "It is too early for this dose"),
    "too_late": ("已超过可接种日期", "It is too late for this dose"),
    "interval": ("与上一剂间隔不足", "Too little time since the last dose"),
    "already_given": ("该剂次已接种过", "This dose was given before"),
    "reserved": (
        "另一位受种者刚检查过这一支（剂），尚未登记结果",
        "Another person was just checked for this dose, and nothing is told of it yet",
    ),
    "consent_missing": ("没有知情同意", "There is no informed consent"),
    "consent_refused": ("受种者或监护人不同意", "The person or guardian has refused"),
    "screening_missing": ("没有询问禁忌", "The contra-indications were not asked about"),
    "screening_old": ("禁忌询问已超过 24 小时", "The answers are older than a day"),
    "contraindicated": ("有接种禁忌", "There is a contra-indication"),
    "expiry_unknown": ("有效期没有记录", "Its expiry is not on record"),
    "minor_excursion": ("有轻微超温记录", "It was a little outside its temperatures"),
    "due_unknown": ("没有该受种者的应种清单", "Nobody told what the person is due"),
    "due_differs": (
        "所给应种清单与登记的不同",
        "The due list that was given differs from the registered one",
    ),
    "checked_another": (
        "刚为该受种者检查过另一支同种疫苗，尚未登记结果",
        "Another vial of this vaccine was just checked for this person, with no result yet",
    ),
    "precaution": ("询问中有须慎重的回答", "An answer calls for care"),
    "person_unchecked": (
        "离线：未核对受种者、同意和禁忌",
        "Offline: person, consent and answers were not checked",
    ),
}

_ASIDE = ("不要使用，隔离存放并报告质量负责人", "Do not use it: set it aside and report it")
_TO_DO = {
    "unknown_code": ("不要使用，隔离并报告疾控中心", "Do not use it: set it aside, tell the CDC"),
    "unknown_product": _ASIDE,
    "not_a_vial": ("扫描单支疫苗上的码", "Scan the code on the vial"),
    "used": ("核对后另取一支；空瓶按规定处理", "Take another; dispose of the empty one"),
    "destroyed": _ASIDE,
    "not_received": ("先办理入库验收", "Receive it first"),
    "wrong_place": (
        "核对来源；属于本单位的先入库验收",
        "Find out whose it is; receive it first",
    ),
    "recalled": ("不要使用，隔离并确认召回", "Do not use it: set it aside, acknowledge the recall"),
    "condemned": _ASIDE,
    "held": ("不要使用，等待质量放行", "Do not use it: wait for the quality decision"),
    "expired": ("不要使用，登记报废", "Do not use it: record it as wasted"),
    "opened_too_long": ("不要使用，剩余剂次登记报废", "Do not use it: record the rest as wasted"),
    "excursion": _ASIDE,
    "snapshot_old": ("校准时间，重新下载快照", "Set the clock and get a new snapshot"),
    "other_person": ("核对姓名和接种证，重新登记", "Check who this is, and register anew"),
    "not_planned": ("核对疫苗，另取一支", "Check the vaccine, take the right one"),
    "not_due": ("核对接种证和免疫程序", "Check the record and the schedule"),
    "too_early": ("另约日期", "Make an appointment"),
    "too_late": ("咨询疾控中心补种办法", "Ask the CDC how to catch up"),
    "interval": ("另约日期", "Make an appointment"),
    "already_given": ("核对接种记录", "Check the record"),
    "reserved": (
        "另取一支；对方不接种时登记“未接种”，或等 10 分钟",
        "Take another; or record the other dose as not given, or wait ten minutes",
    ),
    "consent_missing": ("先告知并取得同意", "Inform first, and ask for consent"),
    "consent_refused": ("尊重意愿，记录原因", "Respect it and note why"),
    "screening_missing": ("先逐项询问", "Ask every question first"),
    "screening_old": ("重新询问", "Ask again"),
    "contraindicated": ("暂缓接种，请医生评估", "Wait: let a doctor judge"),
    "expiry_unknown": ("核对包装上的有效期", "Read the expiry on the pack"),
    "minor_excursion": ("按规定评估后再用", "Judge by the rules before use"),
    "due_unknown": ("核对接种证", "Check the vaccination record"),
    "due_differs": ("核对接种证和登记的应种清单", "Check the record, and the registered list"),
    "checked_another": (
        "确认那一支没有接种",
        "Make sure that the other one was not given",
    ),
    "precaution": ("请医生评估后再接种", "Let a doctor judge before the dose"),
    "person_unchecked": ("按接种证和询问单人工核对", "Check them by the papers"),
}

TEXTS = {
    **_REFUSALS,
    **{f"check_{code}": both for code, both in _REASONS.items()},
    **{f"check_{code}_todo": both for code, both in _TO_DO.items()},
}
