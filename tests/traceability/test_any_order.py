"""Answers do not depend on the order, the cut or the lateness of what was told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from domain.shared.errors import NotFound
from projections import traceability
from projections.traceability import cases as read
from projections.traceability import recalls
from store.envelope import Recorded
from tests.conftest import Database
from tests.traceability.chain import projected, recorded
from tests.traceability.stories import CODES, LOTS, Story
from tests.traceability.test_findings import rows

pytestmark = pytest.mark.database
Conn = psycopg.Connection[Any]
SEEDS = range(1, 5)
NOW_MS = 2**61
ALIVE = (
    "SELECT subject, kind, key, top, k, units, t_ms, site_id, fact_ids "
    "FROM rm_traceability.finding WHERE gone IS NULL"
)


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[Conn]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def asked(ask: Callable[..., Any], *args: Any) -> str:
    """Return an answer as a text, "-" where there is none."""
    try:
        return repr(ask(*args))
    except NotFound:
        return "-"


def recall(found: recalls.LotRecall) -> str:
    """Return all that a recall tells; units come in no order."""
    told = replace(found.recall, units=sorted(found.recall.units))
    return repr((told, sorted(found.texts.items())))


def recall_now(conn: Conn, lot_id: str, at: int) -> str:
    return recall(recalls.recall_now(conn, lot_id, at))


def recall_at(conn: Conn, lot_id: str, at: int) -> str:
    return recall(recalls.recall_at(conn, lot_id, at))


def answers(conn: Conn, at: int) -> dict[str, str]:
    """Return all answers as of a position."""
    found = {code: asked(traceability.custody_of_code, conn, code, at) for code in CODES}
    for lot_id in LOTS:
        found[f"recall of {lot_id}"] = asked(recall_at, conn, lot_id, at)
        found[f"balance of {lot_id}"] = asked(recalls.balance, conn, lot_id, at)
        found[f"chain of {lot_id}"] = asked(traceability.custody_of_lot, conn, lot_id, at)
    found["stock"] = asked(traceability.stock, conn, None, at)
    seen = read.Seen(at, NOW_MS)
    cases = read.cases(conn, read.Wanted(), seen, limit=1000)
    found["cases"] = repr(cases)
    told = read.evidence(conn, [case["case_id"] for case in cases], seen)
    for case in cases:
        if case["state"] != "resolved":
            assert case["units"] == len(told[case["case_id"]].codes)
    found["evidence"] = repr(sorted(told.items()))
    return found


def of_now(conn: Conn, log: list[Recorded]) -> dict[str, Any]:
    """Return what is answered now, but for positions."""
    found: dict[str, Any] = {"alive": sorted(str(row) for row in conn.execute(ALIVE))}
    for lot_id in LOTS:
        try:
            told = recalls.recall_at(conn, lot_id, len(log)).recall
        except NotFound:
            continue
        found[f"recall of {lot_id}"] = (
            [fact.fact_id for fact in told.orders], told.units, told.doses, told.bound
        )  # fmt: skip
        found[f"balance of {lot_id}"] = recalls.balance(conn, lot_id, len(log))
    found["stock"] = repr(traceability.stock(conn))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_given_a_story_when_cut_repeated_or_told_in_any_order_then_the_same_answers(
    conn: Conn, seed: int
) -> None:
    rng = random.Random(seed)
    story = Story(seed, steps=rng.randint(3, 8))
    log = recorded(story.told)
    middle = rng.randint(8, len(log) - 1)
    with projected(conn, log):
        whole, then, now = rows(conn), answers(conn, middle), of_now(conn, log)
        for lot_id in LOTS:
            told = [asked(ask, conn, lot_id, len(log)) for ask in (recall_now, recall_at)]
            assert told[0] == told[1]
    for size in (1, rng.choice([2, 3, 7])):
        with projected(conn, log, size):
            assert rows(conn) == whole
    with projected(conn, log[:middle]):
        assert answers(conn, middle) == then
    again = recorded(story.again(seed))
    with projected(conn, again, rng.choice([1, 5, 2000])):
        assert of_now(conn, again) == now
