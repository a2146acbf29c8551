"""What processes cost: CPU time of whole trees, memory, read from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stats() -> dict[int, list[str]]:
    """Return of every process the fields of its stat that follow the name (state, ppid, …)."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:  # it has just ended
                continue
            found[int(entry.name)] = text[text.rindex(")") + 2 :].split()
    return found


def tree(root: int) -> list[int]:
    """Return a running process and its descendants."""
    return list(_tree(root, _stats()))


def _tree(root: int, stats: Mapping[int, list[str]]) -> Iterator[int]:
    todo = [root]
    while todo:
        pid = todo.pop()
        if pid in stats:
            yield pid
            todo += [child for child, fields in stats.items() if int(fields[1]) == pid]


def cpu_seconds(root: int) -> float:
    """Return user and system time of a process, its descendants and those that have ended."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][11:15])) for pid in _tree(root, stats)) / _TICKS


def memory_mb(root: int) -> float:
    """Return the proportional set size of a process and its descendants."""
    total_kb = 0
    for pid in _tree(root, _stats()):
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024


class Costs:
    """CPU of named processes since it was made, and the peak memory of `heavy`, one of them."""

    def __init__(self, pids: Mapping[str, int], heavy: str) -> None:
        self._pids = dict(pids)
        self._heavy = self._pids[heavy]
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        self.peak_mb = 0.0

    def look(self) -> None:
        """Note the memory in use now."""
        self.peak_mb = max(self.peak_mb, memory_mb(self._heavy))

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each."""
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
