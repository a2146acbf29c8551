"""What refusals of cold_chain say, in Chinese and in English, by code."""

from __future__ import annotations

from domain.cold_chain.maintenance import OrderKind
from domain.cold_chain.model import UnitKind

# Kinds of units as files may name them in Chinese.
UNIT_KINDS = {
    UnitKind.COLD_ROOM: "冷库",
    UnitKind.FREEZER_ROOM: "冷冻库",
    UnitKind.REFRIGERATOR: "冰箱",
    UnitKind.FREEZER: "低温冰箱",
    UnitKind.REFRIGERATED_VEHICLE: "冷藏车",
    UnitKind.COLD_BOX: "冷藏箱",
}
_KINDS_ZH = "、".join(f"{zh} {kind.value}" for kind, zh in UNIT_KINDS.items())
_KINDS_EN = ", ".join(UNIT_KINDS)
# Kinds of maintenance orders.
ORDER_KINDS = {
    OrderKind.PLANNED_MAINTENANCE: "计划保养",
    OrderKind.REPAIR: "维修",
    OrderKind.CALIBRATION: "校准",
}
_ORDERS_ZH = "、".join(f"{zh} {kind.value}" for kind, zh in ORDER_KINDS.items())
_ORDERS_EN = ", ".join(ORDER_KINDS)

