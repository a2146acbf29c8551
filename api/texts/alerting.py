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
