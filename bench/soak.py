"""Ten minutes at half of W1: memory must stay flat and each reading be durable at once."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bench.contest import ProductContender
from bench.field import register
from bench.live import Live, percentile_ms
from bench.load import Load, Plan
from bench.options import Options
from bench.processes import Costs, memory_mb
from bench.report import Report
from bench.rig import Rig
from bench.shape import DEVICES, PRODUCT_TOPIC, Shape
from bench.throughput import POLL_S, STALL_S, W1, Meter

FIRST = 2_000
PROBE = FIRST + DEVICES  # a device beyond those of the load
EVERY_S = 0.02
LOOK_S = 2.0
SETTLED_SHARE = 0.2  # of the time, before memory is held to be flat
HOURS_BACK = 12.0


def soak(options: Options, made: Rig) -> Report:
    """Publish for `options.seconds` at `options.rate`, by default half of W1 measured before."""
    register(made.product.dsn, [*range(DEVICES), *range(FIRST, PROBE + 1)])
    work = replace(W1, messages=options.messages) if options.messages else W1
    with ProductContender(made) as product:
        meter = Meter(product, work)
        meter.warm()
        return _soaked(made, options, product, options.rate or meter.run().messages_s / 2)


def _soaked(made: Rig, options: Options, contender: ProductContender, rate: float) -> Report:
    shape = Shape(PRODUCT_TOPIC, made.began_s - HOURS_BACK * 3600, first_device=FIRST)
    plan = Plan(
        url=made.gateway_url,
        shape=shape,
        messages=int(rate * options.seconds),
        rate=rate,
        seconds=options.seconds + 60,
    )
    before = contender.stored()
    with Load(plan) as load, Live(made, [PROBE], EVERY_S, 0) as live:
        load.prepare()
        made.checkpoint()
        costs = Costs(contender.pids(), contender.heavy)
        load.start()
        began_s, memory = time.perf_counter(), list[tuple[float, float]]()
        while load.running:
            memory.append((time.perf_counter() - began_s, memory_mb(made.product.pids["ingest"])))
            time.sleep(LOOK_S)
        cpu_s, ended_s = costs.cpu_s(), time.perf_counter()
    delays_s = live.delays_s(began_s, ended_s)
    settled = [part for part in memory if part[0] >= SETTLED_SHARE * options.seconds]
    each = 100_000 / max(1, load.told.acked.value)
    return Report(
        work="soak",
        product={
            "messages_s": round(rate),
            "seconds": round(load.told.last_s.value - load.told.first_s.value, 1),
            "lost": _lost(contender, load.told.sent.value + live.sent, before),
            "p50_ms": percentile_ms(delays_s, 50),
            "p99_ms": percentile_ms(delays_s, 99),
            "max_ms": percentile_ms(delays_s, 100),
            "missed": live.missed,
            "memory_first_mb": round(settled[0][1], 1),
            "memory_last_mb": round(settled[-1][1], 1),
            "memory_peak_mb": round(max(mb for _, mb in memory), 1),
            "memory_mb_a_minute": round(_slope(settled) * 60, 3),
            "cpu_all_s": round(sum(cpu_s.values()) * each, 2),
            "cpu_s": {name: round(value * each, 2) for name, value in cpu_s.items()},
            "publisher_cpu_s": round(load.told.cpu_s.value * each, 2),
        },
        runs=[_look(live, began_s, *part) for part in memory],
        setting={**options.setting, "probes_s": round(1 / EVERY_S)},
    )


def _look(live: Live, began_s: float, at_s: float, mb: float) -> dict[str, object]:
    """Return what a moment looked like: memory, and the delays of the readings due after it."""
    first_s = began_s + at_s
    return {
        "seconds": round(at_s, 1),
        "memory_mb": round(mb, 1),
        "p99_ms": percentile_ms(live.delays_s(first_s, first_s + LOOK_S), 99),
    }


def _lost(contender: ProductContender, sent: int, before: int) -> int:
    """Return how many of the readings sent are not stored, once nothing more can come."""
    until = time.monotonic() + STALL_S
    while (lost := sent - (contender.stored() - before)) > 0 and time.monotonic() < until:
        time.sleep(POLL_S)
    return lost


def _slope(memory: list[tuple[float, float]]) -> float:
    """Return how much a straight line through the memory rises, MB a second."""
    at, mb = np.array(memory).T
    return float(np.polyfit(at, mb, 1)[0]) if len(at) > 1 else 0.0
