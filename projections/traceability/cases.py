"""Questions about exceptions: the work list, and one case with its evidence, as of any position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

from psycopg import sql
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import Jsonb

from domain.traceability.codes import key_code
from domain.traceability.custody import Book
from domain.traceability.exceptions import smallest
from domain.traceability.facts import Step
from domain.traceability.kinds import RULES, YIELDS, Kind, Severity
from projections.traceability.rows import Connection, Cursor, read_mentions
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_cases.sql")

HOUR_MS = 3_600_000
# Before every case, by the time they are due.
FIRST = (-(2**63), "")
_YIELDS = Jsonb({kind.value: [other.value for other in others] for kind, others in YIELDS.items()})


@dataclass(frozen=True, slots=True)
class Seen:
    """How cases are looked at: as known at a ledger position, at a moment (ms since 1970).

    `prefix`: of the region whose places are seen; what is elsewhere is not there at all.
    """

    at: int
    now_ms: int
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases to list; None = all. `overdue`: open ones past due."""

    kind: Kind | None = None
    severity: Severity | None = None
    state: str | None = None
    site_id: str | None = None
    owner: str | None = None
    overdue: bool = False
    case_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The codes and facts that a case rests on, in order."""

    codes: list[str] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


def cases(
    conn: Connection, wanted: Wanted, seen: Seen, *, after: tuple[int, str] = FIRST, limit: int
) -> list[dict[str, Any]]:
    """Return cases, first due first, those after (due, id)."""
    asked = _asked(wanted, seen) | {
        "state": wanted.state,
        "owner": wanted.owner,
        "overdue": wanted.overdue,
        "after_ms": after[0],
        "after_id": after[1],
        "limit": limit,
    }
    with conn.cursor(row_factory=dict_row) as cur:
        # Planned for what is asked each time: one case and all of a country are not looked for in
        # the same way.
        return cur.execute(_of_seen(queries.cases), asked, prepare=False).fetchall()


def evidence(conn: Connection, case_ids: Sequence[str], seen: Seen) -> dict[str, Evidence]:
    """Return what each of these cases rests on.

    Facts told in the region, and of what was sent there: these stand without their place.
    """
    asked = _asked(Wanted(case_ids=list(case_ids)), seen)
    named: dict[str, set[int]] = defaultdict(set)
    told: dict[str, set[str]] = defaultdict(set)
    packs: list[_Pack] = []
    with conn.cursor(row_factory=tuple_row) as cur:
        rows = cur.execute(_of_seen(queries.evidence), asked, prepare=False)
        for case_id, k, units, fact_ids, at in rows:
            named[case_id] |= {k} if units == 1 else set()
            told[case_id].update(fact_ids)
            packs += [_Pack(case_id, k, fact_ids[0], at)] if units > 1 else []
        for case_id, inside in _opened(cur, packs):
            named[case_id].update(inside)
        for case_id, fact_id in cur.execute(queries.receipts, asked):
            told[case_id].add(fact_id)
        texts = texts_of(cur, {k for found in named.values() for k in found})
        ids = sorted({fact_id for found in told.values() for fact_id in found})
        found = cur.execute(queries.facts_told, {"ids": ids, "prefix": seen.prefix}).fetchall()
    facts = {row[0]: _fact(row) for row in found}
    order = {fact_id: n for n, fact_id in enumerate(facts)}
    return {
        case_id: Evidence(
            sorted(texts[k] for k in named[case_id]),
            [facts[i] for i in sorted(told[case_id] & facts.keys(), key=order.__getitem__)],
        )
        for case_id in case_ids
    }


class _Pack(NamedTuple):
    """A pack that stands in a case for what was in it at a fact, as known at a position."""

    case_id: str
    k: int
    fact_id: str
    at: int


def _opened(cur: Cursor, packs: Sequence[_Pack]) -> Iterator[tuple[str, list[int]]]:
    """Yield the smallest packs in each, with its case."""
    if not packs:
        return
    asked = (list({pack.k for pack in packs}),)
    mentions = read_mentions(cur.execute(queries.inside_and_above, asked))
    orders = {m.fact.fact_id: m.fact.order for m in mentions}
    for at, known in groupby(sorted(packs, key=lambda pack: pack.at), lambda pack: pack.at):
        book = Book(mentions, as_of=at)
        for pack in known:
            yield pack.case_id, smallest(book, pack.k, orders[pack.fact_id])


def acts(conn: Connection, case_id: str, at: int) -> list[dict[str, Any]]:
    """Return what people did with a case, oldest first."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(queries.acts, (case_id, at)).fetchall()


def _asked(wanted: Wanted, seen: Seen) -> dict[str, Any]:
    rules = {
        kind: rule
        for kind, rule in RULES.items()
        if wanted.kind in {None, kind} and wanted.severity in {None, rule.severity}
    }
    return {
        "at": seen.at,
        "now_ms": seen.now_ms,
        "prefix": seen.prefix,
        "kinds": [kind.value for kind in rules],
        "due_ms": [rule.due_h * HOUR_MS for rule in rules.values()],
        "grace_ms": [rule.grace_h * HOUR_MS for rule in rules.values()],
        "yields": _YIELDS,
        "standing": wanted.state in {"open", "closed"},
        "site_id": wanted.site_id,
        "case_ids": wanted.case_ids,
    }


def _of_seen(query: LiteralString) -> sql.Composed:
    return sql.SQL("\n").join([sql.SQL(queries.seen), sql.SQL(query)])


def _fact(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("fact_id", "position", "step", "t_ms", "recorded_ms", "site_id")
    return dict(zip(names, row, strict=True)) | {"step": Step(row[2]).name.lower()}


def recorded_until(conn: Connection, at: int) -> int:
    """Return when the ledger's event of a position was recorded, ms; 0 before the first."""
    row: Any = conn.execute(queries.recorded_until, (at,)).fetchone()
    return (row[0] if isinstance(row, tuple) else next(iter(row.values()))) or 0


def texts_of(cur: Cursor, keys: Collection[int]) -> dict[int, str]:
    """Return the canonical codes of keys."""
    plain = {k: key_code(k) for k in keys}
    found = {k: text for k, text in plain.items() if text is not None}
    hashed = [k for k, text in plain.items() if text is None]
    if hashed:
        found.update(cur.execute(queries.code_texts, (hashed,)).fetchall())
    return found
