"""A vendor's payload profile for tests: a hub that posts numbered readings of many devices."""

TS_MS = 1_772_409_600_000  # 2026-03-02T00:00:00Z
HUB = """
profile_id = "hub"
name = "Hub"
topic = "hub/{gateway}/post"
devices = "message.d"
readings = "device.r"
device = "device.sn"
sequence = "reading.n"
[time]
value = "reading.ts"
form = "ms"
[channels.t1]
value = "reading.t"
unit = "Cel"
"""
