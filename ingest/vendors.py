"""What a message on a vendor's topic means here: its readings of devices registered with us.

Each device must be registered: behind the gateway that the topic names, or, where it names none,
at all. What can be stored of a message is stored; for the rest the message is kept in quarantine
as well, and played again later it stores what was missing.

Every worker gets the messages of all regions. A device of another worker's region is left to that
one; what belongs to no region (unknown devices, messages that cannot be read) is kept by the one
worker whose directory keeps `strays`.
"""

from __future__ import annotations

from dataclasses import replace

from ingest import profiles
from ingest.batch import Batch, Item
from ingest.directory import Directory
from ingest.profiles import Decoded, Found
from ingest.refusals import Refused
from ingest.topics import Topic
from ingest.wire import Message


def take(batch: Batch, item: Item) -> tuple[Message, ...]:
    """Return the messages of the item that this worker stores, each of one device.

    Where some devices are refused, the batch gains an item for the quarantine. Refused when all
    are, and for a topic of no profile.
    """
    directory = batch.directory
    try:
        found, decoded = _decoded(batch, item)
    except Refused:
        if directory.strays:
            raise
        return ()
    taken, refused = _held(directory, found, decoded)
    if not taken and not refused and item.received.replay_id is not None:
        # Another worker's: it would count as stored, and nobody would have.
        raise Refused("other_region", text=item.received.topic)
    if not refused:
        return tuple(taken)
    if not taken:
        raise refused[0]
    received = item.received
    aside = Item(replace(received, connection=0, mid=b""), refused=refused[0])  # answered once
    batch.items.append(aside)
    item.received = replace(received, replay_id=None, replayed_by="")  # not mended as a whole
    return tuple(taken)


def _decoded(batch: Batch, item: Item) -> tuple[Found, Decoded]:
    topic = item.received.topic
    found = batch.directory.profiles.find(topic)
    if found is None:
        raise Refused("bad_topic", text=topic)
    return found, profiles.decode(found, item.received.payload, batch.now_ms)


def _held(
    directory: Directory, found: Found, decoded: Decoded
) -> tuple[list[Message], list[Refused]]:
    """Hold the devices of a message against the registry."""
    gateway_id = profiles.as_name(found.names.get("gateway", ""))
    taken: list[Message] = []
    refused: list[Refused] = []
    for message in decoded.messages:
        if _is_ours(directory, message.device_id):
            try:
                _check(directory, gateway_id, message)
                taken.append(message)
            except Refused as fault:
                refused.append(fault)
    refused += [why for name, why in decoded.refused.items() if _is_ours(directory, name)]
    return taken, refused


def _is_ours(directory: Directory, device_id: str) -> bool:
    if device_id not in directory.devices:
        return directory.strays
    return directory.owns(device_id)


def _check(directory: Directory, gateway_id: str, message: Message) -> None:
    device_id = message.device_id
    if device_id not in directory.devices:
        raise Refused("unknown_device", device=device_id)
    if not gateway_id:
        return
    gateway = directory.gateways.get(gateway_id)
    if gateway is None:
        raise Refused("unknown_gateway", gateway=gateway_id)
    topic = Topic(gateway.region_code, gateway.site_id, gateway_id, "tele", device_id)
    directory.check_device(topic, max(message.ts_ms))
