"""How the regions are dealt to the workers of ingest: each region is in one lot.

A worker subscribes to the regions of its lot, so every message of a device goes to one worker. It
has two sessions at the broker: what devices send again from their memory comes in one of its own.
In one session the broker would let what happens now wait behind it: mosquitto has a single queue a
session, and NATS drops what exceeds a session's window, to send it again only `ack_wait` later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.topics import BACKFILL, filters

# What a worker adds to the name of its database session while it cannot do its work.
OFFLINE, BEHIND = "offline", "behind"


@dataclass(frozen=True, slots=True)
class Lot:
    """What one worker takes: its number, and its regions; none = all.

    `apart`: its backfill has a session of its own, as in every lot that is dealt.
    """

    worker: int = 0
    regions: tuple[str, ...] = ()
    apart: bool = True

    def sessions(self, client_id: str) -> dict[str, list[str]]:
        """Return the subscriptions of each session, by client id: the live one, then backfill's."""
        wanted = filters(self.regions)
        if not self.apart:
            return {client_id: wanted}
        backfill = [text for text in wanted if text.endswith(BACKFILL)]
        live = [text for text in wanted if text not in backfill]
        return {client_id: live, f"{client_id}-backfill": backfill}


def deal(regions: Sequence[str], workers: int) -> tuple[Lot, ...]:
    """Return the lots of `workers` workers: in turn, so the same regions are dealt the same.

    There must be as many regions as workers; without any there is one worker, for all.
    """
    named = sorted(set(regions))
    return tuple(Lot(n, tuple(named[n::workers])) for n in range(workers))
