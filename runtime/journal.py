"""Scans made without the server: a local journal, and sending it later.

One line of JSON a scan, on disk (fsync) before it is acknowledged. Each has the id of its fact, so
whatever is sent again, after a crash or twice, is one fact. A line cut off by a crash was never
acknowledged; it stays where it is and is passed over. `FILE.sent` lists what the server has.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from domain.shared.ids import stream_id
from domain.traceability.scan import fact_from_scan, has_reason
from domain.traceability.times import UNEXPLAINED_MAX
from domain.vaccination.snapshot import Scanned

# What is told later than this is flagged as late.
LATE = timedelta(hours=24)
LATE_REASON = "离线补传 / from an offline journal"
_AFTERWARDS = {"opening", "dispensing", "wasting"}

Scan = dict[str, Any]
# Send one scan and return the status and the body of the answer.
Send = Callable[[Scan], tuple[int, dict[str, Any]]]


@dataclass(slots=True)
class Synced:
    """What became of a journal: counts, and what the server refused."""

    sent: int = 0
    known: int = 0
    late: int = 0
    waiting: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)


class Journal:
    """A file of scans; several processes may write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sent = path.with_name(f"{path.name}.sent")

    def append(self, scan: Scan) -> bool:
        """Put a scan on disk; False when its id is there already. DomainError for a bad scan."""
        about = {"site", "step", "codes", "fact_id", "at"}
        fact_from_scan(
            scan["step"],
            fact_id=scan["fact_id"],
            site_id=scan["site"],
            codes=scan["codes"],
            fields={name: value for name, value in scan.items() if name not in about},
        )
        with self._opened(self._path) as file:
            text = file.read()
            if any(known["fact_id"] == scan["fact_id"] for known in _read(text)):
                return False
            line = json.dumps(scan, ensure_ascii=False).encode() + b"\n"
            file.write(b"\n" + line if text and not text.endswith(b"\n") else line)
            _settle(file)
        return True

    def scans(self) -> list[Scan]:
        """Return every scan in the order in which it was put down."""
        if not self._path.exists():
            return []
        return list(_read(self._path.read_bytes()))

    def since(self) -> list[Scanned]:
        """Return what a check without the server must know of."""
        return [
            Scanned(
                code=code,
                step=scan["step"],
                at=datetime.fromisoformat(scan["at"]),
                doses=scan.get("doses"),
            )
            for scan in self.scans()
            if scan["step"] in _AFTERWARDS
            for code in scan["codes"]
        ]

    def sync(self, send: Send, now: datetime) -> Synced:
        """Send what the server does not have yet, in order; stop where it cannot be reached.

        A scan that is refused stays in the journal and is tried again the next time.
        """
        found = Synced()
        with self._opened(self._sent) as marks:
            done = set(marks.read().decode().split())
            waiting = [scan for scan in self.scans() if scan["fact_id"] not in done]
            for n, scan in enumerate(waiting):
                told = _told(scan, now)
                try:
                    status, body = send(told)
                except httpx.TransportError:
                    status, body = 0, {}
                if status in {200, 201}:
                    found.sent += status == httpx.codes.CREATED
                    found.known += status == httpx.codes.OK
                    found.late += now - datetime.fromisoformat(scan["at"]) > LATE
                    marks.write(f"{scan['fact_id']}\n".encode())
                    _settle(marks)
                elif 400 <= status < 500 and status not in {401, 408, 429}:
                    found.refused.append({"fact_id": scan["fact_id"], "problem": body})
                else:
                    found.waiting = len(waiting) - n
                    break
        return found

    @contextmanager
    def _opened(self, path: Path) -> Iterator[BinaryIO]:
        """Open a file for reading and adding, alone; a new one is in its folder for certain."""
        fresh = not path.exists()
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file
        if fresh:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def scan_id(scan: Scan) -> str:
    """Return an id made of what a scan says: the same said again is the same fact."""
    said = json.dumps(scan, ensure_ascii=False, sort_keys=True)
    return stream_id("vaccination.offline", said).hex


def _told(scan: Scan, now: datetime) -> Scan:
    late = now - datetime.fromisoformat(scan["at"]) > UNEXPLAINED_MAX
    if late and not has_reason(scan["step"]):
        return {**scan, "reason": LATE_REASON}
    return scan


def _read(text: bytes) -> Iterator[Scan]:
    for line in text.splitlines():
        try:
            scan = json.loads(line)
        except ValueError:
            continue
        if isinstance(scan, dict) and "fact_id" in scan:
            yield scan


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
