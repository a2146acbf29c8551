"""W6: W1 and W3 with years of readings stored, beside the same on an empty store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from bench import alerts, history
from bench.contest import NOTHING_BEFORE, ProductContender
from bench.field import register
from bench.options import Options
from bench.report import Figures, Report, medians, ratio
from bench.rig import Rig, rig
from bench.shape import DEVICES
from bench.throughput import W1, Meter

READINGS = 100_000_000


def w6(options: Options, made: Rig) -> Report:
    """Measure on `made`, which is empty, then on a tree of its own that holds the history."""
    empty, empty_runs = _measured(options, made)
    with rig(options.broker, options.sync) as full:
        stored = history.store(full, options.stored or READINGS, _placed_at(full))
        history.rest(full)
        grown, grown_runs = _measured(options, full)
        server = _server(full)
    return Report(
        work="W6",
        product={
            "stored": stored,
            "messages_s": grown["messages_s"],
            "rate_share": ratio(grown["messages_s"], empty["messages_s"]),
            "cpu_all_s": grown["cpu_all_s"],
            "alert_p50_ms": grown["p50_ms"],
            "alert_p99_ms": grown["p99_ms"],
            "alert_p50_times": ratio(grown["p50_ms"], empty["p50_ms"]),
            "missed": grown["missed"],
        },
        peers={"the same, empty": _flat(empty)},
        runs=[*empty_runs, *grown_runs],
        setting={**options.setting, **server, "runs": options.runs},
    )


def _flat(figures: Mapping[str, Any]) -> Figures:
    return {
        "stored": 0,
        "messages_s": figures["messages_s"],
        "cpu_all_s": figures["cpu_all_s"],
        "alert_p50_ms": figures["p50_ms"],
        "alert_p99_ms": figures["p99_ms"],
        "missed": figures["missed"],
    }


def _measured(options: Options, made: Rig) -> tuple[Figures, list[Figures]]:
    """Return the medians of W1 with the times of W3, and the runs."""
    register(made.product.dsn, range(DEVICES), _placed_at(made))
    work = replace(W1, messages=options.messages) if options.messages else W1
    with ProductContender(made) as product:
        meter = Meter(product, work)
        meter.warm()
        runs = [asdict(meter.run()) for _ in range(options.runs)]
    tries = alerts.product_alone(options, made)
    return medians(runs) | tries, [*runs, tries]


def _placed_at(made: Rig) -> datetime:
    """Return when the history ends and probes are placed: only what is measured is judged."""
    return datetime.fromtimestamp(made.began_s, UTC) - NOTHING_BEFORE


def _server(made: Rig) -> dict[str, str]:
    """Return how much memory the database has, and how large it is."""
    with ProductContender(made) as product:
        blocks = product.ask("SELECT setting FROM pg_settings WHERE name = 'shared_buffers'")
        size = product.ask("SELECT pg_database_size(current_database())")
    return {
        "shared_buffers_mb": str(blocks * 8 // 1024),
        "database_gb": f"{size / 1e9:.1f}",
    }
