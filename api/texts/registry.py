"""What refusals of registry say, in Chinese and in English, by code."""

from __future__ import annotations

from domain.registry.model import SiteKind

# Kinds of sites as files may name them in Chinese.
SITE_KINDS = {
    SiteKind.HOLDER: "上市许可持有人",
    SiteKind.PROVINCE_CDC: "省级疾控",
    SiteKind.CITY_CDC: "市级疾控",
    SiteKind.COUNTY_CDC: "县级疾控",
    SiteKind.CLINIC: "接种单位",
    SiteKind.HOSPITAL: "医院",
    SiteKind.OTHER: "其他",
}
_KINDS_ZH = "、".join(f"{zh} {kind.value}" for kind, zh in SITE_KINDS.items())
_KINDS_EN = ", ".join(SITE_KINDS)

TEXTS = {
    "bad_text": (
        "字段 {field} 须为一行文字，最多 {length_max} 个字符",
        "Field {field} must be one line of text, at most {length_max} characters",
    ),
    "bad_site_kind": (
        f"没有站点类型 {{value}}，可选：{_KINDS_ZH}",
        f"There is no kind of site {{value}}; one of {_KINDS_EN}",
    ),
    "bad_site_no": ("站点序号须在 1 至 99999 之间", "A site number lies between 1 and 99999"),
    "bad_coordinates": (
        "坐标须成对给出：北纬 3–54 度，东经 73–136 度",
        "Coordinates come in pairs: latitude 3 to 54, longitude 73 to 136 degrees",
    ),
    "unknown_organisation": ("没有这个机构", "There is no such organisation"),
    "unknown_site": ("没有这个站点", "There is no such site"),
    "already_registered": (
        "已按别的内容登记过，不同的字段：{differs}",
        "Registered already with other particulars; these differ: {differs}",
    ),
}
