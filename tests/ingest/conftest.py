"""What most tests of ingest begin with: a worker that knows the field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingest.worker import Worker
from store.logs import Ledger
from tests.conftest import Database, ManualClock
from tests.ingest import field


@pytest.fixture
def worker(database: Database, ledger: Ledger, clock: ManualClock) -> Iterator[Worker]:
    """Give a worker on a database whose registry knows the site."""
    field.register(ledger)
    made = field.started(database.app_dsn, clock)
    yield made
    made.close()


@pytest.fixture
def device(ledger: Ledger) -> str:
    """Register a device of the test's own and give its id."""
    return field.new_device(ledger)
