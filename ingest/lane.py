"""One topic of one device whose ordinary messages go straight into columns (lanes.py)."""

from __future__ import annotations

from ingest.readings import device_stream
from ingest.state import DeviceState


class Lane:
    """One topic of one device.

    `at`: index in the device's ranges of the end that the topic's next message continues.
    """

    __slots__ = ("ack", "at", "backfill", "event_head", "state")

    def __init__(self, state: DeviceState, ack: str, *, backfill: bool) -> None:
        self.state = state
        self.ack = ack
        self.backfill = backfill
        self.at = 0
        stream = device_stream(state.device_id).bytes
        # The beginning of the stored event in COPY's binary form: 4 columns, 16 bytes of uuid, and
        # the length of the version that follows.
        self.event_head = b"\0\x04" + b"\0\0\0\x10" + stream + b"\0\0\0\x08"
