"""Paging: `limit` and an opaque `cursor`, which holds the key of the last row given.

A cursor is no secret and grants nothing: the region filter stands in the query itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Query, Response

from api.routing import json_answer
from domain.shared.errors import Invalid

LIMIT_DEFAULT = 50
LIMIT_MAX = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Up to `limit` rows after the row whose key is `after` (None: from the beginning)."""

    limit: int
    after: list[Any] | None

    def after_key(self, *kinds: type) -> tuple[Any, ...] | None:
        """Return the key to continue after; Invalid("bad_cursor") when it is of other types."""
        if self.after is None:
            return None
        if [type(value) for value in self.after] != list(kinds):
            raise Invalid("bad_cursor", field="cursor")
        return tuple(self.after)

    def after_text(self) -> str:
        """Return the text key to continue after; empty, before every key, from the beginning."""
        key = self.after_key(str)
        return key[0] if key else ""

    def answer(
        self, rows: Sequence[T], key: Callable[[T], Sequence[object]], **more: object
    ) -> Response:
        """Answer a list. `rows` holds up to limit + 1 rows: the last only tells of others.

        `more` stands in the answer beside the rows.
        """
        items = rows[: self.limit]
        following = encode(key(items[-1])) if len(rows) > self.limit else None
        return json_answer({"items": items, "next": following, **more})


def encode(key: Sequence[object]) -> str:
    """Return the cursor of a key of text, integers and times."""
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def decode(cursor: str) -> list[Any]:
    """Return the key of a cursor; Invalid("bad_cursor") when it is not one of ours."""
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        raise Invalid("bad_cursor", field="cursor") from None
    # No text of the database holds a NUL: it would fail there.
    if not isinstance(key, list) or any(isinstance(v, str) and "\0" in v for v in key):
        raise Invalid("bad_cursor", field="cursor")
    return key


async def page_of(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,500}$")] = None,
) -> Page:
    """Return the page that a request asks for."""
    return Page(limit, None if cursor is None else decode(cursor))


PageOf = Annotated[Page, Depends(page_of)]
