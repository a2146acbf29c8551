"""The data folder: one owner, one kind of clock, private files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime import folder
from runtime.disk import DiskGuard
from runtime.refusal import Refusal


def test_given_owned_folder_when_owned_again_then_refusal_names_the_holder(tmp_path: Path) -> None:
    with folder.owned(tmp_path):
        assert folder.holder(tmp_path) == os.getpid()
        with pytest.raises(Refusal, match=str(os.getpid())), folder.owned(tmp_path, seconds=0):
            pass
    assert folder.holder(tmp_path) is None
    with folder.owned(tmp_path):
        pass


@pytest.mark.parametrize(("first", "then"), [("real", "stepped"), ("stepped", "real")])
def test_given_folder_begun_with_one_clock_when_begun_with_another_then_refusal(
    tmp_path: Path, first: str, then: str
) -> None:
    folder.begin(tmp_path, first)
    folder.begin(tmp_path, first)
    with pytest.raises(Refusal, match=then):
        folder.begin(tmp_path, then)
    assert folder.clock_kind(tmp_path, then) == first


def test_given_instance_written_when_its_owner_is_gone_then_it_does_not_run(tmp_path: Path) -> None:
    folder.write_instance(tmp_path, folder.Instance(pid=os.getpid(), ports={"api": 1}))
    assert stat.S_IMODE((tmp_path / "instance.json").stat().st_mode) == 0o600
    assert folder.last_instance(tmp_path) is not None
    with pytest.raises(Refusal):
        folder.running_instance(tmp_path)
    with folder.owned(tmp_path):
        assert folder.running_instance(tmp_path).ports == {"api": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_given_links_in_a_folder_of_the_servers_account_when_files_go_there_then_not_followed(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for name in ("nats.conf", f".nats.conf.{os.getpid()}"):
        (home / name).symlink_to(mine)
    folder.write_private(home / "nats.conf", "new", (65534, 65534))
    written = (home / "nats.conf").lstat()
    assert (written.st_uid, written.st_gid, stat.filemode(written.st_mode)) == (
        65534,
        65534,
        "-rw-------",
    )
    assert (mine.read_text(), mine.stat().st_uid) == ("mine", 0)


def test_given_disk_nearly_full_when_asked_then_intake_stops_and_goes_on_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"pct": 4.9}
    guard = DiskGuard([tmp_path, tmp_path / "absent"], 5.0, measure=lambda _: left["pct"])
    assert not guard()
    left["pct"] = 5.1
    assert not guard(), "a look is good for a second"
    monkeypatch.setattr("runtime.disk.AGE_SECONDS", 0.0)
    assert guard()
    assert DiskGuard([tmp_path], 0.0)()
