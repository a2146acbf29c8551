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
from projections.traceability.answers import CodeCustody, custody_of_code, steps_of_lot
from projections.traceability.rows import Connection, decode_said, queries
from projections.traceability.views import shown

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
_KNOWN = _TOLD.union(_COMPARED, _EQUAL_OR_NOT)
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


class _Row(NamedTuple):
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


class _Template(NamedTuple):
    """What came out of a fold: places among the codes, words and rows of the shape."""

    state: Mapping[str, Any]
    words: Mapping[str, int]
    times: Mapping[str, int]
    parent: int | None
    chain: Sequence[tuple[int, int, bool, list[str]]]  # row, code scanned, inherited, flags


class _Shape:
    """The facts of one code and its packs, in order, and what is equal in them."""

    def __init__(self, key: int, rows: Sequence[_Row]) -> None:
        self.rows = rows
        self.said = [decode_said(row.said) for row in rows]
        self.codes: dict[int, int] = {key: 0}
        self.words: dict[str, int] = {"": 0}
        code, word = self.codes, self.words
        parts: list[object] = [rows[0].doses_per_vial, rows[0].opened_limit_min]
        before: int | None = None
        for row, said in zip(rows, self.said, strict=True):
            parts.append(code.setdefault(row.k, len(code)))
            parts.append(
                row.parent if row.parent is None else code.setdefault(row.parent, len(code))
            )
            parts += (row.step, row.as_parent, row.t_ms == before)
            for value in (row.site_id, row.to_site_id, row.lot_id):
                parts.append(word.setdefault(value, len(word)))
            for name in _EQUAL_OR_NOT:
                parts.append(word.setdefault(said.get(name, ""), len(word)))
            parts += map(said.get, _COMPARED)
            before = row.t_ms
        parts.append(_overdue(rows))
        self.key = tuple(parts)

    def text(self, index: int) -> str:
        """Return the code of an index of the shape."""
        key = list(self.codes)[index]
        return next(filter(None, (key_code(key), *(r.text for r in self.rows if r.k == key))), "")


def custody_now(conn: Connection, code: str) -> Now:
    """Return the chain of a canonical code, as `custody_of_code` does at the position told.

    NotFound("unknown_code") when no fact names it.
    """
    key = code_key(code)
    params = {"k": key, "product": product_of(code)}
    with conn.cursor(binary=True, row_factory=tuple_row) as cur:
        found = cur.execute(queries.chain_now, params).fetchall()
    if not found:
        raise NotFound("unknown_code", code=code)
    rows = [_Row(*row) for row in sorted(found, key=itemgetter(7, 2, 0))]
    ledger, telemetry, version = rows[0][-3:]
    custody = _plain(conn, code, key, rows) or custody_of_code(conn, code, ledger)
    return Now(ledger, telemetry, version, custody)


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


def _plain(conn: Connection, code: str, key: int, rows: Sequence[_Row]) -> CodeCustody | None:
    """Return the chain of a code whose facts are plain, None where they must be folded."""
    if not _is_plain(key, rows):
        return None
    shape = _Shape(key, rows)
    if not all(_KNOWN.issuperset(said) for said in shape.said):
        return None
    if shape.key not in _templates:
        custody = custody_of_code(conn, code, rows[0].ledger)
        if len(_templates) >= SHAPES_MAX:
            _templates.clear()
        _templates[shape.key] = _template(shape, custody)
        return custody
    template = _templates[shape.key]
    return None if template is None else _filled(code, shape, template)


def _is_plain(key: int, rows: Sequence[_Row]) -> bool:
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


def _overdue(rows: Sequence[_Row]) -> bool:
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
        entry = shown(_values(shape.rows[n], shape.said[n]))
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


def _values(row: _Row, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "fact_id": row.fact_id,
        "step": row.step,
        "t_ms": row.t_ms,
        "recorded_ms": row.recorded_ms,
        "position": row.position,
        "site_id": row.site_id,
        "to_site_id": row.to_site_id,
        "lot_id": row.lot_id,
        **said,
    }
