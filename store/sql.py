"""Named queries out of `.sql` files: `-- name: latest_of_region` begins one, a comment tells why.

Files are read once, when their module is imported; SQL is never put together from strings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries:
    """The queries of one file, by name as attributes."""

    def __init__(self, path: Path) -> None:
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        self._path = path
        self._queries = {
            name: body.strip().removesuffix(";")
            for name, body in zip(parts[1::2], parts[2::2], strict=True)
        }

    def __getattr__(self, name: str) -> LiteralString:
        """Return the text of a query. AttributeError names the file when there is none."""
        try:
            return cast(LiteralString, self._queries[name])
        except KeyError:
            raise AttributeError(f"{self._path.name} has no query {name!r}") from None


def load_queries(path: Path) -> Queries:
    """Return the named queries of a file."""
    return Queries(path)