TEXTS = {
    "bad_unit_kind": (
        f"没有设备类型 {{value}}，可选：{_KINDS_ZH}",
        f"There is no kind of unit {{value}}; one of {_KINDS_EN}",
    ),
    "bad_channel": (
        "通道须为 1 至 16 个互不相同的小写名称：{value}",
        "Channels are 1 to 16 distinct lower-case names: {value}",
    ),
    "bad_interval": (
        "记录间隔须在 1 至 86400 秒之间",
        "The interval lies between 1 and 86,400 seconds",
    ),
    "bad_limits": (
        "温度下限须低于上限，且在 −200 至 100 ℃ 之内",
        "The lower limit must be below the upper one, both within −200 to 100 °C",
    ),
    "naive_time": ("字段 {field} 的时间须带时区", "The time in field {field} needs an offset"),
    "empty_file": ("文件是空的", "The file is empty"),
    "unknown_logger_file": (
        "不认识的文件格式（支持 Fridge-tag、Q-tag CLm、DS1923 CSV）",
        "Unknown file format (Fridge-tag, Q-tag CLm and DS1923 CSV are known)",
    ),
    "not_celsius": (
        "只支持摄氏度文件（数据第 {row} 行）",
        "Only files in degrees Celsius are read (row {row} of the data)",
    ),
    "no_logger_data": (
        "文件里没有数据表头 {heading}",
        "The data heading {heading} is missing in the file",
    ),
    "bad_logger_time": (
        "数据第 {row} 行的时间无法识别：{value}",
        "Row {row} of the data has no readable time: {value}",
    ),
    "bad_logger_value": (
        "数据第 {row} 行的温度无法识别：{value}",
        "Row {row} of the data has no readable value: {value}",
    ),
    "bad_logger_number": (
        "文件里的数字无法识别：{value}",
        "The file has an unreadable number: {value}",
    ),
    "bad_logger_serial": (
        "文件里没有可用的设备序列号：{value}",
        "The file names no usable serial number: {value}",
    ),
    "logger_times_not_ascending": (
        "数据第 {row} 行的时间没有递增",
        "Row {row} of the data does not come after the one before it",
    ),
    "bad_logger_lines": (
        "文件有 {count} 行无法读取，见 lines",
        "{count} lines of the file cannot be read, see lines",
    ),
    "unknown_zone": ("没有时区 {value}", "There is no time zone {value}"),
    "unknown_bill": ("没有单号 {bill_no}", "There is no bill {bill_no}"),
    "several_shipments": (
        "该单号有几次运输：{shipments}，请用 from_site_id、to_site_id 指明",
        "There are several shipments on this bill: {shipments}; say which by from_site_id and "
        "to_site_id",
    ),
    "bad_test": (
        "试验 {value} 须为“起/止”两个时间，先后有序，且在报告的时间之内",
        "The test {value} must be two times with / between, in order and within the report",
    ),
    "month_to_come": ("{value} 尚未开始", "{value} has not begun"),
    "unknown_day": ("没有 {day} 这一天", "There is no day {day}"),
    "unknown_record": (
        "设备 {unit_id} 在 {day} {half} 没有签名的记录",
        "Nobody has signed a record of unit {unit_id} for {day}, {half}",
    ),
    "unit_moves": (
        "{unit_id} 是运输设备：用运输温度记录，不需一日两次记录",
        "{unit_id} moves about: it has records of its shipments, none twice a day",
    ),
    "own_reading_required": (
        "探头没有有效读数，请填写温度计读数（{field}）",
        "No probe has a reading that holds: give that of a thermometer ({field})",
    ),
    "bad_own_reading": (
        "字段 {field} 的温度 {value} ℃ 不可能",
        "{value} °C in field {field} is no possible temperature",
    ),
    "shown_long_ago": (
        "所示读数已超过 15 分钟，或在将来：请重新读取再签名",
        "What was shown is older than 15 minutes, or to come: read it again and sign that",
    ),
    "record_not_due": (
        "该记录从 {opens} 起才可签名",
        "This record can be signed from {opens} on",
    ),
    "record_missed": (
        "该记录已于 {closed} 截止：缺记不得补签",
        "This record was closed at {closed}: what was missed is not made up",
    ),
    "record_signed": (
        "该记录已由 {signed_by} 签名，不得更改",
        "This record was signed by {signed_by} and cannot be changed",
    ),
    "records_too_close": (
        "上午、下午两次记录须间隔至少 6 小时；另一次为 {other}",
        "Six hours at least lie between the two records of a day; the other was at {other}",
    ),
    "unknown_profile": ("没有储存条件 {profile_id}", "There is no storage profile {profile_id}"),
    "unknown_unit": ("没有这台设备", "There is no such unit"),
    "unknown_gateway": ("没有这个网关", "There is no such gateway"),
    "unknown_device": ("没有这个记录仪", "There is no such device"),
    "unknown_channel": ("记录仪没有通道 {value}", "The device has no channel {value}"),
    "already_placed": (
        "记录仪 {device_id} 的通道 {channel} 在同一时刻已有另一条安放记录",
        "Channel {channel} of device {device_id} was placed or removed at that very moment",
    ),
    "not_placed": (
        "记录仪 {device_id} 的通道 {channel} 当时不在任何设备中",
        "Channel {channel} of device {device_id} stood in no unit then",
    ),
    "no_suggestion": (
        "消息里看不出字段 {field}，请填写",
        "Its messages do not tell field {field}; name it",
    ),
    "nothing_waits": (
        "隔离区没有来自 {id} 的消息",
        "No message of {id} is in quarantine",
    ),
    "in_future": (
        "字段 {field} 的时间不得晚于现在",
        "The time in field {field} lies in the future",
    ),
    "same_gateway": ("网关不能由它自己替换", "A gateway cannot be replaced by itself"),
    "gateway_replaced": (
        "网关 {gateway_id} 已由 {replacement_id} 替换",
        "Gateway {gateway_id} was replaced by {replacement_id}",
    ),
    "other_site": (
        "网关 {gateway_id} 在另一个站点",
        "Gateway {gateway_id} stands at another site",
    ),
    "already_moved": (
        "记录仪 {device_id} 在同一时刻已有另一条移动记录",
        "Device {device_id} was moved elsewhere at that very moment",
    ),
    "bad_order_kind": (
        f"没有工单类型 {{value}}，可选：{_ORDERS_ZH}",
        f"There is no kind of order {{value}}; one of {_ORDERS_EN}",
    ),
    "too_many_parts": ("更换的部件最多 {limit} 项", "At most {limit} parts"),
    "unknown_order": ("没有这张工单", "There is no such order"),
    "order_closed": (
        "工单 {order_id} 已完成或取消",
        "Order {order_id} is done or cancelled",
    ),
    "bad_points": (
        "校准点须为 1 至 {count_max} 个",
        "A certificate has 1 to {count_max} points",
    ),
    "bad_calibration_point": (
        "校准点 {value} ℃ 不可用：偏差和不确定度不超过 {deviation_c_max} ℃，参考温度不重复，"
        "示值须随参考温度升高",
        "The point at {value} °C will not do: deviation and uncertainty within {deviation_c_max} "
        "°C, no temperature twice, and what the probe reads rises with the temperature",
    ),
    "bad_validity": (
        "有效期不得早于校准日期 {calibrated_on}",
        "It cannot end before the day of calibration, {calibrated_on}",
    ),
    "before_calibration": (
        "修正不得早于校准日期 {calibrated_on}",
        "Readings count corrected from the day of calibration on, {calibrated_on}, not before",
    ),
    "bad_base64": ("字段 {field} 不是有效的 Base64", "Field {field} is not valid Base64"),
    "bad_span": (
        "起止时间须先后有序，且不超过 {days} 天",
        "The span must run forwards and not exceed {days} days",
    ),
    "unknown_evidence": ("没有文件 {sha256}", "There is no file {sha256}"),
    "unknown_message": ("隔离区没有消息 {id}", "There is no message {id} in quarantine"),
    "already_resolved": ("消息 {id} 已处理", "Message {id} is resolved already"),
    # --- payload profiles ---
    "bad_profile_file": (
        "报文模板文件有误：{reason}",
        "The file is no payload profile: {reason}",
    ),
    "bad_profile_topic": (
        "主题 {value} 不可用：第一级须为固定名称且不是 cc，"
        "其余各级为名称、+、{{device}} 或 {{gateway}}",
        "Topic {value} will not do: it begins with a fixed name other than cc, then come names, +, "
        "{{device}} or {{gateway}}",
    ),
    "bad_profile_device": (
        "主题里没有 {{device}}，须用 device 说明记录仪编号在消息的何处",
        "The topic has no {{device}}, so device must say where the message names it",
    ),
    "bad_expression": (
        "字段 {field} 的表达式 {value} 有误：{reason}",
        "The expression {value} in field {field} is wrong: {reason}",
    ),
    "bad_time_form": (
        "时间形式 {value} 不可用：ms、s、rfc3339，"
        "或含年月日时分的格式（%Y-%m-%d %H:%M:%S）加 offset（+08:00）",
        "Time form {value} will not do: ms, s, rfc3339, or a pattern with year to minute "
        "(%Y-%m-%d %H:%M:%S) and an offset (+08:00)",
    ),
    "bad_unit": (
        "字段 {field} 的单位 {value} 不可用，可选：{units}",
        "The unit {value} in field {field} will not do; one of {units}",
    ),
    "bad_divisor": ("字段 {field} 须大于 0：{value}", "Field {field} must be above 0: {value}"),
    "topic_overlaps": (
        "主题与报文模板 {profile_id} 的 {topic} 重叠",
        "The topic overlaps {topic} of payload profile {profile_id}",
    ),
    "too_many_profiles": (
        "启用的报文模板最多 {limit} 个",
        "At most {limit} payload profiles are in force at a time",
    ),
    "unknown_payload_profile": ("没有这个报文模板", "There is no such payload profile"),
    "topic_differs": (
        "主题 {topic} 不符合报文模板的 {pattern}",
        "Topic {topic} does not fit {pattern} of the payload profile",
    ),
    "bad_command": (
        "没有命令 {value}",
        "There is no command {value}",
    ),
    "bad_arguments": (
        "命令 {cmd} 的参数须为整数：{takes}",
        "The arguments of {cmd} are whole numbers: {takes}",
    ),
    "unknown_command": ("没有命令记录 {id}", "There is no command with the id {id}"),
    "bad_topic": (
        "主题的 {field} 不符合约定",
        "Level {field} of the topic is not of the agreed form",
    ),
}
