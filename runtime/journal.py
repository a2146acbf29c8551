"""Scans made without the server: a local journal, and sending it later.

One line of JSON a scan, on disk (fsync) before it is acknowledged. Each has the id of its fact, so
whatever is sent again, after a crash or twice, is one fact. A line cut off by a crash was never
acknowledged: the next one takes its place. `FILE.sent` lists what the server has, and since when.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from domain.shared.errors import Invalid
from domain.shared.ids import stream_id
from domain.traceability.model import checked_fact_id
from domain.traceability.scan import fact_from_scan, has_reason
from domain.traceability.times import UNEXPLAINED_MAX
from domain.vaccination.snapshot import Scanned

# What is told later than this is flagged as late.
LATE = timedelta(hours=24)
LATE_REASON = "离线补传 / from an offline journal"
# What another try of the same may mend, among the statuses that refuse: unauthorized, timeout,
# locked, too early, too many.
_TRY_AGAIN = {401, 408, 423, 425, 429}
UNREADABLE = {
    "code": "unreadable_line",
    "title_zh": "离线记录中这一行无法读取，请人工核对并补录",
    "title_en": "This line of the journal cannot be read; look into it and record it again.",
}

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
            fact_id=checked_fact_id(scan["fact_id"]),
            site_id=scan["site"],
            codes=scan["codes"],
            fields={name: value for name, value in scan.items() if name not in about},
        )
        if _moment(scan.get("at")) is None:
            raise Invalid("bad_field", field="at")
        with self._opened(self._path) as file:
            known, _ = _read(_mended(file, _scan))
            if any(each["fact_id"] == scan["fact_id"] for each in known):
                return False
            file.write(json.dumps(scan, ensure_ascii=False).encode() + b"\n")
            _settle(file)
        return True

    def scans(self) -> list[Scan]:
        """Return every scan in the order in which it was put down."""
        return _read(_whole(self._path))[0]

    def since(self) -> list[Scanned]:
        """Return what a check without the server must know of; the snapshot tells what it knew."""
        sent = _marks(_whole(self._sent))
        return [
            Scanned(
                code=code,
                lot_id=str(scan.get("lot", "")),
                step=scan["step"],
                at=datetime.fromisoformat(scan["at"]),
                doses=scan.get("doses"),
                sent_at=sent.get(scan["fact_id"]),
            )
            for scan in self.scans()
            for code in scan["codes"] or [""]
        ]

    def sync(self, send: Send, now: datetime) -> Synced:
        """Send what the server does not have yet, in order; stop where it cannot be reached.

        A scan that is refused stays in the journal and is tried again the next time.
        """
        scans, unreadable = _read(_whole(self._path))
        found = Synced(refused=[{"fact_id": n, "problem": UNREADABLE} for n in unreadable])
        with self._opened(self._sent) as marks:
            done = _marks(_mended(marks, _mark))
            waiting = [scan for scan in scans if scan["fact_id"] not in done]
            for n, scan in enumerate(waiting):
                try:
                    status, body = send(_told(scan, now))
                except (httpx.HTTPError, httpx.InvalidURL):
                    status, body = 0, {}
                if status in {200, 201}:
                    found.sent += status == httpx.codes.CREATED
                    found.known += status == httpx.codes.OK
                    found.late += now - datetime.fromisoformat(scan["at"]) > LATE
                    marks.write(f"{scan['fact_id']} {now.isoformat()}\n".encode())
                    _settle(marks)
                elif 400 <= status < 500 and status not in _TRY_AGAIN:
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
    at = datetime.fromisoformat(scan["at"]).astimezone(UTC).isoformat()
    said = json.dumps({**scan, "at": at}, ensure_ascii=False, sort_keys=True)
    return stream_id("vaccination.offline", said).hex


def _told(scan: Scan, now: datetime) -> Scan:
    late = now - datetime.fromisoformat(scan["at"]) > UNEXPLAINED_MAX
    if late and not has_reason(scan["step"]):
        return {**scan, "reason": LATE_REASON}
    return scan


def _read(text: bytes) -> tuple[list[Scan], list[str]]:
    """Return the scans of a journal and the names of the lines that are none."""
    scans, unreadable = list[Scan](), list[str]()
    for number, line in enumerate(text.split(b"\n"), start=1):
        scan = _scan(line)
        if scan is not None:
            scans.append(scan)
        elif line.strip():
            unreadable.append(f"#{number}")
    return scans, unreadable


def _scan(line: bytes) -> Scan | None:
    try:
        scan = json.loads(line)
    except ValueError:
        return None
    if not isinstance(scan, dict) or not isinstance(scan.get("codes"), list):
        return None
    texts = [scan.get(name) for name in ("fact_id", "step", "site")] + scan["codes"]
    readable = all(isinstance(text, str) for text in texts) and _moment(scan.get("at"))
    return scan if readable else None


def _marks(text: bytes) -> dict[str, datetime]:
    """Return the ids that the server has, and when it took them."""
    return dict(filter(None, map(_mark, text.split(b"\n"))))


def _mark(line: bytes) -> tuple[str, datetime] | None:
    fact_id, _, at = line.decode(errors="replace").partition(" ")
    sent_at = _moment(at)
    return None if sent_at is None else (fact_id, sent_at)


def _moment(text: object) -> datetime | None:
    """Return a time with its offset; None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def _whole(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _mended(file: BinaryIO, read: Callable[[bytes], object]) -> bytes:
    """Return a file's lines; end the last one where a crash has not, or cut off the piece of it."""
    text = file.read()
    lines, newline, last = text.rpartition(b"\n")
    if not last:
        return text
    if read(last):
        file.write(b"\n")
        return text + b"\n"
    file.truncate(len(lines + newline))
    return lines + newline


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
