"""The strongest safe one written by hand: COPY of a batch, commit, only then acknowledge it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Thread

import orjson
import paho.mqtt.client as mqtt
import psycopg

from bench.peers import common

MESSAGES_MAX, GATHER_S = 1_000, 0.02
COPY = """COPY readings (gateway, device, ts, temperature, humidity, seq)
          FROM STDIN (FORMAT binary)"""
TYPES = ["text", "text", "timestamptz", "float8", "float8", "int8"]
Row = tuple[str, str, datetime, float, float, int]

inbox: SimpleQueue[mqtt.MQTTMessage] = SimpleQueue()
client = common.client(manual_ack=True)
client.on_message = lambda _client, _userdata, message: inbox.put(message)


def gathered() -> list[mqtt.MQTTMessage]:
    """Wait for a message and return it with those that follow soon."""
    messages = [inbox.get()]
    until = time.monotonic() + GATHER_S
    while len(messages) < MESSAGES_MAX:
        try:
            messages.append(inbox.get(timeout=max(0.0, until - time.monotonic())))
        except Empty:
            break
    return messages


def rows(message: mqtt.MQTTMessage) -> Iterator[Row]:
    """Yield the readings of a message."""
    _, gateway, device, _ = message.topic.split("/")
    body = orjson.loads(message.payload)
    for one in body if isinstance(body, list) else (body,):
        at, temperature = datetime.fromisoformat(one["ts"]), float(one["temperature"])
        yield gateway, device, at, temperature, float(one["humidity"]), one["seq"]


def write() -> None:
    """Store what comes, batch by batch, for ever."""
    limits = common.Limits()
    conn = psycopg.connect(common.DSN)
    while True:
        messages = gathered()
        over: list[str] = []
        with conn.cursor() as cur, cur.copy(COPY) as copy:
            copy.set_types(TYPES)
            for message in messages:
                for row in rows(message):
                    copy.write_row(row)
                    if (row[3] > common.LIMIT_C or row[1] in limits.high) and limits.crossed(
                        row[1], row[3]
                    ):
                        over.append(row[1])
        conn.commit()
        for message in messages:
            client.ack(message.mid, message.qos)
        for device in over:
            limits.tell(device)


if __name__ == "__main__":
    Thread(target=write, daemon=True).start()
    common.connect(client)
