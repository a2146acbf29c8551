"""Composition root: the only reader of the environment and of time."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

# Loading makes some hundred thousand objects and no garbage: looking through them again and again
# took a quarter of the time that a killed service needs to come back.
gc.set_threshold(50_000)

# glibc gives each thread a heap of its own and keeps ever larger blocks in them: of ingest's memory
# under load a sixth was such emptiness, and it grew. Large blocks go back to the system instead.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
if _mallopt is not None:
    _mallopt(_M_ARENA_MAX, 2)
    _mallopt(_M_MMAP_THRESHOLD, 256 * 1024)

# structlog loads rich, where there is one, for tracebacks that are never printed here: a fifth of
# the time that a killed service takes to come back, and memory in every process.
_modules: dict[str, Any] = sys.modules
if "rich" not in _modules:
    _modules["rich"] = None
    import structlog  # noqa: F401

    del _modules["rich"]
