"""The production compose file, held by its schema and by our own rules (no engine is needed)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml

from runtime import broker_nats
from runtime.account import broker_program
from runtime.cli import whole
from runtime.settings import Settings, load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNS_ONCE = {"migrate"}
# Settings of what is told to others: they stand in .env alone, and nothing is told without them.
OUTWARD = ("smtp_", "sms_", "wecom_", "dingtalk_", "feishu_", "push_", "webhook_", "platform_")


def test_given_the_file_when_validated_then_it_fits_the_compose_schema() -> None:
    schema = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"db": {"imagee": "x"}}}
    assert not validator.is_valid(broken)


def test_given_the_roles_when_listed_then_each_is_a_service_of_its_own() -> None:
    assert {"ingest", "project", "alert", "api"} <= SERVICES.keys()
    assert {"db", "broker", "prometheus", "grafana", "mail"} <= SERVICES.keys()
    for role in ("ingest", "project", "alert", "api", "migrate"):
        assert SERVICES[role]["command"] == [role]


@pytest.mark.parametrize("name", SERVICES)
def test_given_a_service_when_read_then_its_image_has_a_fixed_tag(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.search(r"\d+\.\d+", tag)
    assert tag != "latest"


@pytest.mark.parametrize("name", SERVICES)
def test_given_a_service_when_read_then_health_limits_and_restart(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"]
    assert limits["memory"]
    assert service["restart"]
    if name in RUNS_ONCE:
        assert service["restart"].startswith("on-failure")
    else:
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_given_a_published_port_when_read_then_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_given_passwords_when_read_then_none_has_a_default() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            for match in re.finditer(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", str(value)):
                assert match[2].startswith(":?"), f"{name}: {key}"
            if "PASSWORD" in key:
                assert str(value).startswith("${"), f"{name}: {key}"
            assert not re.search(r"://\w+:[^$@]+@", str(value)), f"{name}: {key}"


def test_given_our_commands_and_health_checks_when_parsed_then_the_program_knows_them() -> None:
    program = typer.main.get_command(whole())
    ours = [name for name, service in SERVICES.items() if "vaxtrail" in service["image"]]
    asked = [SERVICES[name]["command"] for name in ours]
    for name in ours:
        _, *test = SERVICES[name]["healthcheck"].get("test", ["CMD"])
        if test[:3] == ["python", "-m", "runtime.cli"]:
            assert test[3:] == ["health", name]
            asked.append(test[3:])
        elif test:
            assert test[:2] == ["python", "-c"]
            compile(test[2], name, "exec")
    assert len(asked) > len(ours)
    for words in asked:
        command = program.commands[words[0]]  # type: ignore[attr-defined]  # a group has them
        assert command.make_context(words[0], words[1:])


def test_given_mounted_files_when_looked_up_then_all_are_in_the_project() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["source"] == f"./deploy/{broker_nats.FILE}", "made by make-secrets.sh"
                assert volume["bind"] == {"create_host_path": False}
                continue
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists()


@pytest.mark.parametrize("name", ["ingest", "project", "alert", "api", "migrate"])
def test_given_our_environments_when_filled_in_then_the_program_accepts_them(name: str) -> None:
    given = SERVICES[name]["environment"]
    filled = {key: re.sub(r"\$\{\w+(:-([^}]*)|:\?[^}]*)\}", r"\2", v) for key, v in given.items()}
    assert load(filled).database_url


def test_given_channels_when_set_in_env_then_they_reach_the_processes() -> None:
    outward = [name for name in Settings.model_fields if name.startswith(OUTWARD)]
    assert len(outward) > 15
    for setting in (f"VAXTRAIL_{name.upper()}" for name in outward):
        assert COMPOSE["x-app"]["environment"][setting].startswith(f"${{{setting}:-")


def test_given_accounts_when_tracked_files_are_listed_then_they_are_not_among_them() -> None:
    for ignoring in (".gitignore", ".dockerignore"):
        listed = (ROOT / ignoring).read_text("utf-8").splitlines()
        assert {".env", f"deploy/{broker_nats.FILE}"} <= set(listed)


def test_given_only_the_owner_when_read_then_only_migrations_know_its_password() -> None:
    knowing = {
        name
        for name, service in SERVICES.items()
        if "OWNER" in json.dumps(service.get("environment", {}))
    }
    assert knowing == {"db", "migrate"}


def test_given_no_secrets_when_made_then_random_and_private_and_never_overwritten(
    tmp_path: Path,
) -> None:
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy" / "make-secrets.sh"
    script.write_text((ROOT / "deploy" / "make-secrets.sh").read_text("utf-8"), "utf-8")
    subprocess.run(["sh", script], check=True, capture_output=True)
    made, users = tmp_path / ".env", tmp_path / "deploy" / broker_nats.FILE
    assert (made.stat().st_mode | users.stat().st_mode) & 0o077 == 0
    broker_nats.write(tmp_path / "registry", [], certificates=False)
    assert users.read_text() == (tmp_path / "registry" / broker_nats.FILE).read_text()
    users.write_text("of the registry")
    found = dict(line.split("=") for line in made.read_text().splitlines())
    wanted = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text("utf-8")))
    assert set(found) == wanted
    assert len(set(found.values())) == len(found)
    assert all(len(value) == 48 for value in found.values())
    again = subprocess.run(["sh", script], check=False, capture_output=True)
    assert again.returncode == 1
    assert dict(line.split("=") for line in made.read_text().splitlines()) == found
    assert users.read_text() == "of the registry"
    users.unlink()
    assert subprocess.run(["sh", script], check=False, capture_output=True).returncode == 1
    assert users.exists(), "made where an installation of before has none"


@pytest.mark.parametrize(("kept", "status"), [(None, 0), (0, 1), (30, 1)])
def test_given_users_cut_short_when_the_broker_reads_them_then_not_open_to_all(
    tmp_path: Path, kept: int | None, status: int
) -> None:
    shutil.copy(ROOT / "deploy" / "nats.conf", tmp_path)
    broker_nats.write(tmp_path, [], certificates=False)
    users = tmp_path / broker_nats.FILE
    users.write_text(users.read_text()[:kept])
    done = subprocess.run(
        [broker_program(None), "-t", "-c", tmp_path / "nats.conf"],
        env={"VAXTRAIL_BROKER_PASSWORD": "for-server"},
        check=False,
        capture_output=True,
    )
    assert done.returncode == status, done.stderr


def test_given_the_dashboard_when_read_then_it_asks_for_metrics_we_have() -> None:
    board = json.loads((ROOT / "deploy/grafana/dashboards/vaxtrail.json").read_text("utf-8"))
    asked = set(re.findall(r"vaxtrail_\w+", json.dumps(board)))
    sources = "".join(
        file.read_text("utf-8")
        for name in ("alerts", "api", "ingest", "projections", "runtime")
        for file in (ROOT / name).rglob("*.py")
    )
    assert asked
    for metric in asked:
        base = re.sub(r"_(total|bucket|sum|count)$", "", metric)
        assert f'"{base}"' in sources or f'"{metric}"' in sources, metric
