"""MQTT topics: what a device's message says about itself before it is opened.

`cc/v1/{region}/{site}/{gateway}/` + `tele/{device}`, `backfill/{device}`, `event/{device}`,
`status`; a scanner stands in the gateway's place: `…/{scanner}/scan`. Answers go to `ack/{device}`
and `reject/{device}` under the same prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.shared.errors import Invalid
from domain.shared.ids import checked_name, checked_region

ROOT = ("cc", "v1")
# The five kinds of message that come in. Never '#': our own answers would come back.
FILTERS = ("tele/+", "backfill/+", "event/+", "status", "scan")
WITH_DEVICE = ("tele", "backfill", "event")
WITHOUT_DEVICE = ("status", "scan")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart; `device_id` is empty for `status` and `scan`."""

    region_code: str
    site_id: str
    gateway_id: str
    kind: str
    device_id: str = ""

    def answer(self, kind: str) -> str:
        """Return the topic of an `ack` or `reject` for whoever sent a message on this one."""
        whom = self.device_id or self.kind
        return "/".join((*ROOT, self.region_code, self.site_id, self.gateway_id, kind, whom))


def parse(text: str) -> Topic:
    """Return the parts of a topic. Invalid when it is none of ours or a name is not allowed."""
    levels = text.split("/")
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


def filters(regions: Sequence[str]) -> list[str]:
    """Return the five subscriptions of each region; of all regions when none is named."""
    return [
        "/".join((*ROOT, region, "+", "+", kind))
        for region in (regions or ("+",))
        for kind in FILTERS
    ]
