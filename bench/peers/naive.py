"""What people write first: decode, INSERT and commit in the callback."""

from __future__ import annotations

import json
from typing import Any

import paho.mqtt.client as mqtt
import psycopg

from bench.peers import common

INSERT = """INSERT INTO readings (gateway, device, ts, temperature, humidity, seq)
            VALUES (%s, %s, %s, %s, %s, %s)"""

conn = psycopg.connect(common.DSN)
limits = common.Limits()


def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
    """Store the readings of a message."""
    _, gateway, device, _ = message.topic.split("/")
    body = json.loads(message.payload)
    readings = body if isinstance(body, list) else [body]
    with conn.cursor() as cur:
        for one in readings:
            values = one["ts"], one["temperature"], one["humidity"], one["seq"]
            cur.execute(INSERT, (gateway, device, *values))
    conn.commit()
    for one in readings:
        if limits.crossed(device, one["temperature"]):
            limits.tell(device)


if __name__ == "__main__":
    client = common.client()
    client.on_message = on_message
    common.connect(client)
