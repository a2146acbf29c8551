"""Composition root: the only reader of the environment and of time."""

from __future__ import annotations

import sys
from typing import Any

# structlog loads rich, where there is one, for tracebacks that are never printed here: a fifth of
# the time that a killed service takes to come back, and memory in every process.
_modules: dict[str, Any] = sys.modules
if "rich" not in _modules:
    _modules["rich"] = None
    import structlog  # noqa: F401

    del _modules["rich"]
