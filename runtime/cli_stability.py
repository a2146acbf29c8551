"""`vaxtrail stability`: hold the product's stability maths against the figures of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from runtime.refusal import Refusal
from runtime.terminal import end, say

# How far a figure may be off: °C of a mean kinetic temperature, and everything else.
MKT_C, OTHER = 1e-6, 1e-8
MINUTE_MS = 60_000
# Readings of a file hold until the next one, whatever their distance.
HOLD_MS = 2**40


class Kinetic(msgspec.Struct):
    """Temperatures with weights, and their means."""

    temps_c: list[float]
    weights: list[float]
    mkt_c: float
    arith_c: float | None = None
    dH_over_R_K: float = 10_000.0  # noqa: N815  # as the files write it


class Budget(msgspec.Struct):
    """Temperatures for days each, and what they take of a heat budget by VVM type."""

    segments_temp_days: list[tuple[float, float]]
    loss_fraction: dict[str, float]


class Time(msgspec.Struct):
    """Readings (minute, sequence, °C), and the time out of range."""

    readings: list[tuple[float, int, float]]
    minutes_above_8: float
    minutes_below_2: float
    minutes_at_or_below_m0_5: float
    degree_minutes_above_8: float


class Figures(msgspec.Struct):
    """A file of figures."""

    mkt: list[Kinetic] = []
    vvm: list[Budget] = []
    ctor: list[Time] = []


Compared = tuple[str, float, float, float]  # what, as expected, as found, how far off it may be


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("stability")(stability)


def stability(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")],
) -> None:
    """检验稳定性计算，有差异退出码 1 | check the stability maths against a file: 1 if any differs.

    Mean kinetic temperatures to 1e-6 °C; heat budgets and time out of range to 1e-8.
    """
    figures = _read(file.read_bytes())
    count = differing = 0
    for what, expected, found, tolerance in _compared(figures):
        count += 1
        if not abs(expected - found) <= tolerance:
            differing += 1
            typer.echo(f"✗ {what}: {expected!r} → {found!r}")
    say(f"{count} 个数值，{differing} 个有差异", f"{count} figures, {differing} differ")
    end(1 if differing else 0)


def _read(content: bytes) -> Figures:
    try:
        figures = msgspec.json.decode(content, type=Figures)
        if not (figures.mkt or figures.vvm or figures.ctor):
            raise msgspec.ValidationError("mkt, vvm, ctor: none")
        _check(figures)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(
            f"文件不是稳定性数值：{error}", f"No file of stability figures: {error}"
        ) from None
    return figures


def _check(figures: Figures) -> None:
    """Refuse what JSON allows and the maths do not."""
    from domain.stability.mkt import DELTA_H_OVER_R_K
    from domain.stability.vvm import CONSTANTS

    for n, kinetic in enumerate(figures.mkt):
        weights = kinetic.weights
        if len(weights) != len(kinetic.temps_c) or not 0 < sum(weights) < math.inf:
            raise msgspec.ValidationError(f"$.mkt[{n}].weights")
        if kinetic.dH_over_R_K != DELTA_H_OVER_R_K:
            raise msgspec.ValidationError(f"$.mkt[{n}].dH_over_R_K: {DELTA_H_OVER_R_K}")
    for n, budget in enumerate(figures.vvm):
        if not budget.loss_fraction.keys() <= set(CONSTANTS):
            raise msgspec.ValidationError(f"$.vvm[{n}].loss_fraction: {', '.join(CONSTANTS)}")
    for n, time in enumerate(figures.ctor):
        minutes = [reading[0] for reading in time.readings]
        if minutes != sorted(minutes):
            raise msgspec.ValidationError(f"$.ctor[{n}].readings")


def _compared(figures: Figures) -> Iterator[Compared]:
    import numpy as np

    from domain.stability import mkt, vvm
    from domain.stability.exposure import Quantity, total

    for n, kinetic in enumerate(figures.mkt):
        found = mkt.mean_kinetic_c(kinetic.temps_c, kinetic.weights)
        yield f"mkt[{n}].mkt_c", kinetic.mkt_c, found, MKT_C
        if kinetic.arith_c is not None:
            mean = float(np.average(kinetic.temps_c, weights=kinetic.weights))
            yield f"mkt[{n}].arith_c", kinetic.arith_c, mean, MKT_C
    for n, budget in enumerate(figures.vvm):
        celsius, days = zip(*budget.segments_temp_days, strict=True)
        for kind, expected in budget.loss_fraction.items():
            lost = vvm.loss(vvm.VvmType(kind), celsius, days)
            yield f"vvm[{n}].loss_fraction.{kind}", expected, lost, OTHER
    for n, time in enumerate(figures.ctor):
        at = [round(minute * MINUTE_MS) for minute, _, _ in time.readings]
        sums = total(at, [celsius for _, _, celsius in time.readings], HOLD_MS)
        for name, row in (
            ("minutes_above_8", Quantity.ABOVE),
            ("minutes_below_2", Quantity.BELOW),
            ("minutes_at_or_below_m0_5", Quantity.FREEZING),
            ("degree_minutes_above_8", Quantity.DEGREES_ABOVE),
        ):
            yield f"ctor[{n}].{name}", getattr(time, name), float(sums[row]) / MINUTE_MS, OTHER
