"""What refusals of alerting say, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "unknown_alert": ("没有这条告警", "There is no such alert"),
    "already_acknowledged": ("这条告警已有人处理", "Somebody has taken this alert on already"),
    "alert_withdrawn": (
        "这条告警已撤销，无需处理",
        "This alert was withdrawn: nothing is to be done",
    ),
    "alert_closed": ("这条告警已关闭", "This alert is closed"),
    "alert_fires": (
        "这条告警尚未结束，不能关闭",
        "This alert is not over: it cannot be closed yet",
    ),
    "second_person": (
        "紧急告警须由另一人确认关闭",
        "A critical alert is closed by two persons: another one has to confirm",
    ),
    "floor_undercut": (
        "站点 {site_id} 自 {at} 起只有 {left} 人可立即通知，少于三人："
        "请先安排他人值班或补充联系方式",
        "From {at} on only {left} people would be told at once of alerts of site {site_id}, fewer"
        " than three: put others on duty, or give them contacts, first",
    ),
    "unknown_person": ("没有人员 {person_id}", "There is no person {person_id}"),
    "person_on_duty": (
        "此人还有未结束的值班 {duty_id}（本人或代班），请先结束",
        "This person still has duty {duty_id}, their own or as deputy: end it first",
    ),
    "key_taken": (
        "密钥 {key_id} 已属于另一人",
        "Key {key_id} is another person's",
    ),
    "contact_taken": (
        "这个 {channel} 地址已是某人的联系方式，一个地址只能属于一人",
        "This {channel} address is a contact already: one address is of one person",
    ),
    "no_contact": (
        "警号不能作为个人联系方式",
        "A siren is no contact of a person",
    ),
    "unknown_duty": ("没有值班 {duty_id}", "There is no duty {duty_id}"),
    "duty_exists": ("值班 {duty_id} 已存在", "Duty {duty_id} exists already"),
    "unknown_leave": ("没有请假 {leave_id}", "There is no leave {leave_id}"),
    "leave_exists": ("请假 {leave_id} 已存在", "Leave {leave_id} exists already"),
    "bad_period": (
        "起止时间不正确：须先起后止，未过去，且在五年之内",
        "The period is wrong: it begins before it ends, is not over, and lies within five years",
    ),
    "own_deputy": ("代班人不能是本人", "Nobody is their own deputy"),
    "unknown_call": ("没有演练 {call_id}", "There is no trial call {call_id}"),
    "call_exists": ("演练 {call_id} 已存在", "Trial call {call_id} exists already"),
    "nobody_on_duty": (
        "{region_code} 目前无人值班，无法演练",
        "Nobody is on duty for {region_code}: there is nobody to call",
    ),
    "unknown_rules": (
        "档案 {profile_id} 没有已发布的规则",
        "Profile {profile_id} has no published rules",
    ),
    "unknown_silence": ("没有静默 {silence_id}", "There is no silence {silence_id}"),
    "silence_exists": ("静默 {silence_id} 已存在", "Silence {silence_id} exists already"),
    "silence_too_long": (
        "静默（连同前后相接的）从 {begins_at} 到 {ends_at}，最长 {hours} 小时",
        "With those in a row it silences from {begins_at} to {ends_at}: {hours} hours at most",
    ),
    "bad_quiet_hours": (
        "免打扰时段须同时给出不同的起止时刻",
        "Quiet hours have a beginning and an end that differ",
    ),
    "quiet_too_long": (
        "免打扰每天最长 {hours} 小时，有效期最长一年",
        "Quiet hours take {hours} hours a day at most, for a year at most",
    ),
    "silence_of_region": (
        "温度和断电告警不能按区划静默，请按站点设置，或在 kinds 中列出其他种类",
        "Temperature and power cannot be silenced for a region: name a site, or other kinds",
    ),
    "reason_required": ("请说明原因", "Give the reason"),
    "comment_required": ("请说明现场情况或已采取的措施", "Say what was found or done"),
    "recipient_exists": ("接收人 {recipient_id} 已存在", "Recipient {recipient_id} exists already"),
    "unknown_recipient": ("没有这个接收人", "There is no such recipient"),
    "bad_address": (
        "接收地址须为不含密码的 http(s) 网址，且在允许回调的网段内（VAXTRAIL_WEBHOOK_NETWORKS）",
        "The address must be http(s) without a password, in a network that may be called"
        " (VAXTRAIL_WEBHOOK_NETWORKS)",
    ),
    "channel_not_offered": (
        "本实例没有设置 {channel} 渠道（需要 {setting}）",
        "Channel {channel} is not set up here ({setting} is needed)",
    ),
    "bad_push_keys": (
        "不是浏览器推送订阅的密钥（p256dh 须为 P-256 公钥，auth 须为 16 字节）",
        "Not the keys of a browser's subscription (p256dh a public key of P-256, auth 16 bytes)",
    ),
    "rules_not_later": (
        "新规则须在现行版本（{effective_from}）之后生效",
        "New rules must take effect after the present ones ({effective_from})",
    ),
    "rules_backdated": (
        "新规则不能从过去的时间起生效",
        "New rules cannot take effect from a time that is past",
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
    "backtest_too_large": (
        "需检验约 {readings} 条读数，太多：请缩短时间，或限定区域、站点",
        "About {readings} readings would have to be judged, too many: ask for a shorter time, a "
        "region or a site",
    ),
    "bad_hysteresis": ("回差 {value} ℃ 不正确", "A hysteresis of {value} °C is not acceptable"),
    "bad_duration": (
        "字段 {field} 的时长 {value} 分钟不正确",
        "Field {field}: a duration of {value} min is not acceptable",
    ),
    "nothing_to_assess": (
        "这条告警没有待评估的疫苗",
        "No vaccine of this alert waits for an assessment",
    ),
    "not_affected": (
        "{value} 不在这条告警待评估的疫苗之中",
        "{value} is not among what waits for an assessment of this alert",
    ),
    "alert_lasts": (
        "告警 {alerts} 尚未结束，暂不能解除封存",
        "Alert {alerts} still lasts: nothing can be released yet",
    ),
    "also_held": (
        "部分疫苗还因告警 {alerts} 封存，请一并评估并在 also 中列出",
        "Some of it is held for alert {alerts} too: assess them together and name them in also",
    ),
    "part_of_pack": (
        "包装 {value} 整件封存，请连同其中全部疫苗一并评估，或先拆出",
        "Pack {value} is held as a whole: assess all that is in it, or unpack first",
    ),
    "condemned_already": (
        "{code} 已判定销毁，不能解除",
        "{code} is condemned: it cannot be released",
    ),
    "held_by_alert": (
        "这是告警所致的封存，须经评估解除，不能撤回",
        "An alert placed this hold: it is released by an assessment, not withdrawn",
    ),
}
