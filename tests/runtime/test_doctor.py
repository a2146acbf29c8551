"""The doctor: finds what is wrong with a machine and names the mend in both languages."""

from __future__ import annotations

import json
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime import account, broker_access, broker_tls, doctor
from runtime.account import SHARED_HOME
from runtime.broker_access import Access
from runtime.doctor import Finding
from runtime.folder import Instance, write_instance
from runtime.settings import Settings, load
from tests.runtime.instance import run


def _found(settings: Settings, name: str) -> Finding:
    return next(finding for finding in doctor.examine(settings) if finding.name == name)


def test_given_sound_machine_when_examined_then_every_look_is_told_twice(tmp_path: Path) -> None:
    findings = list(doctor.examine(load({}, data=tmp_path / "data")))
    assert {f.name for f in findings} >= {"python", "venv", "glibc", "null device", "postgres"}
    assert all(f.zh and f.en for f in findings)
    assert all(f.ok for f in findings if f.name in {"python", "postgres", "broker", "null device"})
    assert "✓ broker" in run(tmp_path / "data", "doctor").stdout


def test_given_null_device_replaced_by_a_file_when_examined_then_the_mend_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "null"
    plain.touch()
    monkeypatch.setattr(doctor, "NULL_DEVICE", plain)
    finding = _found(load({}), "null device")
    assert not finding.ok
    assert "mknod" in finding.zh
    assert "mknod" in finding.en


def test_given_port_in_use_when_examined_then_named_by_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = _found(load({"VAXTRAIL_API_PORT": str(port)}), "ports")
    assert not finding.ok
    assert f"VAXTRAIL_API_PORT {port}" in finding.en


def test_given_many_folders_left_behind_when_examined_then_counted_and_removed_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "left_behind", lambda: [tmp_path / str(n) for n in range(100)])
    finding = _found(load({}), "left behind")
    assert "100" in finding.zh
    assert len(finding.zh + finding.en) < 500
    for name in ("kept", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data-folder").write_text(str(tmp_path / f"data-{name}"))
    (tmp_path / "data-kept").mkdir()
    (tmp_path / "data-kept" / "elsewhere").symlink_to(tmp_path / "kept")
    command = doctor.LEFT_REMOVED_BY.replace(str(SHARED_HOME), str(tmp_path))
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert (tmp_path / "kept").exists()
    assert not (tmp_path / "gone").exists()


def test_given_a_folder_that_used_the_shared_account_when_it_is_closed_then_the_mend_is_named(
    tmp_path: Path,
) -> None:
    assert _found(load({}, data=tmp_path), "shared account").ok, "a new folder"
    account.secret(tmp_path, "mqtt_gateway")
    finding = _found(load({}, data=tmp_path), "shared account")
    assert not finding.ok
    for text in (finding.zh, finding.en):
        assert "VAXTRAIL_MQTT_SHARED_ACCOUNT=true" in text
        assert "vaxtrail gateway credentials" in text
    for settings in ({"VAXTRAIL_MQTT_SHARED_ACCOUNT": "true"}, {"VAXTRAIL_MQTT_URL": "mqtt://b"}):
        assert _found(load(settings, data=tmp_path), "shared account").ok
    with broker_access.changed(tmp_path) as accounts:
        accounts["g1"] = Access("g1", "640202", "s1")
    assert _found(load({}, data=tmp_path), "shared account").ok, "somebody sees to it"


def test_given_certificates_that_cannot_be_used_when_examined_then_told(tmp_path: Path) -> None:
    settings = load({"VAXTRAIL_MQTT_TLS": str(tmp_path / "tls")})
    for folder in ("tls", "other"):
        broker_tls.init(tmp_path / folder, [], datetime.now(UTC))
    assert _found(settings, "certificate").ok
    key = (tmp_path / "other" / "broker.key").read_text()
    for file, text in (("broker.key", key), ("broker.key", "none"), ("broker.crt", "\0\xff")):
        before = (tmp_path / "tls" / file).read_text()
        (tmp_path / "tls" / file).write_text(text)
        finding = _found(settings, "certificate")
        assert not finding.ok
        assert "tls init" in finding.zh
        assert "tls init" in finding.en
        (tmp_path / "tls" / file).write_text(before)
    assert _found(settings, "certificate").ok


def test_given_full_disk_when_examined_then_not_ok() -> None:
    assert not _found(load({"VAXTRAIL_DISK_FREE_MIN_PCT": "99.99"}), "disk").ok


def test_given_settings_when_shown_then_secrets_are_not(tmp_path: Path) -> None:
    hidden = {"VAXTRAIL_SMTP_URL": "smtp://a:hidden@b", "VAXTRAIL_PLATFORM_SECRET": "hidden too"}
    shown = run(tmp_path, "config", "show", **hidden)
    assert "hidden" not in shown.stdout
    assert "api_host" in shown.stdout
    assert "# api_port" in run(tmp_path, "config", "template").stdout
    assert run(tmp_path, "config", "show", VAXTRAIL_NONSENSE="1").returncode == 1
    assert run(tmp_path, "status").returncode == 3
    assert run(tmp_path, "db", "status").returncode == 3


def test_given_another_accounts_closed_folder_when_left_ones_are_sought_then_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in (("closed", "closed-data"), ("left", "gone")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data-folder").write_text(str(tmp_path / data))
    monkeypatch.setattr(account, "SHARED_HOME", tmp_path)
    seen = Path.is_symlink

    def closed(path: Path) -> bool:
        if "closed-data" in path.parts:
            raise PermissionError(path)
        return seen(path)

    monkeypatch.setattr(Path, "is_symlink", closed)
    assert account.left_behind() == [tmp_path / "left"]


def test_given_an_instance_with_too_few_people_when_examined_then_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"warnings": {"alert_floor": "2 个站点不足三人 / alerts of 2 sites reach too few"}}
    monkeypatch.setattr(doctor, "ask", lambda url, seconds: json.dumps(told).encode())
    assert "不足三人" not in _found(load({}, data=tmp_path), "people").zh
    write_instance(tmp_path, Instance(pid=1, api_url="http://127.0.0.1:1"))
    finding = _found(load({}, data=tmp_path), "people")
    assert finding.ok  # it keeps nothing from work
    assert "不足三人" in finding.zh
    assert finding.en == "mind: alerts of 2 sites reach too few: put people on duty"
