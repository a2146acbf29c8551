"""Composition root: the only reader of the environment and of time."""

from __future__ import annotations

import gc
import sys
from typing import Any

# Loading makes some hundred thousand objects and no garbage: looking through them again and again
# took a quarter of the time that a killed service needs to come back.
gc.set_threshold(50_000)

# structlog loads rich, where there is one, for tracebacks that are never printed here: a fifth of
# the time that a killed service takes to come back, and memory in every process.
_modules: dict[str, Any] = sys.modules
if "rich" not in _modules:
    _modules["rich"] = None
    import structlog  # noqa: F401

    del _modules["rich"]
