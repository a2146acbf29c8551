"""W5: how fast a read model comes back from the log, in bulk and in the follower's batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median

import psycopg

from bench.options import Options
from bench.report import Figures, Report, medians, ratio
from bench.rig import Rig
from bench.scans import envelopes
from projections import rebuild, runner
from store.logs import Ledger
from store.mapper import from_row

MODEL = "traceability"
EVENTS = 1_000_000
CHUNK = 5_000
FIRST = 1_000_000  # cartons that no other work tells of
FOLLOWED_S = 1_800.0
POLL_S = 0.2


def w5(options: Options, made: Rig) -> Report:
    """Store scans, wait for the running follower, then rebuild both ways `options.runs` times."""
    dsn, events = made.product.dsn, options.messages or EVENTS
    loaded_s = _loaded(dsn, events)
    _followed(dsn)
    runs: list[Figures] = []
    for _ in range(options.runs):
        figures: Figures = {}
        for name, in_bulk in (("bulk", True), ("follower", False)):
            made.checkpoint()
            seconds = _seconds(partial(_rebuild, dsn, in_bulk=in_bulk))
            figures |= {f"{name}_s": round(seconds, 2), f"{name}_events_s": round(events / seconds)}
        figures["log_read_s"] = round(events / _seconds(lambda: _read(dsn)))
        runs.append(figures)
    log = median(run["log_read_s"] for run in runs)
    product = medians(runs) | {"events": events, "append_events_s": round(events / loaded_s)}
    del product["log_read_s"]
    _rebuild(dsn, in_bulk=True)
    # A comparison makes the tables in batches once more.
    product["tables_differing"] = int(not runner.check(dsn, MODEL).same)
    return Report(
        work="W5",
        product=product,
        limits={"log read and decoded, events/s": log},
        ratio_limit=ratio(product["bulk_events_s"], log),
        runs=runs,
        setting={**options.setting, "read_model": MODEL, "events": events, "runs": options.runs},
    )


def _loaded(dsn: str, events: int) -> float:
    made = envelopes(events, FIRST)
    with Ledger(dsn) as ledger:
        began_s = time.perf_counter()
        while chunk := list(islice(made, CHUNK)):
            ledger.append(chunk)
        return time.perf_counter() - began_s


def _followed(dsn: str) -> None:
    """Wait until the running product's own follower has come to the end."""
    with Ledger(dsn) as ledger:
        last = ledger.last_position()
    until = time.monotonic() + FOLLOWED_S
    while any(found.position < last for found in runner.listing(dsn) if found.name == MODEL):
        if time.monotonic() > until:
            raise SystemExit(f"{MODEL}: the follower did not catch up / 未能跟上")
        time.sleep(POLL_S)


def _rebuild(dsn: str, *, in_bulk: bool) -> None:
    projection = rebuild.named(MODEL)
    with Ledger(dsn) as ledger, psycopg.connect(dsn, autocommit=True) as conn:
        rebuild.rebuild(ledger, conn, projection if in_bulk else replace(projection, bulk=None))


def _read(dsn: str) -> None:
    with Ledger(dsn) as ledger:
        position = 0
        while rows := ledger.read_rows(position, CHUNK):
            for row in rows:
                from_row(row)
            position = rows[-1].id


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
