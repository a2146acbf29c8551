"""20,000 messages at once, on what is shipped: nothing may be dropped on the way."""

from __future__ import annotations

import time
from dataclasses import replace

from bench.contest import ProductContender
from bench.field import register
from bench.load import Load
from bench.options import Options
from bench.report import Figures, Report, medians
from bench.rig import Rig
from bench.shape import DEVICES
from bench.throughput import W1, Meter

MESSAGES = 20_000


def burst(options: Options, made: Rig) -> Report:
    """Send them, wait until all are durable."""
    work = replace(W1, messages=options.messages or MESSAGES, backlog=0)
    runs: list[Figures] = []
    register(made.product.dsn, range(DEVICES))
    with ProductContender(made) as product:
        meter = Meter(product, work)
        meter.warm()
        for _ in range(options.runs):
            with meter.load(work.messages) as load:
                made.checkpoint()
                load.start()
                last_s, stored = meter.wait(load)
                load.finish()
                runs.append(_figures(load, last_s, stored))
            time.sleep(1.0)
    return Report(
        work="burst",
        product=medians(runs) | {"lost": max(run["lost"] for run in runs)},
        runs=runs,
        setting={**options.setting, "runs": options.runs},
    )


def _figures(load: Load, last_s: float, stored: int) -> Figures:
    first_s = load.told.first_s.value
    return {
        "messages": load.plan.messages,
        "written_s": round(load.told.written_s.value - first_s, 3),
        "acked_s": round(load.told.last_s.value - first_s, 3),
        "durable_s": round(last_s - first_s, 3),
        "lost": load.plan.messages - stored,
    }
