"""Rows of the tables as the facts that the domain folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from domain.traceability.codes import key_code, product_of
from domain.traceability.custody import Product
from domain.traceability.facts import Fact, Mention, Step
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability.sql")

STEPS = {step.value: step for step in Step}
ALWAYS = 2**63 - 1  # t1 of a stay that has not ended

Cursor = psycopg.Cursor[Any]
Connection = psycopg.Connection[Any]


# What of a fact has a column of its own; the rest is said in one text, where it says something.
_COLUMNS = (
    "position",
    "fact_id",
    "step",
    "t_ms",
    "recorded_ms",
    "withdrawn_position",
    "site_id",
    "to_site_id",
    "lot_id",
)
SAID = tuple((f.name, f.default) for f in fields(Fact) if f.init and f.name not in _COLUMNS)
encode_said = msgspec.json.Encoder().encode
decode_said = msgspec.json.Decoder(dict[str, Any]).decode


def keys(codes: Iterable[int]) -> str:
    """Return keys as SQL takes an array: many times quicker than number by number."""
    return f"{{{','.join(map(str, codes))}}}"


def texts(values: Sequence[str]) -> str | list[str]:
    """Return texts as SQL takes an array, in one piece where none has to be quoted."""
    joined = '","'.join(values)
    plain = "\\" not in joined and joined.count('"') == 2 * max(len(values) - 1, 0)
    return f'{{"{joined}"}}' if values and plain else list(values)


def read_fact(row: Sequence[Any]) -> Fact:
    """Return the fact in a row of `scan`."""
    position, fact_id, step, t_ms, recorded_ms, withdrawn, site_id, to_site_id, lot_id, said = row
    return Fact(
        position=position,
        fact_id=fact_id,
        step=STEPS[step],
        t_ms=t_ms,
        recorded_ms=recorded_ms,
        withdrawn_position=withdrawn,
        site_id=site_id,
        to_site_id=to_site_id,
        lot_id=lot_id,
        **decode_said(said),
    )


def read_mentions(rows: Iterable[Sequence[Any]]) -> list[Mention]:
    """Return rows of (k, parent, as_parent, scan.*) as mentions; one Fact for a scan's codes."""
    facts: dict[int, Fact] = {}
    mentions = []
    for row in rows:
        fact = facts.get(row[3])
        if fact is None:
            fact = facts[row[3]] = read_fact(row[3:])
        mentions.append(Mention(row[0], row[1], row[2], fact))
    return mentions


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
