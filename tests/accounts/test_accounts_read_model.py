"""Keys out of events: the valid ones for memory, all of them for the list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from domain.accounts import model
from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from projections import accounts as read_model
from projections import rebuild
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START, Database

pytestmark = pytest.mark.database

META = Meta(occurred_at=START, recorded_at=START)


@pytest.fixture(scope="module")
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    """Follow three keys, one of them revoked."""
    regions = {"k1": "000000", "k2": "640200", "k3": "640202"}
    told = [
        Envelope(
            model.api_key_stream(key_id),
            1,
            ApiKeyIssued(key_id=key_id, digest=key_id * 32, role="cdc", region_code=region),
            META,
        )
        for key_id, region in regions.items()
    ]
    told.append(Envelope(model.api_key_stream("k2"), 2, ApiKeyRevoked(key_id="k2"), META))
    ledger.append(told)
    with closing(Runner(database.app_dsn)) as runner:
        runner.follow_once()
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


def test_given_a_revoked_key_when_keys_loaded_then_not_among_them(
    conn: psycopg.Connection[Any],
) -> None:
    assert [k.key_id for k in read_model.keys(conn)] == ["k1", "k3"]
    assert read_model.keys(conn)[0].digest == "k1" * 32


def test_given_keys_when_listed_then_pages_of_a_region(conn: psycopg.Connection[Any]) -> None:
    assert [k.key_id for k in read_model.key_list(conn, limit=2)] == ["k1", "k2"]
    assert [k.key_id for k in read_model.key_list(conn, after="k2", limit=2)] == ["k3"]
    assert [k.key_id for k in read_model.key_list(conn, region="6402", limit=9)] == ["k2", "k3"]
    found = read_model.key(conn, "k2")
    assert found is not None
    assert (found.revoked, found.version) == (True, 2)
    assert read_model.key(conn, "none") is None


def test_given_the_read_model_when_rebuilt_then_the_same_rows(
    ledger: Ledger, conn: psycopg.Connection[Any]
) -> None:
    assert rebuild.check(ledger, conn, rebuild.named("accounts")).same
