"""Find every read model by its file or folder; one without a PROJECTION stops the start."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from projections.projection import Projection

HERE = Path(__file__).parent
# The machinery beside the read models.
NOT_MODULES = frozenset(
    {
        "projection",
        "discovery",
        "runner",
        "rebuild",
        "follower",
        "readings",
        "rollups",
        "thermal",
        "charts",
        "unfollowed",
        "shared",
    }
)


class NotAProjection(RuntimeError):
    """A file in `projections/` has no PROJECTION, or one of another name."""


@cache
def discover() -> tuple[Projection, ...]:
    """Return all read models in order of name. NotAProjection names the file at fault."""
    found = []
    for folder, package in ((HERE, "projections"), (HERE / "shared", "projections.shared")):
        for module in pkgutil.iter_modules([str(folder)]):
            if folder == HERE and module.name in NOT_MODULES:
                continue
            loaded = importlib.import_module(f"{package}.{module.name}")
            projection = getattr(loaded, "PROJECTION", None)
            prefix = "" if folder == HERE else "shared_"
            if not isinstance(projection, Projection) or projection.name != prefix + module.name:
                raise NotAProjection(f"{package}.{module.name}")
            found.append(projection)
    return tuple(found)


def schemas() -> list[str]:
    """Return the schemas that migrations must make room for."""
    return [name for p in discover() for name in (p.schema, p.shadow)]
