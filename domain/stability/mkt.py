"""Mean kinetic temperature: the one temperature that ages a product as a series of them did.

USP <1079.2>: MKT = (ΔH/R) / −ln(Σ wᵢ·e^(−ΔH/RTᵢ) / Σ wᵢ). It is no measure of what was frozen, and
a short hot spell may leave it below a limit: judge it beside the time out of range, never alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from domain.stability.arrhenius import ZERO_C_K, Floats, factor

# ΔH/R: 83.144 kJ/mol over 8.3144 J/(mol·K), USP <1079.2>. With the newer value of R it would be
# 9,999.925 K, which moves an MKT by some hundred-thousandths of a degree.
DELTA_H_OVER_R_K = 10_000.0


def mean_kinetic_c(celsius: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the MKT in °C of n temperatures in °C, each weighing as long as it lasted.

    `weights`: n times in any one unit, None = all the same. ValueError when they come to nothing.
    """
    told = np.asarray(celsius, np.float64)
    lasted = np.ones(told.shape) if weights is None else np.asarray(weights, np.float64)
    if told.shape != lasted.shape or told.ndim != 1 or not lasted.sum() > 0:
        raise ValueError("a temperature for each weight, and some weight")
    return float(of_sums(np.dot(lasted, factor(told, DELTA_H_OVER_R_K)), lasted.sum()))


def of_sums(arrhenius: npt.ArrayLike, lasted: npt.ArrayLike) -> Floats:
    """Return the MKTs in °C of sums over time: of the factor of `DELTA_H_OVER_R_K`, and of time.

    Both in the same unit of time; NaN where no time passed.
    """
    total, time = np.asarray(arrhenius, np.float64), np.asarray(lasted, np.float64)
    mean = np.divide(total, time, out=np.full(np.shape(time), np.nan), where=time > 0)
    return np.asarray(DELTA_H_OVER_R_K / -np.log(mean) - ZERO_C_K)
