"""What every peer is told, by its environment, and what it does besides storing."""

from __future__ import annotations

import json
import os
import urllib.request
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

DSN, URL = os.environ["BENCH_DSN"], os.environ["BENCH_MQTT"]
WEBHOOK = os.environ.get("BENCH_WEBHOOK", "")
CLIENT_ID, TOPIC = "bench-peer", "v1/+/+/telemetry"
LIMIT_C = 8.0


def client(**options: Any) -> mqtt.Client:
    """Return a client with a session that outlives it, subscribed whenever it connects."""
    made = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=CLIENT_ID, clean_session=False, **options
    )
    made.on_connect = lambda who, *_: who.subscribe(TOPIC, qos=1)
    return made


def connect(made: mqtt.Client) -> None:
    """Connect to the broker and run for ever."""
    parts = urlsplit(URL)
    if parts.username:
        made.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    made.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
    made.loop_forever()


class Limits:
    """Tells the webhook once when a device goes over the limit."""

    def __init__(self) -> None:
        self.high: set[str] = set()
        self._due: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._post, daemon=True).start()

    def crossed(self, device: str, temperature_c: float) -> bool:
        """Take the newest value of a device; tell whether it has just gone over."""
        if temperature_c <= LIMIT_C:
            self.high.discard(device)
            return False
        new = device not in self.high
        self.high.add(device)
        return new

    def tell(self, device: str) -> None:
        """Let the webhook know."""
        self._due.put(device)

    def _post(self) -> None:
        while True:
            body = json.dumps({"device_id": self._due.get()}).encode()
            if WEBHOOK:
                with urllib.request.urlopen(WEBHOOK, body, timeout=5):  # noqa: S310 - loopback
                    pass
