"""Identifiers: stream ids, GB/T 2260 regions, GB 32100 organisation codes, topic-level names."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

from domain.shared.errors import Invalid

# Permanent: every stream id in every store is derived from it.
NAMESPACE = UUID("6f0c5f8e-5a0e-5d5b-9d43-2b4c1a7e9f10")

# What may stand in one level of an MQTT topic (site, gateway, device, scanner, unit).
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
# GB/T 2260: province, prefecture, county, two digits each; 00 below the level meant. The provinces
# are a closed list; below them codes come and go, so any digits are taken.
REGION_PATTERN = r"^(1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12])[0-9]{4}$"
# The region of a grant for the whole country; nothing else lies in it.
WHOLE_COUNTRY = "000000"
# GB 32100-2015: 18 characters, letters without I, O, S, V, Z.
ORG_CODE_PATTERN = r"^[0-9A-HJ-NP-RTUW-Y]{2}[0-9]{6}[0-9A-HJ-NP-RTUW-Y]{10}$"

_NAME = re.compile(NAME_PATTERN)
_REGION = re.compile(REGION_PATTERN)
_ORG_CODE = re.compile(ORG_CODE_PATTERN)
_ORG_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def stream_id(kind: str, *key: str | int) -> UUID:
    """Return the id of the stream of `kind` ("<stem>.<thing>") with this natural key.

    The same key always gives the same id, so a duplicate creation fails in the store itself.
    """
    return uuid5(NAMESPACE, "\x1f".join([kind, *map(str, key)]))


def checked_name(value: str, field: str) -> str:
    """Return `value` when it can stand in one topic level; Invalid("bad_name") otherwise."""
    if not _NAME.fullmatch(value):
        raise Invalid("bad_name", field=field, value=value)
    return value


def checked_region(value: str, field: str = "region_code") -> str:
    """Return a GB/T 2260 code of an existing province; Invalid("bad_region") otherwise."""
    if not _REGION.fullmatch(value):
        raise Invalid("bad_region", field=field, value=value)
    return value


def org_check_character(first17: str) -> str:
    """Return the check character of GB 32100-2015 (weights 3^i mod 31, complement to 31)."""
    total = sum(_ORG_ALPHABET.index(c) * pow(3, i, 31) for i, c in enumerate(first17))
    return _ORG_ALPHABET[-total % 31]


def checked_org_code(value: str, field: str = "org_code") -> str:
    """Return a unified social credit code with a right check character, else Invalid."""
    if not _ORG_CODE.fullmatch(value) or org_check_character(value[:17]) != value[17]:
        raise Invalid("bad_org_code", field=field, value=value)
    return value


def region_prefix(region_code: str) -> str:
    """Return the prefix a grant at this region covers: 640000 -> 64, 640200 -> 6402.

    000000 is the whole country: its prefix is empty.
    """
    if region_code == WHOLE_COUNTRY:
        return ""
    if region_code.endswith("0000"):
        return region_code[:2]
    return region_code[:4] if region_code.endswith("00") else region_code


def covers(grant_region: str, region_code: str) -> bool:
    """Tell whether a grant at `grant_region` reaches `region_code` (640200 covers 640202)."""
    return region_code.startswith(region_prefix(grant_region))
