"""Where the codes of a lot or a pack were, of all of them at once: rows into columns and back.

The domain follows codes in columns (`domain/traceability/presence.py`). What it takes for the order
of facts is their place in `told_of_codes`; stays in packs come with times, and are put between the
facts that began and ended them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from domain.traceability.codes import code_key, key_code, product_of
from domain.traceability.custody import MOVING, Book, Product
from domain.traceability.exceptions import SENDING
from domain.traceability.facts import Step
from domain.traceability.presence import (
    OPEN_MS,
    Facts,
    Inside,
    Ints,
    Presence,
    Scanned,
    presence,
)
from domain.traceability.thermal import whereabouts
from projections.traceability.answers import queries as answers
from projections.traceability.rows import ALWAYS, Connection, read_mentions
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_stays.sql")

_SPAN = 2**31  # more than there are facts, or codes, of one lot
# Scanned alone in one of these, a code is no longer in its pack, or not in this one.
_ENDS = (Step.PACKING, Step.UNPACKING, *MOVING)


class _Said(msgspec.Struct):
    """What of a fact's particulars tells where its codes were."""

    unit_id: str = ""
    vehicle_id: str = ""
    doses: int | None = None
    level: int | None = None
    all_contents: bool = False


_decode = msgspec.json.Decoder(_Said).decode


class Stays(NamedTuple):
    """Where codes were. `keys`, `sites`, `units`: what the numbers in `presence` stand for.

    `senders`: by fact the number of the site that sent goods away, 0 where it sent none.
    """

    keys: Ints
    sites: Sequence[str]
    units: Sequence[str]
    presence: Presence
    senders: Ints


class _Told(NamedTuple):
    """What the tables say: codes as numbers, facts by their place among all."""

    facts: Facts
    emptied: npt.NDArray[np.bool_]
    scanned: Scanned
    parent: Ints  # number of the pack named, -1 = none


def stays_of_lot(conn: Connection, lot_id: str) -> Stays:
    """Return where each smallest pack of a lot was; nothing where none is known."""
    return _stays(conn, lot_id, [], lot_id.partition(".")[0])


def stays_of_code(conn: Connection, code: str, as_of: int | None = None) -> Stays:
    """Return where one canonical code was, a pack as well; nothing where none is known.

    `as_of`: as known at a position of the ledger, None = now.
    """
    return stays_as_of(conn, [code_key(code)], product_of(code), as_of)


def stays_as_of(conn: Connection, keys: Sequence[int], product_id: str, as_of: int | None) -> Stays:
    """Return where codes of one product were, each by itself, as known at a position."""
    return _by_book(conn, "", keys, _doses(conn, product_id), as_of)


def stays_of_codes(conn: Connection, keys: Sequence[int], product_id: str) -> Stays:
    """Return where codes of one product were, by their keys."""
    return _stays(conn, "", keys, product_id)


def stays_of_pack(conn: Connection, key: int) -> list[Stays]:
    """Return where each smallest pack was that is in a pack now, product by product."""
    found: dict[str, list[int]] = {}
    for (k,) in conn.execute(queries.inside_now, {"k": key}).fetchall():
        found.setdefault(_product(conn, k), []).append(k)
    return [stays_of_codes(conn, keys, product) for product, keys in sorted(found.items())]


def _product(conn: Connection, key: int) -> str:
    code = key_code(key)
    if code is None:
        row = conn.execute(queries.texts, ([key],)).fetchone()
        code = str(row[1]) if row else ""
    return product_of(code)


def texts_of(conn: Connection, keys: Ints) -> list[str]:
    """Return codes as texts."""
    plain = [key_code(key) for key in keys.tolist()]
    hashed = [k for k, code in zip(keys.tolist(), plain, strict=True) if code is None]
    if not hashed:
        return [code or "" for code in plain]
    known = dict(conn.execute(queries.texts, (hashed,)).fetchall())
    return [code or known[k] for k, code in zip(keys.tolist(), plain, strict=True)]


def lot_known(conn: Connection, lot_id: str) -> bool:
    """Tell whether anything is known of a lot."""
    return bool((conn.execute(queries.known, {"lot": lot_id}).fetchone() or (False,))[0])


def _doses(conn: Connection, product_id: str) -> int:
    row = conn.execute(queries.doses_per_vial, (product_id,)).fetchone()
    return int(row[0]) if row else 1


