"""The chain of a code or lot as it is now: one question, and no fold where it is known already.

The facts of two codes have one shape when the same steps follow each other, and what the fold
looks at (codes, places, units, lots) is equal or differs alike. Their chains and states then have
one shape as well: the first is folded by the domain, the others are filled in from its template.
Whatever is not plain (holds, withdrawals, opened vials, two facts of one moment) is always folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from domain.shared.errors import NotFound
from domain.traceability.codes import code_key, key_code, product_of
from domain.traceability.custody import State
from domain.traceability.facts import Step
from domain.traceability.progress import ZONE
from projections.traceability.answers import CodeCustody, custody_of_code, queries, steps_of_lot
from projections.traceability.rows import Connection, decode_said
from projections.traceability.views import shown
from store.asking import Asking

# Steps whose outcome depends on nothing but what the shape holds.
PLAIN = frozenset(
    {
        Step.COMMISSIONING,
        Step.PACKING,
        Step.SHIPPING,
        Step.RETURNING,
        Step.RECEIVING,
        Step.STORING,
        Step.UNPACKING,
        Step.DISPENSING,
    }
)
# What may be said of such a step: the first are held in the shape, the others change no state.
_COMPARED = ("accepted", "level", "all_contents", "bill_type", "doses")
_EQUAL_OR_NOT = ("unit_id", "vehicle_id")
_TOLD = frozenset(
    {
        "from_site_id",
        "device_id",
        "bill_no",
        "temperature_c",
        "transport_c_min",
        "transport_c_max",
        "dose_number",
        "recipient",
        "vaccinator",
        "details",
    }
)
_HELD = frozenset(_COMPARED).union(_EQUAL_OR_NOT)
_KNOWN = _TOLD | _HELD
# Far more shapes than there are ways of delivery.
SHAPES_MAX = 4_096


class Now(NamedTuple):
    """The chain of a code with the positions it was computed at, and the version of the names."""

    ledger: int
    telemetry: int
    names_version: int
    custody: CodeCustody


class StepsNow(NamedTuple):
    """The steps of a lot as (step, place, packs, first and last ms), with the positions."""

    ledger: int
    telemetry: int
    names_version: int
    steps: Sequence[tuple[int, str, int, int, int]]


class ChainRow(NamedTuple):
    """A fact of a code or of its packs, with what else an answer needs."""

    k: int
    parent: int | None
    as_parent: bool
    text: str | None
    position: int
    fact_id: str
    step: int
    t_ms: int
    recorded_ms: int
    withdrawn_position: int | None
    site_id: str
    to_site_id: str
    lot_id: str
    said: str
    doses_per_vial: int | None
    opened_limit_min: int | None
    expires_on: Any
    apart: bool  # held, or of a product or lot told after the position
    ledger: int
    telemetry: int
    names_version: int


_in_order = itemgetter(7, 2, 0)  # t_ms, as_parent, k


class _Template(NamedTuple):
    """What came out of a fold: places among the codes, words and rows of the shape."""

    state: Mapping[str, Any]
    words: Mapping[str, int]
    times: Mapping[str, int]
    parent: int | None
    chain: Sequence[tuple[int, int, bool, list[str]]]  # row, code scanned, inherited, flags


class _Shape:
    """The facts of one code and its packs, in order, and what is equal in them."""

    def __init__(self, key: int, rows: Sequence[ChainRow], said: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.said = said
        self.codes: dict[int, int] = {key: 0}
        self.words: dict[str, int] = {"": 0}
        code, word = self.codes, self.words
        parts: list[object] = [rows[0].doses_per_vial, rows[0].opened_limit_min]
        before: int | None = None
        for row, more in zip(rows, said, strict=True):
            parent = row.parent
            parts += (
                code.setdefault(row.k, len(code)),
                parent if parent is None else code.setdefault(parent, len(code)),
                row.step,
                row.as_parent,
                row.t_ms == before,
                word.setdefault(row.site_id, len(word)),
                word.setdefault(row.to_site_id, len(word)),
                word.setdefault(row.lot_id, len(word)),
                None if _HELD.isdisjoint(more) else self._held(more),
            )
            before = row.t_ms
        parts.append(_overdue(rows))
        self.key = tuple(parts)

    def _held(self, said: Mapping[str, Any]) -> tuple[object, ...]:
        word = self.words
        equal = (word.setdefault(said.get(name, ""), len(word)) for name in _EQUAL_OR_NOT)
        return (*equal, *map(said.get, _COMPARED))

    def text(self, index: int) -> str:
        """Return the code of an index of the shape."""
        key = list(self.codes)[index]
        plain = key_code(key)
        return plain or next((r.text for r in self.rows if r.k == key and r.text), "")


def chain_asking(conninfo: str) -> Asking[ChainRow]:
    """Return how to ask for the rows of codes from an event loop; `chain_rows` does so."""
    parameters = {"k": int, "product": str}
    return Asking(conninfo, queries.chain_now, parameters, ChainRow._make)


async def chain_rows(asking: Asking[ChainRow], code: str) -> list[ChainRow]:
    """Return the rows of a canonical code; psycopg.Error where they cannot be had."""
    return await asking.rows(code_key(code), product_of(code))


def known_now(code: str, rows: Sequence[ChainRow]) -> Now | None:
    """Return the chain of a canonical code by its rows, None where it must be folded.

    NotFound("unknown_code") when there is none.
    """
    shape = _shape(code, rows)
    template = None if shape is None else _templates.get(shape.key)
    if shape is None or template is None:
        return None
    return _now(rows, _filled(code, shape, template))


def custody_now(conn: Connection, code: str) -> Now:
    """Return the chain of a canonical code, as `custody_of_code` does at the position told.

    NotFound("unknown_code") when no fact names it.
    """
    params = {"k": code_key(code), "product": product_of(code)}
    with conn.cursor(binary=True, row_factory=tuple_row) as cur:
        rows = [ChainRow._make(row) for row in cur.execute(queries.chain_now, params)]
    shape = _shape(code, rows)
    template = None if shape is None else _templates.get(shape.key)
    if shape is not None and template is not None:
        return _now(rows, _filled(code, shape, template))
    custody = custody_of_code(conn, code, rows[0].ledger)
    if shape is not None and shape.key not in _templates:
        if len(_templates) >= SHAPES_MAX:
            _templates.clear()
        _templates[shape.key] = _template(shape, custody)
    return _now(rows, custody)


def _now(rows: Sequence[ChainRow], custody: CodeCustody) -> Now:
    return Now(*rows[0][-3:], custody)


def steps_now(conn: Connection, lot_id: str) -> StepsNow:
    """Return the steps of a lot in order of their beginning; NotFound("unknown_lot")."""
    with conn.cursor(binary=True, row_factory=tuple_row) as cur:
        head, *steps = cur.execute(queries.steps_now, {"lot": lot_id}).fetchall()
        _, why, version, ledger, telemetry = head
        if why == "ahead":
            since = {"lot": lot_id, "at": ledger}
            why = cur.execute(queries.told_since, since).fetchall()[0][0]
    if why or not steps:
        folded = steps_of_lot(conn, lot_id, ledger)
        steps = [(int(s.step), s.site_id, s.packs, s.first_ms, s.last_ms) for s in folded]
    return StepsNow(ledger, telemetry, version, steps)


_templates: dict[tuple[object, ...], _Template | None] = {}


def _shape(code: str, rows: Sequence[ChainRow]) -> _Shape | None:
    """Return the shape of a code's facts, None where they are not plain.

    NotFound("unknown_code") when no fact names it.
    """
    if not rows:
        raise NotFound("unknown_code", code=code)
    key = code_key(code)
    if not _is_plain(key, rows):
        return None
    ordered = sorted(rows, key=_in_order)
    said = [decode_said(row.said) for row in ordered]
    return _Shape(key, ordered, said) if all(map(_KNOWN.issuperset, said)) else None


def _is_plain(key: int, rows: Sequence[ChainRow]) -> bool:
    made = used = 0
    for row in rows:
        step = row.step
        if step not in PLAIN or row.withdrawn_position is not None or row.apart:
            return False
        if row.position > row.ledger:  # followed since
            return False
        if step == Step.COMMISSIONING:
            made += row.k == key
        elif step == Step.DISPENSING:
            used += 1
            if row.k != key:
                return False
    moments = {row.t_ms for row in rows}
    return made <= 1 and used <= 1 and len(moments) == len({row.position for row in rows})


def _overdue(rows: Sequence[ChainRow]) -> bool:
    """Tell whether a dose was given after the expiry of the lot."""
    expires_on = next((row.expires_on for row in rows if row.expires_on is not None), None)
    given = [row.t_ms for row in rows if row.step == Step.DISPENSING]
    if expires_on is None or not given:
        return False
    day = datetime.fromtimestamp(given[0] / 1000, UTC).astimezone(ZONE).date()
    return bool(day > expires_on)


def _template(shape: _Shape, custody: CodeCustody) -> _Template | None:
    """Return what the fold made of a shape, None where it is more than places in it."""
    state: dict[str, Any] = {}
    words: dict[str, int] = {}
    times: dict[str, int] = {}
    moments = {row.t_ms: n for n, row in enumerate(shape.rows)}
    for field in fields(State):
        name, value = field.name, getattr(custody.state, field.name)
        if type(value) is str:
            if value not in shape.words:
                return None
            words[name] = shape.words[value]
        elif name.endswith("_ms") and value is not None:
            if value not in moments:
                return None
            times[name] = moments[value]
        elif name != "parent":
            state[name] = value
    codes = {shape.text(index): index for index in shape.codes.values()}
    places = {(row.fact_id, row.k): n for n, row in enumerate(shape.rows)}
    keys = {text: code_key(text) for text in codes}
    chain = [
        (places[e["fact_id"], keys[e["via"]]], codes[e["via"]], e["inherited"], e["flags"])
        for e in custody.chain
    ]
    return _Template(state, words, times, codes.get(custody.parent), chain)


def _filled(code: str, shape: _Shape, template: _Template) -> CodeCustody:
    words, codes = list(shape.words), list(shape.codes)
    texts = [shape.text(index) for index in range(len(codes))]
    parent = template.parent
    found: dict[str, Any] = {"parent": None if parent is None else codes[parent]}
    found |= template.state
    found |= {name: words[index] for name, index in template.words.items()}
    found |= {name: shape.rows[n].t_ms for name, n in template.times.items()}
    chain = []
    for n, via, inherited, flags in template.chain:
        entry = shown(shape.rows[n], shape.said[n])
        entry["via"] = texts[via]
        entry["inherited"] = inherited
        entry["flags"] = flags
        chain.append(entry)
    return CodeCustody(
        code=code,
        product_id=product_of(code),
        state=State(**found),
        parent="" if parent is None else texts[parent],
        chain=chain,
        withdrawn=[],
        as_of=shape.rows[0].ledger,
    )
