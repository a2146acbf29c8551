"""The Arrhenius factor, by which heat ages a product: every sum of this folder is made of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ZERO_C_K = 273.15


def factor(celsius: npt.ArrayLike, kelvin: float) -> Floats:
    """Return e^(-B/T) of temperatures in °C, of any shape; `kelvin`: B, activation energy over R.

    Above absolute zero; what a probe tells is within some hundreds of degrees.
    """
    return np.exp(-kelvin / (np.asarray(celsius, np.float64) + ZERO_C_K))
