"""What a log shows of an error: where it happened, never what the variables held."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.runtime.instance import ROOT, environment

KEY = "vt_shown_to_nobody"
PROGRAM = f"""
import structlog
from runtime import log

def handle(authorization: str) -> None:
    raise ValueError("boom")

log.configure("api", style={{style!r}}, level="info")
try:
    handle("Bearer " + "{KEY}")
except ValueError as error:
    structlog.get_logger("x").error("request_failed", exc_info=error)
"""


@pytest.mark.parametrize("style", ["console", "json"])
def test_given_error_with_a_key_in_a_variable_when_logged_then_the_key_is_not_shown(
    style: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(style=style)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ValueError: boom" in done.stderr
    assert "in handle" in done.stderr
    assert KEY not in done.stderr
