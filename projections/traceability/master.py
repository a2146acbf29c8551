"""What is known of products, lots and codes by themselves, and which facts were declared wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from domain.shared.errors import Conflict
from domain.traceability.codes import code_key
from domain.traceability.events import FactWithdrawn, LotReleased, ProductRegistered
from domain.traceability.ordinary import keys_of
from projections.traceability.rows import Cursor, queries
from store.envelope import Recorded


def keep(cur: Cursor, recorded: Recorded) -> list[int]:
    """Keep a product or lot; return codes that were dosed before their product was known."""
    event, position = recorded.envelope.event, recorded.position
    if isinstance(event, LotReleased):
        cur.execute(queries.keep_lot, (*_values(event), position))
    if not isinstance(event, ProductRegistered):
        return []
    cur.execute(queries.keep_product, (*_values(event), position))
    low, high = keys_of(event.product_id)
    params = {"low": low, "high": high, "gtin": f"(01){event.product_id}("}
    return [row[0] for row in cur.execute(queries.dosed_nodes, params)]


def _values(event: ProductRegistered | LotReleased) -> list[Any]:
    return [getattr(event, f.name) for f in fields(event)]


def keep_code_texts(cur: Cursor, codes: Iterable[str]) -> None:
    """Keep the texts of GS1 codes, whose keys do not tell them.

    Conflict("code_key_collision") when two have one key (never seen; the event is set aside with
    this error rather than mixing two packs).
    """
    texts: dict[int, str] = {}
    for code in codes:
        if code.startswith("("):
            _check(code, texts.setdefault(code_key(code), code))
    if not texts:
        return
    cur.execute(queries.keep_code_texts, (list(texts), list(texts.values())))
    for key, code in cur.execute(queries.code_texts, (list(texts),)):
        _check(texts[key], code)


def _check(code: str, known: str) -> None:
    if code != known:
        raise Conflict("code_key_collision", codes=[known, code])


def keep_declarations(cur: Cursor, batch: Sequence[Recorded]) -> list[str]:
    """Keep which facts are declared wrong; return their ids."""
    declared = []
    for recorded in batch:
        event = recorded.envelope.event
        if isinstance(event, FactWithdrawn):
            declared.append(event.fact_id)
            told = (event.of_site, event.reason, event.declared_at)
            row = (event.fact_id, recorded.position, *told, list(event.corrective_fact_ids))
            cur.execute(queries.keep_withdrawal, row)
    return declared
