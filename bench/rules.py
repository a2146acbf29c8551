"""How long the rules of 100,000 probes take on a minute of data, on one core.

Two channels of each of 50,000 devices, four probes a unit, twenty devices a gateway. Every minute
each device tells a reading; one in a hundred is out of its band, and one gateway in a hundred is
dead. Thresholds are screened in columns as ingest does, and judged by the engine where they may
change anything; conditions of equipment are judged for all. Nothing is stored: what storing costs
is W1's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from bench.options import Options
from bench.report import Figures, Report, medians
from bench.rig import Rig
from domain.alerting.conditions import Floats, Ground, silences
from domain.alerting.rehearsal import Rehearsal, always
from domain.alerting.rules import SHIPPED
from domain.alerting.signals import Rows, Signals

DEVICES, BEHIND_ONE, UNIT_DEVICES = 50_000, 20, 2
MINUTES, MINUTE_MS = 70, 60_000
START_MS = 1_772_409_600_000
STRAYING = 0.01
RULES = SHIPPED["vaccine_2_8"].rules


def rules(options: Options, _made: Rig) -> Report:
    """Judge an hour and ten minutes, a minute at a time; told are the last ten of each run."""
    runs: list[Figures] = []
    for seed in range(options.runs):
        took = np.array(list(_minutes(np.random.default_rng(seed))))[-10:]
        found = took.sum(axis=1)
        names = ("thresholds_ms", "signals_ms", "silence_ms")
        each = dict(zip(names, (1000 * np.median(took, axis=0)).tolist(), strict=True))
        runs.append({"minute_ms": 1000 * np.median(found), "worst_ms": 1000 * found.max(), **each})
    setting = {"probes": 2 * DEVICES, "devices": DEVICES, "runs": options.runs}
    bar = "100,000 probes on a minute of data: at most 1,000 ms on one core"
    return Report(work="rules", product=medians(runs), runs=runs, setting=setting, notes=[bar])


def _minutes(rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Yield the seconds of each minute: thresholds, signals, silence."""
    ground = _ground()
    signals = Signals(ground, START_MS)
    dead = ground.gateway % 100 == 0
    heard = np.full(DEVICES, float(START_MS))
    engines: dict[int, Rehearsal] = {}
    for minute in range(1, MINUTES + 1):
        now_ms = float(START_MS + minute * MINUTE_MS)
        at = np.flatnonzero(~dead)
        values = np.round(rng.normal(5, 0.4, (len(at), 4)), 1)
        values[:, 2:] = np.nan
        straying = rng.random((len(at), 2)) < STRAYING
        values[:, :2][straying] += 4
        heard[at] = now_ms
        yes = np.ones(len(at))
        rows = Rows(at, np.full(len(at), now_ms), values, 50 * yes, 0 * yes, yes, 90 * yes)
        began = time.process_time()
        _thresholds(engines, at, values, minute)
        screened = time.process_time()
        signals.advance(now_ms)
        signals.take(rows)
        signals.found(now_ms, np.zeros(2 * DEVICES))
        judged = time.process_time()
        silences(ground, heard, np.full(len(ground.gateways), np.nan), now_ms)
        yield screened - began, judged - screened, time.process_time() - judged


def _thresholds(
    engines: dict[int, Rehearsal], at: np.typing.NDArray[np.int64], values: Floats, minute: int
) -> None:
    """Judge what lies outside its band, and what did so a minute ago."""
    low = max(rule.limit_c for rule in RULES if rule.side == "low")
    high = min(rule.limit_c for rule in RULES if rule.side == "high")
    outside = (values[:, :2] < low) | (values[:, :2] > high)
    active = {probe for probe, engine in engines.items() if any(engine.states[0].active.values())}
    row_of = {int(device): n for n, device in enumerate(at)} if active else {}
    judged = {(int(n), int(c)) for n, c in np.argwhere(outside)}
    judged |= {(row_of[probe // 2], probe % 2) for probe in active if probe // 2 in row_of}
    for n, c in judged:
        probe = int(at[n]) * 2 + c
        engine = engines.setdefault(probe, Rehearsal(always(*RULES)))
        engine.take([(minute * MINUTE_MS, minute, float(values[n, c]))])


def _ground() -> Ground:
    device = np.arange(DEVICES)
    gateways, units = DEVICES // BEHIND_ONE, DEVICES // UNIT_DEVICES
    return Ground(
        devices=tuple(f"D{n}" for n in range(DEVICES)),
        interval_ms=np.full(DEVICES, float(MINUTE_MS)),
        gateway=device // BEHIND_ONE,
        unit=device // UNIT_DEVICES,
        gateways=tuple(f"G{n}" for n in range(gateways)),
        gateway_site=np.arange(gateways),
        sites=tuple(f"S{n}" for n in range(gateways)),
        regions=("640202",) * gateways,
        units=tuple(f"U{n}" for n in range(units)),
        unit_kinds=("cold_room",) * units,
        unit_site=np.arange(units) * UNIT_DEVICES // BEHIND_ONE,
        probe_device=np.repeat(device, 2),
        probe_channel=np.tile(np.array([0, 1]), DEVICES),
        probe_unit=np.repeat(device // UNIT_DEVICES, 2),
    )
