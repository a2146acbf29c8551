"""How the regions are dealt to the workers of ingest: each region is in one lot.

A worker subscribes to the regions of its lot, so every message of a device goes to one worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What a worker adds to the name of its database session while it cannot do its work.
OFFLINE, BEHIND = "offline", "behind"


@dataclass(frozen=True, slots=True)
class Lot:
    """What one worker takes: its number, and its regions; none = all."""

    worker: int = 0
    regions: tuple[str, ...] = ()


def deal(regions: Sequence[str], workers: int) -> tuple[Lot, ...]:
    """Return the lots of `workers` workers: in turn, so the same regions are dealt the same.

    There must be as many regions as workers; without any there is one worker, for all.
    """
    named = sorted(set(regions))
    return tuple(Lot(n, tuple(named[n::workers])) for n in range(workers))
