"""The OpenAPI document is complete and true: schemathesis plays it as administrator and county."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from domain.shared.roles import Role
from tests.api.world import build
from tests.conftest import Database
from tests.runtime.instance import untraced
from tests.served import Api

SEED = "20261122"
# Examples an operation in the fuzzing phase; beside those of the other phases.
EXAMPLES = "1"


@pytest.fixture(scope="module", autouse=True)
def _world(api: Api) -> None:
    with api.client() as client:
        build(client)


@pytest.mark.timeout(300)
@pytest.mark.no_cover  # of some ten thousand requests
@pytest.mark.parametrize(
    ("role", "region", "phases", "mode"),
    [
        (Role.ADMIN, "000000", "examples,coverage,fuzzing", "all"),
        # What is malformed is played by the administrator: a role is looked at before anything else
        # (test_requests asks every route), so whoever passes is refused by the same validation, and
        # who does not by 403. A region is looked at only in what passed it: of that all is played.
        (Role.CDC, "640202", "examples,coverage", "positive"),
    ],
)
def test_given_the_whole_api_when_played_by_its_schema_then_no_failure(
    api: Api,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    role: Role,
    region: str,
    phases: str,
    mode: str,
) -> None:
    # The example of `Prefer` is played with every command; nothing here needs its read model.
    monkeypatch.setattr("api.commands.WAIT_S_MAX", 0)
    program = Path(sys.executable).with_name("schemathesis")
    config = Path(__file__).with_name("schemathesis.toml")
    done = subprocess.run(
        [
            *(program, "--config-file", config, "run", f"{api.url}/api/v1/openapi.json"),
            *("--seed", SEED, "--max-examples", EXAMPLES),
            *("--header", f"Authorization: Bearer {api.key(role, region)}", "--no-color"),
            *("--phases", phases, "--mode", mode),
            # The player may find its own key in the list; other tests revoke keys.
            *("--exclude-operation-id", "revoke_key"),
            # A stream has no end: test_live follows it.
            *("--exclude-operation-id", "follow_alerts"),
        ],
        # One thread: Python 3.11 cannot parse source in two at once, which the player does.
        env=untraced(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    # Whatever was taken in, the read models could take too.
    api.followed(api.deps.ledger.last_position())
    assert database.query("SELECT follower, topic, error FROM dead_letter LIMIT 5") == []
