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
    "bad_query_name": (
        "查询名须为 1 至 64 位字母、数字、“_”“-”“.”或“~”",
        "A query name has 1 to 64 letters, digits, _, -, . or ~",
    ),
    "query_exists": ("已有名为 {name} 的查询", "There is a query {name} already"),
    "query_in_use": (
        "授权范围外的地区有 {count} 个订阅依赖查询 {name}，不能删除",
        "{count} subscriptions of regions outside the grant depend on query {name}",
    ),
    "unknown_query": ("没有名为 {name} 的查询", "There is no query {name}"),
    "unknown_query_parameter": (
        "没有名为 {field} 的查询参数",
        "There is no query parameter {field}",
    ),
    "bad_query_value": (
        "查询参数 {field} 的值“{value}”不正确，应为：{expected}",
        "Query parameter {field} cannot be {value}; expected: {expected}",
    ),
    "query_needs_order": (
        "使用 eventCountLimit 时须同时给出 orderBy",
        "eventCountLimit may only be used with orderBy",
    ),
    "query_limits_exclude": (
        "eventCountLimit 与 maxEventCount 不能同时使用",
        "eventCountLimit and maxEventCount exclude each other",
    ),
    "epcis_required": ("缺少字段 {field}", "Field {field} is missing"),
    "epcis_unknown_name": (
        "标准中没有字段 {field}；扩展字段须写成“前缀:名称”",
        "The standard has no field {field}; an extension is written prefix:name",
    ),
    "epcis_bad_moment": (
        "{field} 的“{value}”不是带时区的时间（RFC 3339）",
        "{field}: {value} is no time with its offset (RFC 3339)",
    ),
    "epcis_no_uri": ("{field} 的“{value}”不是 URI", "{field}: {value} is no URI"),
    "epcis_no_word": (
        "{field} 的“{value}”既不是标准词汇，也不是其他 URI",
        "{field}: {value} is neither a word of the vocabulary nor a URI of another",
    ),
    "epcis_bad_value": (
        "{field} 的值“{value}”不符合标准（{rule}）",
        "{field}: {value} is not as the standard has it ({rule})",
    ),
    "epcis_about_nothing": (
        "事件没有说明涉及何物，须给出：{expected}",
        "The event is about nothing; it needs: {expected}",
    ),
    "epcis_interval_reversed": (
        "测量区间的开始 {value} 晚于结束 {end}",
        "The measuring began at {value}, after its end {end}",
    ),
    "epcis_said_twice": (
        "{field} 在 sensorMetadata 与 sensorReport 中不一致，只能写在一处",
        "{field} differs between sensorMetadata and sensorReport; it stands in one of them",
    ),
    "epcis_sensed_later": (
        "测量时间 {value} 晚于事件时间",
        "It was measured at {value}, after the time of the event",
    ),
    "epcis_too_many_events": (
        "一个文档最多 {max} 个事件，请分成几个",
        "A document holds at most {max} events; cut it in parts",
    ),
    "epcis_too_deep": ("事件嵌套过深", "The event is nested too deeply"),
    "epcis_not_one_event": (
        "此处只接受单个事件；整个文档请提交到 /epcis/capture",
        "This takes a single event; a whole document goes to /epcis/capture",
    ),
    "unknown_capture_job": ("没有采集任务 {capture_id}", "There is no capture job {capture_id}"),
    "unknown_event": ("没有事件 {event_id}", "There is no event {event_id}"),
    "bad_behaviour": (
        "请求头 {field} 只能是 {expected}",
        "Header {field} is one of {expected}",
    ),
    "repeated_query_parameter": (
        "查询参数 {field} 只能给出一次；多个值用“|”分隔",
        "Query parameter {field} is given once; several values are separated by |",
    ),
    "bad_page_token": (
        "翻页标记无效、已过期或已退回，请从第一页重新查询",
        "The page token is not valid, expired or given back: begin at the first page",
    ),
    "query_too_large": (
        "符合条件的事件多于 maxEventCount 给出的 {max} 个",
        "More events match than the {max} that maxEventCount allows",
    ),
    "query_too_complex": (
        "查询在 {max} 秒内未能答出，请缩小范围，例如限定时间",
        "The query was not answered within {max} s; ask more narrowly, for example of less time",
    ),
    "unknown_member": (
        "库中没有 {collection} 为“{value}”的事件",
        "No event here is about {value} ({collection})",
    ),
    "bad_query": (
        "字段 {field} 不正确：须为 name 与 query（JSON 对象）",
        "Field {field} is wrong: a name and a query (a JSON object) are needed",
    ),
    "bad_subscription": (
        "订阅的 {field}“{value}”不正确，应为：{expected}",
        "The subscription's {field} cannot be {value}; expected: {expected}",
    ),
    "unknown_subscription": (
        "没有订阅 {subscription_id}",
        "There is no subscription {subscription_id}",
    ),
}
