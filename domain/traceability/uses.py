"""What was wrong when a dose was given: expired, recalled, held, opened too long ago.

Read off the whole chain of a code, its lot's holds included. The dose stays on record whatever is
found (accept and flag).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from domain.traceability.facts import Fact, Step
from domain.traceability.progress import Entry, Flag, hold, release

# An expiry is a day in China: the vaccine may be used until its end.
ZONE = ZoneInfo("Asia/Shanghai")
MINUTE_MS = 60_000


def flags_of_uses(
    chain: Sequence[Entry], *, opened_limit_min: int | None, expires_on: date | None
) -> dict[str, set[Flag]]:
    """Return the flags of the doses in a chain by fact id; None = no limit is known.

    A dose of a code that is held is an ILLEGAL_STATE, of a recalled one RECALLED. The limit after
    opening runs from the opening or the first dose, whichever is known to come first.
    """
    found: dict[str, set[Flag]] = defaultdict(set)
    holds = _Holds()
    opened_ms: int | None = None
    for entry in chain:
        fact = entry.fact
        if fact.step in {Step.OPENING, Step.DISPENSING} and opened_ms is None:
            opened_ms = fact.t_ms
        if fact.step is Step.DISPENSING and not entry.inherited:
            flags = holds.flags()
            if expires_on is not None and _day(fact) > expires_on:
                flags.add(Flag.EXPIRED)
            if opened_limit_min is not None and opened_ms is not None:
                overrun = fact.t_ms - opened_ms > opened_limit_min * MINUTE_MS
                flags |= {Flag.OPEN_VIAL_OVERRUN} if overrun else set()
            if flags:
                found[fact.fact_id] |= flags
        holds.take(entry)
    return dict(found)


@dataclass(slots=True)
class _Holds:
    """What binds a code at one moment: holds by way of codes, and the hold of its lot."""

    by_code: dict[int, bool] = field(default_factory=dict)
    lot: bool | None = None  # is it a recall; None = no hold

    def take(self, entry: Entry) -> None:
        fact = entry.fact
        match fact.step, bool(fact.lot_id):
            case Step.HOLDING, True:
                self.lot = fact.recall or bool(self.lot)
            case Step.RELEASING, True:
                self.lot = None
            case Step.HOLDING, False:
                hold(self.by_code, entry.via, recall=fact.recall)
            case Step.RELEASING, False:
                via = entry.via if entry.inherited else None
                release(self.by_code, via, recall=fact.recall)
            case Step.RECEIVING, _ if not fact.accepted:
                hold(self.by_code, entry.via, recall=False)

    def flags(self) -> set[Flag]:
        if self.lot or any(self.by_code.values()):
            return {Flag.RECALLED}
        return {Flag.ILLEGAL_STATE} if self.lot is not None or self.by_code else set()


def _day(fact: Fact) -> date:
    return datetime.fromtimestamp(fact.t_ms / 1000, UTC).astimezone(ZONE).date()
