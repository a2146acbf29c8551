"""Rows of the tables as the facts that the domain folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from domain.traceability.codes import key_code, product_of
from domain.traceability.custody import Product
from domain.traceability.facts import Fact, Mention, Step
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability.sql")

ALWAYS = 2**63 - 1  # t1 of a stay that has not ended

Cursor = psycopg.Cursor[Any]
Connection = psycopg.Connection[Any]


def read_mentions(cur: Cursor) -> list[Mention]:
    """Read rows of (k, parent, as_parent, scan.*); one Fact for all codes of a scan."""
    names = [column.name for column in cur.description or ()][3:]
    facts: dict[int, Fact] = {}
    place = 3 + names.index("position")
    mentions = []
    for row in cur:
        fact = facts.get(row[place])
        if fact is None:
            fact = facts[row[place]] = read_fact(names, row[3:])
        mentions.append(Mention(row[0], row[1], row[2], fact))
    return mentions


def read_fact(names: Sequence[str], values: Sequence[Any]) -> Fact:
    """Return the fact in a row of `scan`."""
    particulars = dict(zip(names, values, strict=True))
    return Fact(**particulars | {"step": Step(particulars["step"])})


def product_by_key(
    rows: Iterable[Sequence[Any]], texts: dict[int, str]
) -> Callable[[int], Product]:
    """Return how to look up a code's product: rows of products, and the texts of hashed codes."""
    by_id = {row[0]: Product(*row[1:]) for row in rows}
    unknown = Product()

    def product(k: int) -> Product:
        code = key_code(k) or texts.get(k)
        return by_id.get(product_of(code), unknown) if code else unknown

    return product
