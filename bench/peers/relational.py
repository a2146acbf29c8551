"""The chain of a code as people write it first: one table, a recursive query, FastAPI, uvicorn."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

TABLE = """
DROP TABLE IF EXISTS scan_events;
CREATE TABLE scan_events (id bigserial PRIMARY KEY, ts timestamptz NOT NULL, code text NOT NULL,
    step text NOT NULL, site text NOT NULL, lot text NOT NULL, parent text);
"""
COPY = "COPY scan_events (ts, code, step, site, lot, parent) FROM STDIN (FORMAT binary)"
TYPES = ("timestamptz", *["text"] * 5)
INDEXES = ("CREATE INDEX ON scan_events (code, ts)", "CREATE INDEX ON scan_events (lot, ts)")
CODE = """WITH RECURSIVE up (code) AS (
              SELECT %s::text
              UNION SELECT e.parent FROM up JOIN scan_events e ON e.code = up.code
              WHERE e.parent IS NOT NULL)
          SELECT e.ts, e.code, e.step, e.site, e.lot
          FROM up JOIN scan_events e ON e.code = up.code ORDER BY e.ts, e.id"""
LOT = """SELECT step, site, count(DISTINCT code), min(ts), max(ts)
         FROM scan_events WHERE lot = %s GROUP BY step, site ORDER BY min(ts)"""


def application(dsn: str) -> FastAPI:
    """Return the peer on a database that holds the table."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(dsn, min_size=2, max_size=8, open=False)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=life)

    async def rows(query: str, value: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
        async with pool.connection() as conn:
            found = await (await conn.execute(query.encode(), (value,))).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    @app.get("/codes/{code}")
    async def code_chain(code: str) -> list[dict[str, Any]]:
        return await rows(CODE, code, ("ts", "code", "step", "site", "lot"))

    @app.get("/lots/{lot}")
    async def lot_chain(lot: str) -> list[dict[str, Any]]:
        return await rows(LOT, lot, ("step", "site", "packs", "first", "last"))

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )
