"""W1 and W2 as one measurement: the product, its peers and the limits take turns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from bench import contest, limits
from bench.contest import PeerContender, ProductContender
from bench.field import register
from bench.options import Options
from bench.report import Report, medians, ratio
from bench.rig import Rig
from bench.shape import DEVICES
from bench.throughput import W1, W2, Meter, Run, Work

SHOWN = ("messages_s", "readings_s", "lost", "cpu_all_s", "cpu_s", "publisher_cpu_s", "peak_mb")
COMMITS = (500, 5_000)


def w1(options: Options, made: Rig) -> Report:
    """One reading a message."""
    return _measured(W1, options, made)


def w2(options: Options, made: Rig) -> Report:
    """Twenty readings a message."""
    return _measured(W2, options, made)


def _measured(work: Work, options: Options, made: Rig) -> Report:
    """Run each in turn, `options.runs` times, and report the medians."""
    if options.messages:
        work = replace(work, messages=options.messages)
    register(made.product.dsn, range(DEVICES))
    with ProductContender(made) as contender:
        return _compared(Meter(contender, work), work, options, made)


def _compared(product: Meter, work: Work, options: Options, made: Rig) -> Report:
    product.warm()
    runs: dict[str, list[Run]] = defaultdict(list)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.runs):
        runs["product"].append(product.run())
        for peer in contest.peers(options.node_red, embedded=options.broker == "embedded"):
            with PeerContender(peer, made) as contender:
                meter = Meter(contender, work)
                meter.warm()
                runs[peer.name].append(meter.run())
        for name, value in _limits(work, made).items():
            found[name].append(value)
    return _report(work, options, runs, {name: median(values) for name, values in found.items()})


def _limits(work: Work, made: Rig) -> dict[str, float]:
    rows = work.messages * work.batch
    found = {"C subscriber, messages/s": limits.subscriber(made, work.messages, work.batch)}
    for commit_rows in COMMITS:
        name = f"COPY alone, {commit_rows} a commit, rows/s"
        found[name] = limits.copy(made, rows, commit_rows)
    found["fdatasync p50, ms"] = limits.fdatasync_ms(made.product.data.parent)
    return found


def _report(
    work: Work, options: Options, runs: dict[str, list[Run]], found: dict[str, float]
) -> Report:
    figures = {who: _figures(of_one) for who, of_one in runs.items()}
    product = figures.pop("product")
    rate = "messages_s" if work.batch == 1 else "readings_s"
    subscriber, *_, copied, _ = found.values()
    limit = subscriber if work.batch == 1 else copied
    return Report(
        work=work.name,
        product=product,
        peers=figures,
        limits={name: round(value, 3) for name, value in found.items()},
        ratio_best_peer=ratio(product[rate], max((p[rate] for p in figures.values()), default=0)),
        ratio_limit=ratio(product[rate], limit),
        runs=[asdict(run) for of_one in runs.values() for run in of_one],
        setting={
            **options.setting,
            "messages": work.messages,
            "readings_a_message": work.batch,
            "runs": options.runs,
        },
        notes=contest.left_out(options.node_red),
    )


def _figures(runs: list[Run]) -> dict[str, Any]:
    found = medians([asdict(run) for run in runs])
    return {name: found[name] for name in SHOWN}
