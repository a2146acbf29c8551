"""What a person at the terminal is told: wrong usage, folders and databases out of reach."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import terminal
from runtime.terminal import say_where
from tests.runtime.instance import ROOT, Done, environment, run

CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Words of everyday speech that the glossary replaces by a term of its own.
NOT_OURS = re.compile("报警|场所|地点|存储|发货|收货|supervision code|traceability code")
SPEAKING = ("runtime", "simulators", "api/texts", "alerts/messages.py", "ingest/refusals.py")


def _told_twice(done: Done) -> None:
    zh, en = done.stderr.splitlines()
    assert CHINESE.search(zh)
    assert not CHINESE.search(en)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["nope"], "nope"),
        (["up", "--foo"], "--foo"),
        (["key", "create", "--role", "x", "--region", "640200"], "--role"),
        (["key", "create", "--region", "640200"], "--role"),
        (["health", "postgres"], "postgres"),
        (["quarantine", "replay", "x"], "ID"),
    ],
)
def test_given_wrong_usage_when_run_then_told_in_both_languages(
    tmp_path: Path, command: list[str], named: str
) -> None:
    done = run(tmp_path, *command)
    assert done.returncode == 2
    _told_twice(done)
    assert named in done.stderr


def test_given_no_command_when_run_then_the_help_is_shown(tmp_path: Path) -> None:
    done = run(tmp_path, "key")
    assert done.returncode == 2
    assert "revoke" in done.stdout
    assert done.stderr == ""


def test_given_a_folder_that_cannot_be_made_when_run_then_told_in_both_languages() -> None:
    done = run(Path("/proc/vaxtrail"), "up")
    assert done.returncode == 1
    _told_twice(done)
    assert "/proc/vaxtrail" in done.stderr


def test_given_no_database_when_asked_for_keys_then_told_in_both_languages(tmp_path: Path) -> None:
    done = run(tmp_path, "key", "list", VAXTRAIL_DATABASE_URL="postgresql://a:b@127.0.0.1:1/x")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert "数据库" in done.stderr


def test_given_a_fault_of_our_own_when_run_then_it_is_not_hidden() -> None:
    def faulty() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        terminal.run_told(faulty)


def test_given_an_own_database_when_backed_up_then_its_tools_are_named(tmp_path: Path) -> None:
    url = "postgresql://a:b@127.0.0.1:1/x"
    done = run(tmp_path, "backup", str(tmp_path / "b"), VAXTRAIL_DATABASE_URL=url)
    assert done.returncode == 1
    _told_twice(done)
    assert done.stderr.count("pg_basebackup") == done.stderr.count("pg_dump") == 2


def test_given_data_elsewhere_when_started_then_said_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say_where(tmp_path, tmp_path / "postgres" / "pgdata")
    assert capsys.readouterr().out == ""
    say_where(tmp_path / "closed", tmp_path / "open" / "pgdata")
    zh, en = capsys.readouterr().out.splitlines()
    assert str(tmp_path / "open" / "pgdata") in zh
    assert str(tmp_path / "open" / "pgdata") in en


def test_given_the_tree_when_loaded_then_nothing_that_would_keep_a_killed_one_away() -> None:
    program = "import sys, runtime.cli, runtime.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert not {"numpy", "store.logs", "runtime.cli_keys"} & set(done.stdout.decode().split())


def test_given_texts_for_people_when_read_then_they_use_the_words_of_the_glossary() -> None:
    files = [
        file
        for place in SPEAKING
        for file in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ]
    assert len(files) > 30
    found = {file.name: NOT_OURS.findall(file.read_text("utf-8")) for file in files}
    assert {name: words for name, words in found.items() if words} == {}
