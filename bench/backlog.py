"""A prefecture's day after an outage: 24 h of 1,431 devices at once, while the same devices go on.

2.06 M readings in messages of 60 on the backfill topic, one reading a minute a device; at the same
time each device sends its reading of every minute, 24 messages a second in all. A gateway sends 20
messages ahead of their acknowledgements, as paho-mqtt and mosquitto's clients do of themselves. No
reading is out of range: an alert would be a false one.
"""

from __future__ import annotations

import time

from bench.contest import ProductContender
from bench.field import register
from bench.live import Bystander, Live, percentile_ms
from bench.load import Load, Plan
from bench.options import Options
from bench.report import Report
from bench.rig import Rig
from bench.shape import BACKFILL_TOPIC, DEVICES, Shape
from bench.throughput import W1, Meter

FIRST, BACKLOG_DEVICES = 6_000, 1_431
MINUTES, BATCH = 24 * 60, 60
WINDOW = 20  # messages of a gateway that are not acknowledged
LIVE_EVERY_S = 0.1  # or more often: each device once a minute
LIVE_FIRST_S = 3.0  # of live readings, before the backlog begins
POLL_S = 0.2
LONGEST_S = 600.0


def backlog(options: Options, made: Rig) -> Report:
    """Send the backlog of as many devices as `options.messages` make, by default 1,431."""
    number = -(-options.messages * BATCH // MINUTES) or BACKLOG_DEVICES
    devices = range(FIRST, FIRST + number)
    register(made.product.dsn, [*range(DEVICES), *devices])
    with ProductContender(made) as product:
        Meter(product, W1).ready()
        return _filled(product, devices, options, made)


def _filled(contender: ProductContender, devices: range, options: Options, made: Rig) -> Report:
    number = len(devices)
    start_s = time.time() - (MINUTES + 5) * 60
    plan = Plan(
        url=made.gateway_url,
        shape=Shape(BACKFILL_TOPIC, start_s, BATCH, number, FIRST, step_s=60.0),
        messages=number * MINUTES // BATCH,
        window=WINDOW,
        seconds=LONGEST_S,
    )
    with Load(plan) as load, Bystander(made) as bystander:
        load.prepare()
        made.checkpoint()
        with Live(made, devices, min(LIVE_EVERY_S, 60 / number), MINUTES) as live:
            time.sleep(LIVE_FIRST_S)
            drained_s = _drained(contender, load)
            began_s = float(load.told.first_s.value)
        # Also those that came only after the backlog was drained: they waited longest.
        during = live.delays_s(began_s, began_s + drained_s)
        seen = bystander.delays_s(began_s, began_s + drained_s)
    stored = _stored(contender)
    return Report(
        work="backlog",
        product={
            "readings": plan.messages * BATCH,
            "drained_s": round(drained_s, 2),
            "readings_s": round(stored / drained_s),
            "lost": plan.messages * BATCH - stored,
            "live_sent": live.sent,
            "live_missed": live.missed,
            "live_p50_ms": percentile_ms(during, 50),
            "live_p99_ms": percentile_ms(during, 99),
            "false_alerts": contender.ask("SELECT count(*) FROM outbox"),
        },
        limits={
            "C subscriber, live p50, ms": percentile_ms(seen, 50),
            "C subscriber, live p99, ms": percentile_ms(seen, 99),
        },
        setting={**options.setting, "devices": number, "window": WINDOW},
    )


def _drained(contender: ProductContender, load: Load) -> float:
    """Publish the backlog; return the seconds until its last reading was durable."""
    wanted, before = load.plan.messages * BATCH, contender.progress(BATCH)
    load.start()
    while time.perf_counter() - load.told.first_s.value < LONGEST_S:
        time.sleep(POLL_S)
        # Live readings make the cheap count run ahead; the exact one decides.
        if contender.progress(BATCH) - before >= wanted and _stored(contender) >= wanted:
            break
    return time.perf_counter() - float(load.told.first_s.value)


def _stored(contender: ProductContender) -> int:
    return contender.ask("SELECT count(*) FROM reading WHERE backfill")
