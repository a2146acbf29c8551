"""Names of GB/T 2260 regions, with the retired codes that history still names.

Source: GB/T 2260 and the yearly county-level lists of the Ministry of Civil Affairs; dates are
those of the approvals (国函〔2002〕96号, 国函〔2003〕139号; 民政部 2010-09-10, 2013-01-24). A code
that is not here is allowed everywhere: it has no name, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Region:
    """A region's names; valid from `valid_from` until the day before `valid_to`, None unbounded."""

    zh: str
    en: str
    valid_from: date | None = None
    valid_to: date | None = None
    successor: str = ""


_2002 = date(2002, 10, 19)
_2003 = date(2003, 12, 31)
_MENGZI = date(2010, 9, 10)
_MILE = date(2013, 1, 24)

REGIONS: dict[str, Region] = {
    "530000": Region("云南省", "Yunnan"),
    "530100": Region("昆明市", "Kunming"),
    "532500": Region("红河哈尼族彝族自治州", "Honghe Hani and Yi Autonomous Prefecture"),
    "532501": Region("个旧市", "Gejiu"),
    "532502": Region("开远市", "Kaiyuan"),
    "532503": Region("蒙自市", "Mengzi", _MENGZI),
    "532504": Region("弥勒市", "Mile", _MILE),
    "532522": Region("蒙自县", "Mengzi County", None, _MENGZI, "532503"),
    "532523": Region("屏边苗族自治县", "Pingbian Miao Autonomous County"),
    "532524": Region("建水县", "Jianshui County"),
    "532525": Region("石屏县", "Shiping County"),
    "532526": Region("弥勒县", "Mile County", None, _MILE, "532504"),
    "532527": Region("泸西县", "Luxi County"),
    "532528": Region("元阳县", "Yuanyang County"),
    "532529": Region("红河县", "Honghe County"),
    "532530": Region("金平苗族瑶族傣族自治县", "Jinping Miao, Yao and Dai Autonomous County"),
    "532531": Region("绿春县", "Lüchun County"),
    "532532": Region("河口瑶族自治县", "Hekou Yao Autonomous County"),
    "640000": Region("宁夏回族自治区", "Ningxia Hui Autonomous Region"),
    "640100": Region("银川市", "Yinchuan"),
    "640104": Region("兴庆区", "Xingqing District", _2002),
    "640105": Region("西夏区", "Xixia District", _2002),
    "640106": Region("金凤区", "Jinfeng District", _2002),
    "640200": Region("石嘴山市", "Shizuishan"),
    "640202": Region("大武口区", "Dawukou District"),
    "640203": Region("石嘴山区", "Shizuishan District", None, _2003, "640205"),
    "640204": Region("石炭井区", "Shitanjing District", None, _2002, "640202"),
    "640205": Region("惠农区", "Huinong District", _2003),
    "640221": Region("平罗县", "Pingluo County"),
    "640222": Region("陶乐县", "Taole County", None, _2003, "640221"),
    "640223": Region("惠农县", "Huinong County", None, _2003, "640205"),
}


def successor(region_code: str) -> str:
    """Return the code in use today: the last successor of a retired code, else the code itself."""
    known = REGIONS.get(region_code)
    while known is not None and known.successor:
        region_code = known.successor
        known = REGIONS.get(region_code)
    return region_code
