"""The embedded PostgreSQL: starts, survives kills, cleans up after its own kind, minds no other."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime import postgres, process
from runtime.account import left_behind
from runtime.postgres import PostgresServer, sized_settings
from runtime.process import alive, pids_working_in, wait_until
from tests.runtime.instance import ROOT, environment, open_folder

pytestmark = pytest.mark.database
NOBODY = pwd.getpwnam("nobody")
AS_NOBODY: Any = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another account")


@pytest.fixture
def data() -> Iterator[Path]:
    """Give a data folder every account may enter."""
    with open_folder() as folder:
        yield folder / "data"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Give such a folder to tests that leave a cluster as they found it: making one takes long."""
    with open_folder() as folder:
        yield folder / "data"


def _counted(server: PostgresServer) -> int:
    with psycopg.connect(server.owner_dsn) as conn:
        row = conn.execute("SELECT count(*) FROM kept").fetchone()
    return row[0] if row else -1


def test_given_committed_rows_when_killed_and_started_then_all_there(cluster: Path) -> None:
    server = PostgresServer(cluster)
    server.start()
    try:
        assert server.pid is not None
        if os.geteuid() == 0:
            assert os.stat(f"/proc/{server.pid}").st_uid != 0  # noqa: PTH116 - of a process
        with psycopg.connect(server.owner_dsn) as conn:
            assert conn.info.host == str(server.pgdata.parent)
            conn.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        port = server.port
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: not server.running, 5.0)
        server.start()
        assert server.port == port, "services keep the address they were given"
        assert _counted(server) == 1000
        # A supervisor that was killed left this one behind: the next takes the folder over.
        follower = PostgresServer(cluster)
        left = server.pid
        follower.start()
        assert not alive(left)
        assert _counted(follower) == 1000
        follower.stop()
        assert not list(pids_working_in(server.pgdata, "postgres"))
    finally:
        server.stop()


def test_given_killed_server_that_nobody_reaped_when_started_then_it_starts(cluster: Path) -> None:
    server, follower = PostgresServer(cluster), PostgresServer(cluster)
    server.start()
    pid = server.pid
    assert pid is not None
    try:
        os.kill(pid, signal.SIGKILL)  # it is this process's child, and stays one until asked for
        assert wait_until(lambda: not alive(pid), 5.0)
        assert Path(f"/proc/{pid}").exists()
        follower.start()
        assert follower.running
    finally:
        follower.stop()
        server.stop()


def test_given_stale_pid_file_of_another_process_when_started_then_that_one_is_left_alone(
    cluster: Path,
) -> None:
    server = PostgresServer(cluster)
    server.start()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as other:
        (server.pgdata / "postmaster.pid").write_text(f"{other.pid}\n{server.pgdata}\n0\n1\n\n\n\n")
        server.start()
        assert server.running
        assert other.poll() is None
        server.stop()
        other.kill()


@pytest.mark.parametrize("name", ["long" * 24, "a,b"])
def test_given_a_folder_unfit_for_a_socket_when_connected_then_by_loopback(
    cluster: Path, name: str
) -> None:
    server = PostgresServer(cluster.parent / name, port=5432)
    assert f"@{postgres.HOST}:5432/" in server.app_dsn


def test_given_two_folders_when_both_run_then_side_by_side(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = PostgresServer(data / "one"), PostgresServer(data / "two")
    try:
        one.start()
        found: list[int] = []

        def free_port(wanted: int | None = None) -> int:
            """Find a port that the first server takes before the other does."""
            found.append(process.free_port(wanted) if found else one.port)
            return found[-1]

        monkeypatch.setattr(postgres, "free_port", free_port)
        other.start()
        assert len(found) == 2
        assert one.port != other.port
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(one.app_dsn, host=postgres.HOST, port=other.port)
    finally:
        one.stop()
        other.stop()


@needs_root
def test_given_folder_closed_to_others_when_started_by_root_then_data_go_to_an_open_one(
    data: Path,
) -> None:
    closed = data / "closed"
    closed.mkdir(parents=True, mode=0o700)
    server = PostgresServer(closed / "data")
    try:
        server.start()
        assert server.running
        assert not server.pgdata.is_relative_to(closed)
        assert (closed / "data" / "elsewhere").readlink() in server.pgdata.parents
        assert closed.stat().st_mode & 0o077 == 0, "no permission was widened"
    finally:
        server.stop()
        elsewhere = (closed / "data" / "elsewhere").readlink()
        (closed / "data" / "elsewhere").unlink()
        assert elsewhere in left_behind()
        shutil.rmtree(elsewhere)


@needs_root
def test_given_ordinary_user_when_started_then_runs_under_that_account(data: Path) -> None:
    data.mkdir()
    os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
    program = (
        "import os, sys; from pathlib import Path; from runtime.postgres import PostgresServer\n"
        "s = PostgresServer(Path(sys.argv[1])); s.start()\n"
        "print(os.stat(f'/proc/{s.pid}').st_uid); s.stop()"
    )
    packages = str(Path(psycopg.__file__).parents[1])
    done = subprocess.run(
        [_python_for_all(), "-c", program, str(data / "mine")],
        **AS_NOBODY,
        env=environment(PYTHONPATH=f"{ROOT}:{packages}", HOME="/nonexistent"),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named" in done.stderr:
        pytest.skip("the project lies under a folder closed to others")
    assert done.stdout.strip() == str(NOBODY.pw_uid), done.stderr


def _python_for_all() -> str:
    """Return a Python of this version that every account may run; skip when there is none."""
    for program in (sys.executable, "/usr/bin/python3"):
        asked = subprocess.run(
            ["/bin/sh", "-c", f"{program} -c 'import sys; print(*sys.version_info[:2])'"],
            **AS_NOBODY,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.split() == [str(part) for part in sys.version_info[:2]]:
            return program
    pytest.skip("no Python of this version is open to other accounts")


@pytest.mark.parametrize("gib", [1, 4, 64])
def test_given_memory_when_sized_then_shared_buffers_leave_room(gib: int) -> None:
    settings = sized_settings(gib * 1024**3)
    assert 64 <= int(settings["shared_buffers"].removesuffix("MB")) <= min(2048, gib * 256)