def _stays(conn: Connection, lot_id: str, keys: Sequence[int], product_id: str) -> Stays:
    doses = _doses(conn, product_id)
    asked = {"lot": lot_id, "keys": list(keys), "single": doses == 1}
    ((k, position, parent, filled, *told),) = conn.execute(
        queries.told_of_codes, asked, binary=True
    ).fetchall()
    at, packed = told[0], told[6:10]
    columns = [_ints(column) for column in packed]
    codes = np.unique(np.concatenate([_ints(k), *columns[:2]]))
    site_ids, unit_ids = {"": 0}, {"": 0}
    facts, emptied, senders = _facts(told[1:6], site_ids, unit_ids)
    place = np.argsort(_ints(at))
    sorted_at = _ints(at)[place]
    fact = np.searchsorted(sorted_at, _ints(position))
    known = fact < sorted_at.size
    known[known] = sorted_at[fact[known]] == _ints(position)[known]
    number = np.searchsorted(codes, _ints(k))[known]
    packs = np.where(_ints(parent) == 0, -1, np.searchsorted(codes, _ints(parent)))[known]
    scanned = Scanned(number, place[fact[known]], _ints(filled, ">i2")[known].astype(np.bool_))
    read = _Told(facts, emptied, scanned, packs)
    inside = _inside(read, *(np.searchsorted(codes, c) for c in columns[:2]), *columns[2:])
    wanted = np.array(keys, np.int64) if keys else _ints(told[10])
    members = np.searchsorted(codes, np.intersect1d(wanted, codes))
    try:
        found = presence(facts, scanned, inside, members, doses)
    except ValueError:  # packs in each other: the book says how far to believe that
        return _by_book(conn, lot_id, codes[members].tolist(), doses)
    return Stays(codes, list(site_ids), list(unit_ids), found, senders)


def _by_book(
    conn: Connection, lot_id: str, keys: Sequence[int], doses: int, as_of: int | None = None
) -> Stays:
    """Return where codes were, each by itself."""
    if lot_id:
        rows = conn.execute(answers.facts_of_lot, {"lot": lot_id}).fetchall()
    else:
        asked = [conn.execute(answers.chain_of_code, {"k": key}).fetchall() for key in keys]
        rows = [row for each in asked for row in each]
    book = Book(read_mentions(rows), product=lambda _: Product(doses), as_of=as_of)
    names: list[dict[str, int]] = [{"": 0}, {"": 0}]
    found: list[tuple[int, ...]] = []
    senders: list[int] = []
    for n, key in enumerate(keys):
        chain = book.chain(key)
        sent = {e.fact.fact_id: e.fact.site_id for e in chain if e.fact.step in SENDING}
        for stay in whereabouts(chain, doses):
            here = tuple(
                ids.setdefault(name, len(ids))
                for ids, name in zip(names, (stay.site_id, stay.unit_id), strict=True)
            )
            end_ms = OPEN_MS if stay.end_ms is None else stay.end_ms
            found.append((n, *here, len(found), stay.start_ms, end_ms))
            sender = sent.get(stay.fact_ids[0], "")
            senders.append(names[0].setdefault(sender, len(names[0])))
    columns = np.array(found, np.int64).reshape(-1, 6).T
    everyone = np.arange(len(keys))
    never = np.full(len(keys), OPEN_MS)
    beyond = np.full(len(keys), len(found))
    group, site, unit, since, t0, t1 = columns
    told = Presence(group, site, unit, since, t0, t1, everyone, everyone, beyond, never)
    sites, units = map(list, names)
    return Stays(np.array(keys, np.int64), sites, units, told, np.array(senders, np.int64))


def _ints(column: bytes, kind: str = ">i8") -> Ints:
    return np.frombuffer(column, kind).astype(np.int64)


