"""Questions about exceptions: the work list, and one case with its evidence, as of any position."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg.rows import dict_row, tuple_row

from domain.traceability.codes import key_code
from domain.traceability.facts import Step
from domain.traceability.kinds import GENERAL, RULES, TELLING, Kind, Severity
from projections.traceability.findings import queries
from projections.traceability.rows import Connection, Cursor

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases to list; None = all. `prefix`: of the region, `overdue`: open ones past due."""

    kind: Kind | None = None
    severity: Severity | None = None
    state: str | None = None
    prefix: str = ""
    site_id: str | None = None
    owner: str | None = None
    overdue: bool = False
    case_id: str | None = None


class Evidence(NamedTuple):
    """The codes and facts that a case rests on, and what people did with it, oldest first."""

    codes: list[str]
    facts: list[dict[str, Any]]
    acts: list[dict[str, Any]]


def cases(
    conn: Connection,
    wanted: Wanted,
    *,
    at: int,
    now_ms: int,
    after: tuple[int, str] = (-(2**63), ""),
    limit: int,
) -> list[dict[str, Any]]:
    """Return cases as known at a position, first due first, those after (due, id)."""
    kinds = [
        kind
        for kind, rule in RULES.items()
        if wanted.kind in {None, kind} and wanted.severity in {None, rule.severity}
    ]
    asked = {
        "at": at,
        "case_id": wanted.case_id,
        "kinds": [kind.value for kind in kinds],
        "due_ms": [RULES[kind].due_h * HOUR_MS for kind in kinds],
        "general": [kind.value for kind in GENERAL],
        "telling": [kind.value for kind in TELLING],
        "state": wanted.state,
        "prefix": wanted.prefix,
        "site_id": wanted.site_id,
        "owner": wanted.owner,
        "overdue": wanted.overdue,
        "now_ms": now_ms,
        "after_ms": after[0],
        "after_id": after[1],
        "limit": limit,
    }
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(queries.cases, asked).fetchall()


def evidence(conn: Connection, case_id: str, at: int) -> Evidence:
    """Return what a case rests on, as known at a position."""
    with conn.cursor(row_factory=tuple_row) as cur:
        asked = {"case_id": case_id, "at": at}
        rows = cur.execute(queries.evidence, asked).fetchall()
        rows = [row for row in rows if row[2]] or rows
        texts = texts_of(cur, {row[0] for row in rows if row[0] is not None})
        arrived = {row[0] for row in cur.execute(queries.receipts, asked)}
        ids = sorted(arrived.union(*(row[1] for row in rows)))
        told = cur.execute(queries.facts_told, (ids,)).fetchall()
        acts = cur.execute(queries.acts, (case_id, at)).fetchall()
    names = ("act", "at_ms", "actor_id", "org_code", "resolution", "reason")
    return Evidence(
        sorted(texts.values()),
        [_fact(row) for row in told],
        [dict(zip(names, row, strict=True)) for row in acts],
    )


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
