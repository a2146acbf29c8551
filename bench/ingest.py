"""W1 and W2 as one measurement: the product, its peers and the limits take turns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace
from typing import Any

from bench import contest, limits
from bench.contest import ProductContender
from bench.field import register
from bench.options import Options
from bench.report import Report, medians, ratio
from bench.rig import Rig, rig
from bench.shape import DEVICES
from bench.throughput import W1, W2, Meter, Run, Work

SHOWN = ("messages_s", "readings_s", "lost", "cpu_all_s", "cpu_s", "publisher_cpu_s", "peak_mb")
COMMITS = (500, 5_000)


def w1(options: Options) -> Report:
    """One reading a message."""
    return measure(W1, options)


def w2(options: Options) -> Report:
    """Twenty readings a message."""
    return measure(W2, options)


def measure(work: Work, options: Options) -> Report:
    """Run each in turn, `options.runs` times, and report the medians."""
    if options.messages:
        work = replace(work, messages=options.messages)
    with rig(options.broker, options.sync) as made:
        register(made.product.dsn, range(DEVICES))
        return compare(work, options, made)


def compare(work: Work, options: Options, made: Rig) -> Report:
    """Compare the registered product of a rig with its peers and the limits."""
    product = Meter(ProductContender(made), work)
    product.warm()
    runs: dict[str, list[Run]] = defaultdict(list)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.runs):
        runs["product"].append(product.run())
        for peer in contest.peers(options.node_red, embedded=options.broker == "embedded"):
            with contest.running(peer, made) as contender:
                meter = Meter(contender, work)
                meter.warm()
                runs[peer.name].append(meter.run())
        for name, value in _limits(work, made).items():
            found[name].append(value)
    return _report(work, options, runs, medians_of(found))


def medians_of(found: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each."""
    return medians([dict(zip(found, values, strict=True)) for values in zip(*found.values())])  # noqa: B905


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
            "broker": options.broker,
            "sync": options.sync if options.broker == "embedded" else "memory",
            "messages": work.messages,
            "readings_a_message": work.batch,
            "runs": options.runs,
        },
    )


def _figures(runs: list[Run]) -> dict[str, Any]:
    found = medians([asdict(run) for run in runs])
    return {name: found[name] for name in SHOWN}
