"""Why a message is not taken: a permanent code, and a sentence in Chinese and in English.

The code goes into the quarantine and onto the reject topic; a gateway's software may key on it.
"""

from __future__ import annotations

# reason -> (code, Chinese, English). Several reasons share a code where the mend is the same.
REASONS: dict[str, tuple[str, str, str]] = {
    "bad_topic": (
        "schema",
        "主题不符合约定：{text}",
        "the topic is not of the agreed form: {text}",
    ),
    "too_large": (
        "too_large",
        "消息超过 {limit} 字节（解压后计）",
        "the message exceeds {limit} bytes (unpacked)",
    ),
    "bad_zip": ("schema", "压缩数据损坏", "the compressed data are broken"),
    "bad_json": ("schema", "不是合法的 JSON：{text}", "not valid JSON: {text}"),
    "bad_field": ("schema", "字段不合格式：{text}", "a field does not fit: {text}"),
    "bad_value": (
        "schema",
        "通道 {channel} 的值 {value} 不可能（允许 {low} 至 {high}）",
        "channel {channel} cannot be {value} (allowed: {low} to {high})",
    ),
    "bad_channel": ("schema", "通道名不合格式：{channel}", "not a channel name: {channel}"),
    "no_readings": ("schema", "消息里没有读数", "the message holds no reading"),
    "too_many": (
        "schema",
        "一条消息最多 {limit} 条读数，收到 {n} 条",
        "a message holds at most {limit} readings, this one {n}",
    ),
    "uneven_rows": (
        "schema",
        "第 {row} 行的列数与 cols 不一致",
        "row {row} has another number of columns than cols",
    ),
    "repeated": (
        "schema",
        "同一消息内 {field} 重复：{value}",
        "{field} occurs twice in one message: {value}",
    ),
    "mixed_seq": (
        "schema",
        "同一消息内有的读数带 seq，有的不带",
        "some readings of the message have a seq and some have none",
    ),
    "other_device": (
        "acl",
        "消息里的设备 {named} 不是主题里的设备 {device}",
        "the message names device {named}, its topic {device}",
    ),
    "clock": (
        "clock",
        "时间 {ts} 不可信：应为 2015 年以后、且不晚于现在 5 分钟的 UTC 毫秒",
        "time {ts} cannot be: UTC milliseconds after 2015, at most 5 minutes ahead of now",
    ),
    "unknown_device": (
        "unknown_device",
        "设备 {device} 没有登记",
        "device {device} is not registered",
    ),
    "unknown_gateway": (
        "unknown_device",
        "网关 {gateway} 没有登记",
        "gateway {gateway} is not registered",
    ),
    "unknown_site": ("unknown_site", "站点 {site} 没有登记", "site {site} is not registered"),
    "other_region": (
        "acl",
        "消息所属设备由另一个 ingest 进程负责：{text}",
        "the devices of this message are another ingest worker's: {text}",
    ),
    "elsewhere": (
        "acl",
        "{what} 登记在 {registered} 之下，不能从 {topic} 发来",
        "{what} is registered under {registered} and cannot send from {topic}",
    ),
    "bad_code": (
        "bad_code",
        "不是追溯码：{value}（{text}）",
        "not a code: {value} ({text})",
    ),
    "unknown_code": (
        "unknown_code",
        "追溯码 {value} 的产品 {product} 没有登记",
        "code {value} belongs to product {product}, which is not registered",
    ),
    "not_a_pseudonym": (
        "personal_data",
        "字段 {field} 只能是代号，不得是姓名、证件号或手机号",
        "field {field} must be a pseudonym, never a name, an identity or a telephone number",
    ),
    "names_a_person": (
        "personal_data",
        "字段 {field} 中不得写证件号或手机号，人员一律用代号",
        "field {field} must not hold an identity or telephone number: people are pseudonyms",
    ),
    "parent_in_codes": (
        "schema",
        "追溯码 {value} 不能装在它自己里面",
        "code {value} cannot be inside itself",
    ),
    "binds_lot": (
        "acl",
        "扫码枪不能封存、召回或放行整批，也不能下达或解除召回",
        "a scanner cannot hold, recall or release a whole lot, nor order or lift a recall",
    ),
    "scan_conflict": (
        "conflict",
        "扫码枪 {scanner} 的同一序号 {boot}/{seq} 曾发来不同内容",
        "scanner {scanner} sent something else under the same number {boot}/{seq}",
    ),
    # --- SenML, Sparkplug B ---
    "bad_protobuf": ("schema", "不是合法的 protobuf：{text}", "not valid protobuf: {text}"),
    "bad_metric": (
        "schema",
        "指标 {name} 的值与类型 {type} 不符",
        "the value of metric {name} is not of type {type}",
    ),
    "bad_compression": (
        "schema",
        "Sparkplug 负载不能以 {algorithm} 压缩；应为一层 GZIP 或 DEFLATE",
        "a Sparkplug payload cannot be packed by {algorithm}: GZIP or DEFLATE, and once",
    ),
    "unknown_alias": (
        "unknown_alias",
        "记录仪 {device} 的别名 {alias} 未见出生报文，已要求网关重发；收到后可重放",
        "no birth of device {device} names alias {alias}; the gateway is asked for it, then replay",
    ),
    "must_understand": (
        "schema",
        "SenML 字段 {field} 必须能理解，但未登记",
        "the SenML field {field} must be understood and is not known",
    ),
    "bad_unit": (
        "schema",
        "通道 {channel} 的单位不能是 {unit}",
        "channel {channel} cannot be measured in {unit}",
    ),
    # --- messages read by a vendor's profile ---
    "bad_profile": (
        "schema",
        "报文模板 {profile} 已无法使用：{text}",
        "payload profile {profile} cannot be used any more: {text}",
    ),
    "profile_fault": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 不能用于此消息：{text}",
        "payload profile {profile}, {place}: {expression} does not work on this message: {text}",
    ),
    "profile_list": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是列表",
        "payload profile {profile}, {place}: {expression} gives {value}, which is no list",
    ),
    "profile_device": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是记录仪编号",
        "payload profile {profile}, {place}: {expression} gives {value}, which is no device",
    ),
    "profile_time": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是 {form} 形式的时间",
        "payload profile {profile}, {place}: {expression} gives {value}, no time of form {form}",
    ),
    "profile_whole": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是合适的非负整数",
        "payload profile {profile}, {place}: {expression} gives {value}, no whole number in range",
    ),
    "profile_number": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是数值",
        "payload profile {profile}, {place}: {expression} gives {value}, which is no number",
    ),
    "profile_valid": (
        "schema",
        "报文模板 {profile} 的 {place}：表达式 {expression} 得到 {value}，不是 true 或 false",
        "payload profile {profile}, {place}: {expression} gives {value}, not true or false",
    ),
    "profile_nothing": (
        "schema",
        "报文模板 {profile} 在消息里没有找到记录仪 {device} 的任何通道",
        "payload profile {profile} finds no channel of device {device} in the message",
    ),
    "profile_work": (
        "schema",
        "报文模板 {profile} 的表达式在此消息上计算量过大",
        "the expressions of payload profile {profile} have too much to do on this message",
    ),
    "poison": (
        "poison",
        "处理这条消息时出错，已单独保存：{text}",
        "this message could not be processed and is kept aside: {text}",
    ),
}

# Of a foreign error text, so that a detail stays readable.
TEXT_LENGTH_MAX = 200


class Refused(Exception):
    """A message that is kept in quarantine instead of being stored."""

    def __init__(self, reason: str, **facts: object) -> None:
        code, zh, en = REASONS[reason]
        shown = {name: str(value)[:TEXT_LENGTH_MAX] for name, value in facts.items()}
        self.code = code
        self.zh = zh.format(**shown)
        self.en = en.format(**shown)
        ts = facts.get("ts") if code == "clock" else None
        self.ts_ms = ts if isinstance(ts, int) else None  # a time that cannot be
        super().__init__(reason, facts)

    @property
    def detail(self) -> str:
        """Return both sentences in one line, as the quarantine shows them; no NUL in it."""
        return f"{self.zh} / {self.en}".replace("\x00", "\\0")