def _facts(
    columns: Sequence[Any], site_ids: dict[str, int], unit_ids: dict[str, int]
) -> tuple[Facts, npt.NDArray[np.bool_], Ints]:
    """Return the facts, which of them emptied a pack, and senders; fill in numbers of names."""
    step, t_ms = _ints(columns[0], ">i2"), _ints(columns[1])
    sites, to_sites, said = columns[2:]
    n = step.size
    unit, vehicle, site = (np.zeros(n, np.int64) for _ in range(3))
    doses, level = np.full(n, -1, np.int64), np.ones(n, np.int64)
    emptied = np.zeros(n, np.bool_)
    # Of the only dose of a vial it does not matter where it was given: it was the end.
    placing = np.flatnonzero(step != Step.DISPENSING) if len(said) < n else np.arange(n)
    sending = np.isin(step, (Step.SHIPPING, Step.RETURNING))
    for place, text, sent in zip(placing.tolist(), said, sending[placing].tolist(), strict=True):
        if text == "{}":
            continue
        more = _decode(text)
        stood = more.vehicle_id if sent else more.unit_id
        unit[place] = unit_ids.setdefault(stood, len(unit_ids))
        vehicle[place] = unit_ids.setdefault(more.vehicle_id, len(unit_ids))
        doses[place] = -1 if more.doses is None else more.doses
        level[place] = more.level or 1
        emptied[place] = more.all_contents
    site[placing] = [site_ids.setdefault(each, len(site_ids)) for each in sites]
    senders = np.where(sending, site, 0)
    going = np.array([site_ids.setdefault(each, len(site_ids)) for each in to_sites], np.int64)
    site[sending] = np.where(going > 0, going, site[sending])
    return Facts(step, t_ms, site, unit, vehicle, doses, level), emptied, senders


def _inside(told: _Told, code: Ints, pack: Ints, t0: Ints, t1: Ints) -> Inside:
    """Put stays between the facts that began and ended them."""
    facts, scanned = told.facts, told.scanned
    by_code = np.argsort(scanned.code * _SPAN + scanned.fact, kind="stable")
    keys = (scanned.code * _SPAN + scanned.fact)[by_code]
    own = ~scanned.filled[by_code]
    step = facts.step[scanned.fact[by_code]]
    packing = own & (step == Step.PACKING)
    after = _next_at(facts, keys[packing], code, t0)
    after = np.where(t0 == -ALWAYS - 1, -1, after)
    ending = own & np.isin(step, _ENDS)
    begins = np.searchsorted(facts.t_ms, t1)
    first = np.searchsorted(keys[ending], code * _SPAN + np.maximum(begins, after + 1))
    past = np.searchsorted(keys[ending], code * _SPAN + np.searchsorted(facts.t_ms, t1, "right"))
    emptying = np.sort((scanned.code * _SPAN + scanned.fact)[told.emptied[scanned.fact]])
    emptied = _next_at(facts, emptying, pack, t1, none=-1)
    # As a rule one fact alone can have ended it, and did.
    ends = np.append(keys[ending], 0)[first] % _SPAN
    before = np.where(past - first == 1, ends, np.where(emptied >= 0, emptied, begins))
    before = np.where(t1 == ALWAYS, facts.step.size, before)
    unclear = (past - first + (emptied >= 0) > 1) & (t1 != ALWAYS)
    parents = told.parent[by_code][ending]
    for n in np.flatnonzero(unclear).tolist():
        at = [(int(keys[ending][i] % _SPAN), int(parents[i])) for i in range(first[n], past[n])]
        before[n] = _ended(told, int(pack[n]), at, int(emptied[n]), int(before[n]))
    return Inside(code, pack, after, before)


def _next_at(facts: Facts, keys: Ints, code: Ints, t_ms: Ints, none: int | None = None) -> Ints:
    """Return of some codes the first fact among `keys` at a moment; `none`: where there is none.

    By default that is the place where one of that moment would be.
    """
    begins = np.searchsorted(facts.t_ms, t_ms)
    found = np.searchsorted(keys, code * _SPAN + begins)
    fact = np.append(keys, -1)[found]
    there = (fact // _SPAN == code) & (fact >= 0)
    there[there] = facts.t_ms[fact[there] % _SPAN] == t_ms[there]
    return np.where(there, fact % _SPAN, begins if none is None else none)


def _ended(
    told: _Told, pack: int, at: Sequence[tuple[int, int]], emptied: int, otherwise: int
) -> int:
    """Return which of several facts of one moment ended a stay, as the book of custody says."""
    named = told.scanned.fact[(told.scanned.code == pack) & ~told.scanned.filled]
    together = set(named.tolist())
    for fact, parent in sorted([*at, *([(emptied, -2)] if emptied >= 0 else [])]):
        step = told.facts.step[fact]
        if parent == -2 or (step == Step.PACKING and parent != pack):
            return fact
        if step == Step.UNPACKING and parent in (-1, pack):
            return fact
        if step not in (Step.PACKING, Step.UNPACKING) and fact not in together:
            return fact
    return otherwise
