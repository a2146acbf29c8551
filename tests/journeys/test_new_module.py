"""`make module` on a copy of the project: nothing there is touched, all checks pass at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.instance import ROOT

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

STEM = "telemedicine"
NOT_COPIED = (
    ".git",
    ".venv",
    ".vaxtrail",
    ".hypothesis",
    ".pytest_cache",
    "__pycache__",
    ".coverage*",
)
AS = ["-c", "user.name=journey", "-c", "user.email=journey@invalid"]
# What every module is held by, beside its own tests.
HELD_BY = ["tests/test_shape.py", "tests/test_docs.py", "tests/store/test_golden_rows.py",
           "tests/api/test_messages.py",
           "-k", "not file_without_its_part"]  # which writes files of its own  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, under version control, and write a module into it."""
    folder = tmp_path_factory.mktemp("project") / "copy"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for words in (["init", "-q"], ["add", "-A"], [*AS, "commit", "-q", "-m", "Copy"]):
        done(folder, "git", *words)
    done(folder, sys.executable, "-m", "tests.scaffold", STEM)
    return folder


def test_given_a_new_module_when_compared_then_nothing_that_exists_was_touched(copy: Path) -> None:
    changes = done(copy, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert len(changes) > 10
    assert {change[:2] for change in changes} == {"??"}
    assert all(STEM in change for change in changes)


def test_given_a_new_module_when_checked_then_style_types_and_contracts_hold(copy: Path) -> None:
    new = done(copy, "git", "ls-files", "--others", "--exclude-standard", "*.py").split()
    done(copy, sys.executable, "-m", "ruff", "check", ".")
    done(copy, sys.executable, "-m", "ruff", "format", "--check", ".")
    done(copy, sys.executable, "-m", "mypy", *new)
    done(copy, str(Path(sys.executable).with_name("lint-imports")), "--no-logo")


def test_given_a_new_module_when_tested_then_its_tests_and_those_of_all_modules_pass(
    copy: Path,
) -> None:
    # A folder of its own: the run would close the one that all runs share to this one's broker.
    own = f"--basetemp={copy.with_name('pytest')}"
    told = done(copy, sys.executable, "-m", "pytest", "-v", own, f"tests/{STEM}", *HELD_BY)
    assert f"tests/{STEM}/test_{STEM}.py" in told
    assert f"tests/{STEM}/test_{STEM}_routes.py" in told
    assert " skipped" not in told.splitlines()[-1]


def done(folder: Path, *command: str) -> str:
    """Run a command in the copy, with the copy's own code, and return what it says."""
    left_out = ("VAXTRAIL_", "PYTEST_", "COV_", "COVERAGE_", "GIT_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**env, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    return ran.stdout
