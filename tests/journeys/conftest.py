"""One tree on real time, shared by the journeys that leave it running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulators.http import Api
from tests.journeys import tree
from tests.runtime.instance import Up, open_folder, running


@pytest.fixture(scope="package")
def up() -> Iterator[Up]:
    """Run one instance, from nothing, on real time; tests/conftest.py lists who shares it."""
    with open_folder() as folder, running(folder / "data") as started:
        yield started


@pytest.fixture(scope="package")
def api(up: Up) -> Iterator[Api]:
    """Give a client with an administrator's key."""
    with tree.api(up.data, up.instance["api_url"]) as client:
        yield client
