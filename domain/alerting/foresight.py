"""How long until a probe leaves its limits: a forecast with its chance, and what became of it.

On drift a straight line through the last quarter of an hour (Theil-Sen: one odd reading does not
bend it); after a door was opened or power was lost Newton's law through what was read since, which
slows down as the unit nears its surroundings. Both say how sure they are from how far readings lie
off them; no probe is surer than its resolution.

Minutes are counted from now: readings lie at 0 and before. Source of window, horizon and chance:
cold-chain rules of the field.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from domain.alerting.conditions import Bools, Floats

WINDOW_MIN, READINGS_MIN = 15, 4
HORIZON_MIN = 30.0
# From this chance on a forecast is kept and held against what happens, is told, and while it is on
# stays so (the first and the last own choice).
KEPT_FROM, TOLD_FROM, STAYS_FROM = 0.2, 0.8, 0.5
# Readings lie off any line by this at least: the resolution of probes (°C).
SCATTER_C = 0.1
# Beyond this nobody knows (minutes).
FAR_MIN = 360
# Newton's law is sought among these time constants (minutes), for readings since an event.
TAUS_MIN = np.geomspace(5.0, 1440.0, 48)
NEWTON_READINGS_MIN = 5
# Of the times at which the limit may be reached: 8 in 10 lie between these.
EARLY, LATE = 0.1, 0.9

_ROOT_2 = math.sqrt(2.0)
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


class Forecast(NamedTuple):
    """When a limit will be reached, minutes from now, and the chance that it is in half an hour.

    8 in 10 between `early_min` and `late_min`; `late_min` None: perhaps never.
    """

    chance: float
    eta_min: float
    early_min: float
    late_min: float | None
    method: str  # line | newton


class Score(NamedTuple):
    """How good n forecasts were. `brier`: 0 is perfect, 0.25 is tossing a coin.

    `came`: the share that came true; `covered`: of these, that came within their interval.
    """

    n: int
    brier: float
    came: float
    covered: float | None


def newton_min(start_c: float, outside_c: float, limit_c: float, tau_min: float) -> float:
    """Return in how many minutes a unit at `start_c` reaches a limit; infinity: never."""
    share = (outside_c - start_c) / (outside_c - limit_c) if outside_c != limit_c else math.inf
    return tau_min * math.log(share) if 1 <= share < math.inf else math.inf


def rising(minutes: Floats, values: Floats, low_c: Floats, high_c: Floats) -> Bools:
    """Tell which of p probes may leave their limits soon: a quick look, for all at once.

    minutes (w) and values (w, p; NaN: none). A straight line by least squares, generously taken.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    held = np.where(known, values, 0.0)
    x = np.where(known, minutes[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = x.sum(axis=0) / n, held.sum(axis=0) / n
        off = np.where(known, minutes[:, None] - mean_x, 0.0)
        slope = (off * held).sum(axis=0) / (off * off).sum(axis=0)
        now = mean_y - slope * mean_x
    ahead = now + HORIZON_MIN * 1.5 * slope
    near: Bools = (n >= READINGS_MIN) & (
        (ahead > high_c - 2 * SCATTER_C) & (slope > 0)
        | (ahead < low_c + 2 * SCATTER_C) & (slope < 0)
    )
    return near


def forecast(
    minutes: Floats, values: Floats, limit_c: float, *, event_min: float | None = None
) -> Forecast | None:
    """Return when a probe reaches a limit above or below it; None: too little is known, or never.

    minutes ascending, at most 0; values in °C, the last one within the limit. `event_min`: when a
    door was opened or power was lost, if one was.
    """
    sign = 1.0 if values[-1] <= limit_c else -1.0
    # As if the limit were above: what falls towards a limit below rises, turned over.
    turned, limit = sign * values, sign * limit_c
    recent = minutes >= -WINDOW_MIN
    if event_min is not None:
        since = minutes >= event_min
        if since.sum() >= NEWTON_READINGS_MIN:
            return _newton(minutes[since], turned[since], limit)
        # A few tell at least how fast it goes now; what was before is another matter.
        recent = since if since.sum() >= READINGS_MIN else recent
    if recent.sum() < READINGS_MIN:
        return None
    return _line(minutes[recent], turned[recent], limit)


def score(chance: Floats, came: Bools, covered: Bools) -> Score | None:
    """Return how good n forecasts were; None of none."""
    if not chance.size:
        return None
    return Score(
        n=int(chance.size),
        brier=round(float(np.mean((chance - came) ** 2)), 4),
        came=round(float(came.mean()), 4),
        covered=round(float(covered[came].mean()), 4) if came.any() else None,
    )


def _line(x: Floats, y: Floats, limit: float) -> Forecast | None:
    one, other = np.triu_indices(x.size, 1)
    apart = x[other] > x[one]
    slope = float(np.median((y[other] - y[one])[apart] / (x[other] - x[one])[apart]))
    now = float(np.median(y - slope * x))
    if slope <= 0:
        return None
    scatter = max(1.4826 * float(np.median(np.abs(y - slope * x - now))), SCATTER_C)
    spread = float(((x - x.mean()) ** 2).sum())
    error = scatter / math.sqrt(spread)

    ahead = np.arange(FAR_MIN + 1.0)
    mean, deviation = now + slope * ahead, np.hypot(scatter / math.sqrt(x.size), error * ahead)
    reached = np.maximum.accumulate(_normal((mean - limit) / deviation))
    eta = max((limit - now) / slope, 0.0)
    if eta > FAR_MIN:
        return None
    return Forecast(
        chance=round(float(reached[int(HORIZON_MIN)]), 4),
        eta_min=round(eta, 1),
        early_min=min(_first(reached, EARLY) or 0.0, round(eta, 1)),
        late_min=_first(reached, LATE),
        method="line",
    )


def _newton(x: Floats, y: Floats, limit: float) -> Forecast | None:
    """Weigh every time constant by how well it fits; None where no curve reaches the limit."""
    decay = np.exp(-(x - x[0]) / TAUS_MIN[:, None])  # (taus, n)
    mean_d, mean_y = decay.mean(axis=1), y.mean()
    off = decay - mean_d[:, None]
    factor = (off @ (y - mean_y)) / (off * off).sum(axis=1)
    outside = mean_y - factor * mean_d
    rest = ((y - outside[:, None] - factor[:, None] * decay) ** 2).sum(axis=1)
    sigma2 = max(float(rest.min()) / max(x.size - 3, 1), SCATTER_C**2)
    weight = np.exp(-(rest - rest.min()) / (2 * sigma2))
    weight /= weight.sum()

    now = outside + factor * decay[:, -1]
    share = (outside - now) / (outside - limit)
    reaches = (outside > limit) & (factor < 0)
    at = np.full(TAUS_MIN.size, np.inf)
    at[reaches] = np.maximum(TAUS_MIN[reaches] * np.log(np.maximum(share[reaches], 1.0)), 0.0)
    decayed = np.exp(-HORIZON_MIN / TAUS_MIN)
    then = outside + (now - outside) * decayed
    chance = float(weight @ _normal((then - limit) / math.sqrt(sigma2)))
    order = np.argsort(at)
    upto = np.cumsum(weight[order])
    early, eta, late = (
        float(at[order][min(int(np.searchsorted(upto, q)), at.size - 1)])
        for q in (EARLY, 0.5, LATE)
    )
    if eta > FAR_MIN:
        return None
    return Forecast(
        chance=round(chance, 4),
        eta_min=round(eta, 1),
        early_min=round(early, 1),
        late_min=round(late, 1) if late <= FAR_MIN else None,
        method="newton",
    )


def _normal(z: Floats) -> Floats:
    """Return the chance of less than z under the normal distribution, to 1e-7.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
    """
    x = np.abs(z) / _ROOT_2
    t = 1 / (1 + 0.3275911 * x)
    tail = np.polyval(_ERF, t) * t * np.exp(-x * x) / 2
    return np.where(z < 0, tail, 1 - tail)


def _first(reached: Floats, chance: float) -> float | None:
    """Return the first minute by which the chance is that great."""
    at = int(np.searchsorted(reached, chance))
    return float(at) if at < reached.size else None
