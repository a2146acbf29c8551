"""MQTT topics: what a device's message says about itself before it is opened.

`cc/v1/{region}/{site}/{gateway}/` + `tele/{device}`, `backfill/{device}`, `event/{device}`,
`status`; a scanner stands in the gateway's place: `…/{scanner}/scan`. Answers go to `ack/{device}`
and `reject/{device}` under the same prefix.

Sparkplug B beside it: `spBv1.0/{region}/{kind}/{gateway}[/{device}]`, which names no site; answers
go to the same topics as everyone's. Every other topic can be a vendor's (profiles.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.shared.errors import Invalid
from domain.shared.ids import checked_name, checked_region

ROOT = ("cc", "v1")
# The five kinds of message that come in. Never '#': our own answers would come back.
BACKFILL = "backfill/+"
FILTERS = ("tele/+", BACKFILL, "event/+", "status", "scan")
WITH_DEVICE = ("tele", "backfill", "event")
WITHOUT_DEVICE = ("status", "scan")

SPARKPLUG = "spBv1.0"
# Kinds of a gateway's own messages and of its devices'; commands are what servers say.
OF_NODES = ("NBIRTH", "NDATA", "NDEATH", "NCMD")
OF_NODE_DEVICES = ("DBIRTH", "DDATA", "DDEATH", "DCMD")
# Stands in answers where a gateway's site is not known, as no level may be empty.
UNKNOWN_SITE = "_"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart; `device_id` is empty where the gateway or scanner speaks for itself.

    `site_id` is empty for Sparkplug's, until the registry has told it.
    """

    region_code: str
    site_id: str
    gateway_id: str
    kind: str
    device_id: str = ""

    def answer(self, kind: str) -> str:
        """Return the topic of an `ack` or `reject` for whoever sent a message on this one."""
        whom = self.device_id or self.kind
        site_id = self.site_id or UNKNOWN_SITE
        return "/".join((*ROOT, self.region_code, site_id, self.gateway_id, kind, whom))


def parse(text: str) -> Topic:
    """Return the parts of a topic. Invalid when it is none of ours or a name is not allowed."""
    levels = text.split("/")
    if levels[0] == SPARKPLUG:
        return _parse_sparkplug(levels)
    if len(levels) not in (6, 7) or tuple(levels[:2]) != ROOT:
        raise Invalid("bad_topic", field="topic")
    _, _, region, site, gateway, kind, *device = levels
    if kind not in (WITH_DEVICE if device else WITHOUT_DEVICE):
        raise Invalid("bad_topic", field="kind")
    return Topic(
        checked_region(region, "region"),
        checked_name(site, "site"),
        checked_name(gateway, "gateway"),
        kind,
        checked_name(device[0], "device") if device else "",
    )


def _parse_sparkplug(levels: list[str]) -> Topic:
    if len(levels) not in (4, 5):
        raise Invalid("bad_topic", field="topic")
    _, region, kind, gateway, *device = levels
    if kind not in (OF_NODE_DEVICES if device else OF_NODES):
        raise Invalid("bad_topic", field="kind")
    return Topic(
        checked_region(region, "region"),
        "",
        checked_name(gateway, "gateway"),
        kind,
        checked_name(device[0], "device") if device else "",
    )


def filters(regions: Sequence[str]) -> list[str]:
    """Return the seven subscriptions of each region; of all regions when none is named."""
    return [
        text
        for region in (regions or ("+",))
        for text in (
            *("/".join((*ROOT, region, "+", "+", kind)) for kind in FILTERS),
            f"{SPARKPLUG}/{region}/+/+",
            f"{SPARKPLUG}/{region}/+/+/+",
        )
    ]


def mark(text: str, word: str) -> str:
    """Return a topic that a subscription gets and that is nobody's, given a word of nobody's."""
    return text.replace("+", word).replace("#", word)
