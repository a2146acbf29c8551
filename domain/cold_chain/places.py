"""Through which gateway a device reports from when on: gateways replaced, devices moved.

A dead gateway is replaced by one event in its own stream, whatever number of devices is behind it:
each reports through the other one from then on, and what it told before stays its history. A
device that is carried elsewhere is moved by itself.

Codes of refusals: bad_name, naive_time, in_future, unknown_gateway, same_gateway (Invalid);
unknown_gateway, unknown_device (NotFound); gateway_replaced, other_site, already_moved (Conflict).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.cold_chain.events import DeviceMoved, GatewayReplaced
from domain.cold_chain.model import (
    Device,
    Gateway,
    Place,
    check_in_use,
    checked_past,
    gateway_stream,
    known_gateway,
)
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.shared.ids import checked_name


def replace_gateway(
    state: Gateway | None,
    *,
    replacement: Gateway | None,
    replacement_id: str,
    replaced_at: datetime,
    now: datetime,
) -> list[Event]:
    """Put another gateway in the place of one: its devices report through it from then on.

    A replacement that is not registered yet (None) is registered with it:
    `registered_replacement`. The same again is a no-op.
    """
    if state is None:
        raise NotFound("unknown_gateway")
    gateway_id = state.registered.gateway_id
    replaced = GatewayReplaced(
        gateway_id=gateway_id,
        replacement_id=checked_name(replacement_id, "replacement_id"),
        replaced_at=checked_past(replaced_at, now, "replaced_at"),
    )
    if state.replaced == replaced:
        return []
    check_in_use(state)
    if replacement_id == gateway_id:
        raise Invalid("same_gateway", field="replacement_id")
    if replacement is not None:
        check_in_use(replacement)
        if replacement.registered.site_id != state.registered.site_id:
            raise Conflict("other_site", gateway_id=replacement_id)
    return [replaced]


def registered_replacement(state: Gateway, replacement_id: str) -> tuple[UUID, Event]:
    """Return the registration, stream and event, of a gateway that comes in the place of one."""
    return gateway_stream(replacement_id), replace(state.registered, gateway_id=replacement_id)


def move_device(
    state: Device | None,
    *,
    gateway: Gateway | None,
    gateway_id: str,
    moved_at: datetime,
    now: datetime,
) -> list[Event]:
    """Put a device behind another gateway from `moved_at` (aware) on, in whatever order told.

    Nothing happens when it was there already. Conflict("already_moved") when something else is
    told of that very moment.
    """
    if state is None:
        raise NotFound("unknown_device")
    known = known_gateway(gateway, gateway_id)
    at = checked_past(moved_at, now, "moved_at")
    index = bisect_right(state.posts, at, key=lambda post: post.since)
    if state.posts[index - 1].gateway_id == gateway_id:
        return []
    check_in_use(known)
    device_id = state.registered.device_id
    if any(move.since == at for move in state.moves):
        raise Conflict("already_moved", device_id=device_id)
    return [
        DeviceMoved(
            device_id=device_id,
            gateway_id=gateway_id,
            site_id=known.registered.site_id,
            region_code=known.registered.region_code,
            moved_at=at,
        )
    ]


def places(device: Device, replaced: Callable[[str], GatewayReplaced | None]) -> tuple[Place, ...]:
    """Return the gateways a device reported through, ascending in time, at least one.

    `replaced` tells by which other a gateway was replaced, None when it was not.
    """
    found: list[Place] = []
    posts = device.posts
    ends = [*(post.since for post in posts[1:]), None]
    for post, end in zip(posts, ends, strict=True):
        place = post
        found.append(place)
        # Each step is later than the one before: there is an end even to a ring.
        while (after := replaced(place.gateway_id)) and place.since < after.replaced_at:
            if end is not None and end <= after.replaced_at:
                break
            place = replace(place, since=after.replaced_at, gateway_id=after.replacement_id)
            found.append(place)
    return tuple(found)
