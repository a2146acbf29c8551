"""The real parts, started once a session: PostgreSQL, brokers, the shared test data."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import is_hypothesis_test, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo
from xdist.scheduler import LoadFileScheduling

from domain.shared.errors import Conflict
from projections.discovery import schemas
from runtime.broker import BrokerServer
from runtime.postgres import PostgresServer
from store.logs import Ledger, Telemetry
from store.migrate import migrate

pytest_plugins = ["tests.served"]

# Everybody's examples are the same, so that what fails anywhere fails everywhere, and what a gate
# needs is not drawn by chance. `make search` draws others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
UNSAFE = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"}
# Journeys whose tests use the tree of their package.
ON_ONE_TREE = [
    f"tests/journeys/test_{n}.py" for n in ("bad_input", "capture_chain", "real_loggers")
]
LONG_MARKS = ("journey", "timeout")
_numbers = count(1)


class ManualClock:
    """A clock that a test moves."""

    stepped = True

    def __init__(self, now: datetime = START) -> None:
        self._now = self._ticked = now

    def now(self) -> datetime:
        """Return the moment set last."""
        return self._now

    def set(self, now: datetime) -> None:
        """Move forward; never back."""
        if now < self._now:
            raise Conflict("clock_backwards")
        self._now = now

    def advance(self, **delta: float) -> datetime:
        """Move forward by timedelta(**delta) and return the new moment."""
        self.set(self._now + timedelta(**delta))
        return self._now

    def ticked(self, now: datetime) -> None:
        """Remember the last tick."""
        self._ticked = now

    def last_tick(self) -> datetime:
        """Return the last tick."""
        return self._ticked


@dataclass(frozen=True)
class Database:
    """A migrated database of a test module's own."""

    name: str
    app_dsn: str
    owner_dsn: str

    def query(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        """Run one statement as the application role and return its rows."""
        with psycopg.connect(self.app_dsn, autocommit=True) as conn:
            found = conn.execute(text.encode(), params)
            return found.fetchall() if found.description else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server by the fixtures it asks for, so nobody can forget.

    Files that take long come first, so that no worker idles at the end: those whose tests run the
    whole product, or may take longer than others; then those that use a server.
    """
    for item in items:
        for name, fixture in (("database", "postgres"), ("broker", "broker")):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(name)
    marks = [LONG_MARKS, ("database", "broker")]
    groups = [{i.path for i in items if any(map(i.get_closest_marker, of))} for of in marks]
    items.sort(key=lambda item: [item.path not in group for group in groups])
    leave_uncounted(items)


def leave_uncounted(items: list[pytest.Item]) -> None:
    """Look at no coverage where examples are drawn, and with a database at the first seed alone.

    Counting takes longer than the tests themselves, and no gate shall rest on what is drawn.
    """
    seeded = set[tuple[Path, str]]()
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        test = (item.path, item.originalname)
        if is_hypothesis_test(item.obj) or test in seeded:
            item.add_marker("no_cover")
        seeds = hasattr(item, "callspec") and "seed" in item.callspec.params
        if seeds and item.get_closest_marker("database"):
            seeded.add(test)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal files to workers; all whose tests share a tree to one: starting it takes longest."""
    if config.getvalue("dist") != "loadfile":
        return None
    dealt = LoadFileScheduling(config, log)
    of_file = dealt._split_scope
    dealt._split_scope = lambda test: "tree" if (f := of_file(test)) in ON_ONE_TREE else f
    return dealt


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Start the embedded server: small, and unsafe, as nothing here survives a power cut anyway."""
    data = tmp_path_factory.mktemp("postgres")
    open_path(data)
    server = PostgresServer(data, settings=UNSAFE | {"max_connections": "200"})
    server.start()
    yield server
    server.stop()


def open_path(folder: Path) -> None:
    """Let the server's account reach a temporary folder (pytest closes its own to others)."""
    for parent in [folder, *folder.parents]:
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)


def create_database(postgres: PostgresServer, *, prepared: bool = True) -> Database:
    """Make a database owned by the owner role; `prepared` = migrated, with room for read models."""
    return _copy(postgres, _prepared(postgres).name if prepared else "template1")


@cache
def _prepared(postgres: PostgresServer) -> Database:
    """Migrate a database once a server: a copy of it costs a fraction of that."""
    made = _copy(postgres, "template1")
    migrate(made.owner_dsn, schemas=schemas())
    return made


def _copy(postgres: PostgresServer, template: str) -> Database:
    name = f"test_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} OWNER vaxtrail_owner TEMPLATE {}")
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as conn:
        conn.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return Database(
        name,
        make_conninfo(postgres.app_dsn, dbname=name),
        make_conninfo(postgres.owner_dsn, dbname=name),
    )


def drop_database(postgres: PostgresServer, database: Database) -> None:
    """Remove a database, whoever is still connected."""
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as conn:
        name = sql.Identifier(database.name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Database]:
    """Give each test module a migrated database of its own."""
    made = create_database(postgres)
    yield made
    drop_database(postgres, made)


@pytest.fixture(scope="module")
def ledger(database: Database) -> Iterator[Ledger]:
    """Open the ledger of the module's database as the application role."""
    log = Ledger(database.app_dsn)
    yield log
    log.close()


@pytest.fixture(scope="module")
def telemetry(database: Database) -> Iterator[Telemetry]:
    """Open the telemetry log of the module's database as the application role."""
    log = Telemetry(database.app_dsn)
    yield log
    log.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """Start the embedded broker; syncing by interval, as no test cuts the power."""
    data = tmp_path_factory.mktemp("broker")
    open_path(data)
    server = BrokerServer(data, sync="interval", shared=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start mosquitto, where it is installed, and give its URL."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    config = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n"
        "max_queued_messages 0\npersistence false\nuser root\n"
    )
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield f"mqtt://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Find the shared standards and designs, beside the project unless VAXTRAIL_SHARED says."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("VAXTRAIL_SHARED", default))
    if not (folder / "standards").is_dir():
        pytest.skip(f"shared test data not found at {folder} (set VAXTRAIL_SHARED)")
    return folder


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands at 2026-03-02 08:00 in Shizuishan."""
    return ManualClock()


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Wait until something listens on a loopback port."""
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")
