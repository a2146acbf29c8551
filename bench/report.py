"""What a measurement found: as a table for people, as JSON for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, Any]


@dataclass(kw_only=True)
class Report:
    """One work. `product` and each peer: figures by name; `limits`: one figure each.

    `ratio_best_peer`, `ratio_limit`: the product's rate over the best peer's and over `limit`, None
    where there is none. `runs`: every single run, as measured. `notes`: lines to be read with it.
    """

    work: str
    product: Figures
    peers: dict[str, Figures] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    ratio_best_peer: float | None = None
    ratio_limit: float | None = None
    runs: list[Figures] = field(default_factory=list)
    machine: Figures = field(default_factory=dict)
    setting: Figures = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = self.machine or machine()

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")

    def text(self) -> str:
        """Return it as Markdown."""
        told = [f"**{self.work}** · {_listed(self.setting)}", "", *self._table(), ""]
        told += [f"- {name}: {_number(value)}" for name, value in self.limits.items()]
        if self.ratio_best_peer is not None:
            told.append(f"- product / best peer: **{self.ratio_best_peer:.2f}**")
        if self.ratio_limit is not None:
            told.append(f"- product / limit: **{self.ratio_limit:.2f}**")
        told += [f"- {note}" for note in self.notes]
        return "\n".join([*told, f"- {_listed(self.machine)}"])

    def _table(self) -> list[str]:
        rows = {"product": self.product, **self.peers}
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines = [["", *names], ["---"] * (len(names) + 1)]
        lines += [[who, *(_number(row.get(name)) for name in names)] for who, row in rows.items()]
        return [f"| {' | '.join(line)} |" for line in lines]


def machine() -> Figures:
    """Return what was measured on, and when."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def medians(runs: Sequence[Mapping[str, Any]]) -> Figures:
    """Return the medians of the figures of some runs, those inside figures as well."""
    found: Figures = {}
    for name, value in runs[0].items():
        if isinstance(value, Mapping):
            found[name] = medians([run[name] for run in runs])
        elif isinstance(value, int | float):
            found[name] = median(run[name] for run in runs)
    return found


def ratio(one: float, other: float) -> float | None:
    """Return how many times `other` goes into `one`, None where there is no other."""
    return round(one / other, 3) if other else None


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _listed(figures: Figures) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())


def _number(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_number(part)}" for name, part in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)
