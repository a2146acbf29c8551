"""What was in a unit while it read wrongly: the same as the fold of every code tells."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from domain.traceability.codes import code_key, key_code
from domain.traceability.custody import Book, Product
from domain.traceability.thermal import Excursion, whereabouts
from projections.traceability.inside import inside
from projections.traceability.rows import read_mentions
from tests.conftest import Database
from tests.traceability.chain import START, projected, recorded
from tests.traceability.stories import GTIN, PRODUCT, Story

pytestmark = pytest.mark.database

# Units of the stories, where each belongs, and the site of its excursions (none: it rides along).
UNITS = [("UA", "A", "A"), ("UB", "B", "B"), ("UC", "C", "C"), ("VAN", "A", ""), ("BOX", "B", "")]
ALL = (
    "SELECT f.k, f.parent, f.as_parent, s.* FROM rm_traceability.fact f"
    " JOIN rm_traceability.scan s ON s.position = f.position"
)
UNITS_OF = "SELECT k FROM rm_traceability.node WHERE level = 1"
DOSES = "SELECT product_id, doses_per_vial FROM rm_traceability.product"
START_MS = round(START.timestamp() * 1000)


@pytest.fixture(scope="module")
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_dsn, autocommit=True) as opened:
        yield opened


def product(k: int) -> str:
    """Return the product of a code of the stories."""
    return PRODUCT if key_code(k) else GTIN


def excursions(seed: int) -> Iterator[tuple[Excursion, str]]:
    """Yield times in units, some of which last, with the site that each unit belongs to."""
    rng = random.Random(seed)
    for unit_id, at_site, site_id in UNITS * 3:
        start = timedelta(minutes=rng.randint(0, 150)) // timedelta(milliseconds=1)
        minutes = rng.choice([5, 30, 90, None])
        end_ms = 2**62 if minutes is None else START_MS + start + minutes * 60_000
        found = Excursion(
            device_id="D9",
            start_ms=START_MS + start,
            end_ms=end_ms,
            limit_c=8.0,
            peak_c=9.0,
            unit_id=unit_id,
            site_id=site_id,
        )
        yield found, at_site


@pytest.mark.parametrize("seed", [5, 10, 16, 20])
def test_given_any_facts_when_asked_who_was_inside_then_as_the_fold_of_all_tells(
    conn: psycopg.Connection[Any], seed: int
) -> None:
    found = 0
    log = recorded(sorted(Story(seed, 25).told, key=lambda told: told[2]))
    with projected(conn, log):
        doses: dict[str, int] = dict(conn.execute(DOSES).fetchall())
        mentions = read_mentions(conn.execute(ALL))
        book = Book(mentions, product=lambda k: Product(doses[product(k)]))
        units = [row[0] for row in conn.execute(UNITS_OF)]
        for excursion, at_site in excursions(seed):
            expected = {
                k
                for k in units
                for stay in whereabouts(book.chain(k), doses[product(k)])
                if stay.exposed(excursion)
            }
            got = inside(conn, excursion, at_site, lambda _product: True)
            assert {code_key(unit.code) for unit in got} == expected, excursion
            found += len(got)
            _check_packs(conn, got)
    assert found > 10


def _check_packs(conn: psycopg.Connection[Any], got: list[Any]) -> None:
    """Hold that a pack that stands for what is in it holds nothing else now."""
    bound = {code_key(unit.code) for unit in got if not unit.ended}
    for unit in got:
        if unit.pack != unit.code:
            below = [code_key(unit.pack)]
            for k in below:
                held = conn.execute("SELECT k FROM rm_traceability.node WHERE parent = %s", (k,))
                contents = [row[0] for row in held]
                assert contents or k in bound
                below += contents
