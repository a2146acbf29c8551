"""A transaction that goes to the server in one piece, its end included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from store.sql import load_queries
from store.tables import SQL_FILE

queries = load_queries(SQL_FILE)


@contextmanager
def one_trip(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Send the block's statements as one transaction and wait for the server once.

    psycopg's own `transaction()` waits four times in a pipeline. Results are there after the block,
    and so are errors: then nothing is stored. conn: in autocommit mode; no COPY inside.
    """
    try:
        with conn.pipeline():
            conn.execute(queries.begin)
            yield
            conn.execute(queries.commit)
    except BaseException:
        if not conn.closed:  # what failed says more than that it cannot be rolled back
            conn.rollback()
        raise
