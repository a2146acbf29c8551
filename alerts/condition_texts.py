"""The words for conditions of equipment: Chinese first, English second, by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from domain.alerting.conditions import Kind

Both = tuple[str, str]

# What it is, what it says of itself (with the figures of `detail`), what is to be done.
TEXTS: Mapping[str, tuple[Both, Both, Both]] = {
    Kind.PROBE_OFFLINE: (
        ("探头无数据", "No readings"),
        ("", ""),
        (
            "当前温度未知：请现场读取温度，检查记录仪供电和网络。",
            "The temperature is unknown: read it on site, check the logger's power and network.",
        ),
    ),
    Kind.GATEWAY_OFFLINE: (
        ("网关离线", "Gateway offline"),
        ("{devices} 台记录仪中 {silent} 台无数据", "{silent} of its {devices} devices are silent"),
        (
            "当前温度未知：请现场读取温度，检查网关供电和网络。",
            "The temperature is unknown: read it on site, check the gateway's power and network.",
        ),
    ),
    Kind.SITE_OFFLINE: (
        ("站点失联", "Site offline"),
        (
            "{gateways} 个网关、{devices} 台记录仪全部无数据",
            "All {gateways} gateways and {devices} devices are silent",
        ),
        (
            "当前温度未知：请联系现场读取温度，检查站点供电和网络。",
            "The temperature is unknown: have it read on site, check the site's power and network.",
        ),
    ),
    Kind.POWER_LOST: (
        ("断电", "Power lost"),
        ("约 {eta_min} 分钟后到 {limit_c} ℃", "About {eta_min} min to {limit_c} °C"),
        (
            "请立即查看电源，减少开门，准备转移疫苗。",
            "Check the power now, keep the doors shut, prepare to move the vaccine.",
        ),
    ),
    Kind.DOOR_OPEN: (
        ("门未关好", "Door open"),
        ("约 {eta_min} 分钟后到 {limit_c} ℃", "About {eta_min} min to {limit_c} °C"),
        ("请立即关好门。", "Shut the door now."),
    ),
    Kind.BATTERY_LOW: (
        ("记录仪电量低", "Battery low"),
        ("电量 {bat}%", "Battery at {bat} %"),
        ("请更换或充电。", "Replace or charge the battery."),
    ),
    Kind.HUMIDITY: (
        ("湿度超限", "Humidity out of range"),
        ("", ""),
        ("请检查库房湿度。", "Check the humidity of the room."),
    ),
    Kind.STUCK: (
        ("探头读数不变", "Reading does not change"),
        ("一直为 {value_c} ℃", "It stays at {value_c} °C"),
        (
            "请与另一支温度计比对，必要时更换探头。",
            "Compare with another thermometer; replace the probe if needed.",
        ),
    ),
    Kind.IMPLAUSIBLE: (
        ("探头读数突变", "Reading jumped"),
        ("突变后为 {value_c} ℃", "It jumped to {value_c} °C"),
        (
            "请检查探头和接线，该读数不可信。",
            "Check the probe and its cable: the reading cannot be trusted.",
        ),
    ),
    Kind.DISAGREE: (
        ("探头读数不一致", "Probes disagree"),
        ("", ""),
        (
            "请比对各探头，必要时校准。",
            "Compare the probes of the unit; calibrate them if needed.",
        ),
    ),
    Kind.RATE: (
        ("温度变化过快", "Temperature changes fast"),
        ("现为 {value_c} ℃", "It is at {value_c} °C"),
        ("请查看门和设备。", "Check the door and the equipment."),
    ),
    Kind.CLOCK_SKEW: (
        ("记录仪时钟不准", "Clock is wrong"),
        ("偏差 {offset_s} 秒", "It is off by {offset_s} s"),
        (
            "系统已要求校时；若仍不准，请检查记录仪。",
            "It was asked to set its clock; check the device if that does not help.",
        ),
    ),
    Kind.CALIBRATION_OVERDUE: (
        ("校准到期", "Calibration due"),
        ("证书有效期剩余 {days} 天", "Days that the certificate still holds: {days}"),
        (
            "请安排校准并登记新证书。",
            "Have the probe calibrated and record the new certificate.",
        ),
    ),
    Kind.LIMIT_FORECAST: (
        ("预计超温", "Limit approached"),
        (
            "现为 {value_c} ℃，约 {eta_min} 分钟后到 {limit_c} ℃",
            "At {value_c} °C, about {eta_min} min to {limit_c} °C",
        ),
        (
            "请查看门、电源和设备，趁未超温处理。",
            "Check door, power and equipment while it is still within its limits.",
        ),
    ),
    Kind.RECORD_MISSED: (
        ("温度记录未签", "Temperature record unsigned"),
        ("{units} 台设备未签", "{units} units not signed"),
        (
            "请读取各设备温度并签名（记为迟签），再逾时即为缺记。",
            "Read the temperatures and sign (it counts as late); after that it stays missed.",
        ),
    ),
}


def what(alert: Mapping[str, Any], language: int) -> str:
    """Return what it is."""
    return TEXTS[alert["kind"]][0][language]


def figures(alert: Mapping[str, Any], language: int) -> str:
    """Return what it says of itself, empty where that is nothing."""
    detail = {name: _shown(value) for name, value in orjson.loads(alert["detail"]).items()}
    try:
        return TEXTS[alert["kind"]][1][language].format_map(detail)
    except KeyError:  # a figure is not known, a value of a probe that gives none
        return ""


def to_do(alert: Mapping[str, Any], language: int) -> str:
    """Return what is to be done."""
    return TEXTS[alert["kind"]][2][language]


def lines(alert: Mapping[str, Any], language: int) -> list[str]:
    """Return the lines that tell what it is about, after those of its site and unit."""
    of = alert["subject_kind"] in {"device", "gateway"}
    told = figures(alert, language)
    subject = f"{('对象：', 'Of: ')[language]}{alert['subject_id']}" if of else ""
    return [line for line in (subject, told) if line]


def _shown(value: float) -> str:
    return f"{value:g}"
