"""What an alert means for goods: which were affected, which are held for it, what people decided.

Stream: `alerting.stock` (alert_id). Nothing here ends a hold but a person's assessment: neither the
end of the alert, nor its withdrawal, nor facts that show that goods were not there.

Codes of refusals: unknown_alert (NotFound); nothing_to_assess, alert_lasts, also_held (Conflict);
not_affected, two_persons, bad_text, names_a_person, not_a_pseudonym (Invalid).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Protocol, assert_never
from uuid import UUID

from domain.alerting.events import (
    AffectedLot,
    AffectedStockCleared,
    AffectedStockFound,
    AlertFired,
    StockAssessed,
)
from domain.alerting.model import Alert
from domain.shared.errors import Conflict, Invalid
from domain.shared.events import Event
from domain.shared.ids import stream_id
from domain.shared.pseudonyms import checked_note, checked_pseudonym

StockEvent = AffectedStockFound | AffectedStockCleared | StockAssessed

# Smallest packs told in one event, and held by one fact.
CODES_MAX = 2_000
RELEASE, CONDEMN, KEEP = "release", "condemn", "keep"
DECISIONS = (RELEASE, CONDEMN, KEEP)
# On what an assessment rests: the shake test of adsorbed vaccine, the maker's word, stability data
# of the label, the rules in force, a look at the goods, or that nothing was there.
METHODS = ("shake_test", "maker_advice", "stability_data", "rules", "inspection", "not_exposed")


class Unit(Protocol):
    """A smallest pack that was affected, as it stands now."""

    @property
    def code(self) -> str:
        """The code itself."""

    @property
    def lot_id(self) -> str:
        """Its lot, empty where nobody said."""

    @property
    def product_id(self) -> str:
        """Its product."""

    @property
    def site_id(self) -> str:
        """Where it is, or goes to; empty: nobody knows."""

    @property
    def doses(self) -> int:
        """How many doses are left in it."""

    @property
    def ended(self) -> bool:
        """Whether it is used up, destroyed or condemned: there is nothing to hold."""

    @property
    def held(self) -> bool:
        """Whether a hold binds it."""

    @property
    def released_at(self) -> datetime | None:
        """When a quality decision released it last."""

    @property
    def pack(self) -> str:
        """The outermost pack it is in with nothing but goods to be held, or the code itself."""


class Extent(NamedTuple):
    """How long an episode lasted (None: it lasts), and how far it went (°C)."""

    started_at: datetime
    ended_at: datetime | None
    peak_c: float

    def exceeds(self, other: Extent, side: str) -> bool:
        """Tell whether it is graver than another."""
        longer = other.ended_at is not None and (
            self.ended_at is None or self.ended_at > other.ended_at
        )
        peak, known = (self.peak_c, other.peak_c)
        further = peak > known if side == "high" else peak < known
        return longer or further or self.started_at < other.started_at


@dataclass(frozen=True, slots=True)
class Affected:
    """What is known of a smallest pack: its hold for this alert, and what was decided on it.

    `extent`: the episode as it was when it was found, or assessed last.
    """

    lot_id: str
    doses: int
    hold_id: str
    found_at: datetime
    extent: Extent
    cleared: bool = False
    decision: str = ""

    def of_lot(self, lot_id: str, doses: int) -> Affected:
        """Return the same as it is told again: of a lot, with so many doses left, and there."""
        return replace(self, lot_id=lot_id, doses=doses, cleared=False)

    @property
    def waits(self) -> bool:
        """Tell whether a person has to decide on it."""
        return self.hold_id != "" and self.decision in {"", KEEP}


@dataclass(frozen=True, slots=True)
class Stock:
    """All goods that an alert affected, by the codes of the smallest packs."""

    units: Mapping[str, Affected] = field(default_factory=dict)

    @property
    def waiting(self) -> list[str]:
        """Return the codes on which a person has to decide."""
        return [code for code, unit in self.units.items() if unit.waits]

    @property
    def lots(self) -> dict[str, tuple[int, int]]:
        """Return how many smallest packs, and doses, of each lot were affected."""
        found: dict[str, tuple[int, int]] = {}
        for unit in self.units.values():
            if not unit.cleared:
                packs, doses = found.get(unit.lot_id, (0, 0))
                found[unit.lot_id] = packs + 1, doses + unit.doses
        return dict(sorted(found.items()))


def stock_stream(alert_id: str) -> UUID:
    """Return the stream of what an alert means for goods."""
    return stream_id("alerting.stock", alert_id)


def extent_of(alert: Alert) -> Extent:
    """Return how long an alert lasted, up to its first good reading, and how far it went."""
    ended_at = alert.recovered_at or alert.resolved_at
    return Extent(alert.started_at, ended_at, alert.peak_c or 0.0)


def evolve(state: Stock, event: StockEvent) -> Stock:
    """Return the goods after `event`."""
    return Stock({**state.units, **dict(_changed(state, event))})


def _changed(state: Stock, event: StockEvent) -> Iterator[tuple[str, Affected]]:
    match event:
        case AffectedStockFound():
            for lot in event.lots:
                for code, doses in zip(lot.codes, lot.doses, strict=True):
                    known = state.units.get(code)
                    yield code, _found(known, event).of_lot(lot.lot_id, doses)
        case AffectedStockCleared():
            yield from ((code, replace(state.units[code], cleared=True)) for code in event.codes)
        case StockAssessed():
            extent = Extent(event.started_at, event.ended_at, event.peak_c)
            for code in event.codes:
                unit = replace(state.units[code], decision=event.decision, extent=extent)
                yield code, unit
        case _:
            assert_never(event)


def _found(known: Affected | None, event: AffectedStockFound) -> Affected:
    """Return what is known of a pack that is told (again): a hold that it has stays its hold."""
    if known is not None and known.hold_id and not event.hold_id:
        return known
    extent = Extent(event.started_at, event.ended_at, event.peak_c)
    return Affected("", 0, event.hold_id, event.found_at, extent)


def follow(
    state: Stock,
    *,
    alert: Alert,
    fired: AlertFired,
    inside: Sequence[Unit],
    why: Callable[[str], str | None],
    now: datetime,
    version: int,
    tried: int = 0,
) -> list[Event]:
    """Tell which goods were affected that were not known, and which were not after all.

    `inside`: all that was affected, as known now; of an alert that was withdrawn nothing is. `why`:
    for which reason goods of a product are held. The ids of holds follow from the alert, the
    `version` of the stream, and how often this was `tried` in vain.
    """
    units = [] if alert.withdrawn else inside
    extent = extent_of(alert)
    groups: dict[tuple[str, str, str], list[Unit]] = defaultdict(list)
    for unit in units:
        reason = why(unit.product_id) or ""
        known = state.units.get(unit.code)
        hold = reason if _needs_hold(known, unit, extent, fired.side) else ""
        if known is None or known.cleared or hold:
            groups[unit.site_id or fired.site_id, unit.product_id, hold].append(unit)
    events: list[Event] = []
    for (site_id, product_id, reason), found in sorted(groups.items()):
        for part in _parts(found):
            key = (fired.alert_id, version + len(events), tried)
            events.append(
                AffectedStockFound(
                    alert_id=fired.alert_id,
                    site_id=site_id,
                    product_id=product_id,
                    lots=_lots(part),
                    hold_id=str(stream_id("alerting.hold", *key)) if reason else "",
                    held=tuple(sorted({u.pack for u in part})) if reason else (),
                    reason=reason,
                    found_at=now,
                    **extent._asdict(),
                )
            )
    gone = {c for c, u in state.units.items() if not u.cleared} - {u.code for u in units}
    if gone:
        cause = "withdrawn" if alert.withdrawn else "corrected"
        cleared = AffectedStockCleared(
            alert_id=fired.alert_id, codes=tuple(sorted(gone)), cause=cause
        )
        events.append(cleared)
    return events


def _needs_hold(known: Affected | None, unit: Unit, extent: Extent, side: str) -> bool:
    """Tell whether a pack must be held for this alert, if its product is at all.

    One that was held for it is held again only where late facts took it out of what was held, or
    where the episode turned out graver than the persons knew who released it.
    """
    if unit.ended:
        return False
    if known is None or not known.hold_id:
        return True
    if unit.held:
        return False
    if unit.released_at is None or unit.released_at < known.found_at:
        return True
    return known.decision == RELEASE and extent.exceeds(known.extent, side)


def _parts(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    """Cut goods into what one event tells; what is in one pack stays together as far as it can."""
    ordered = sorted(units, key=lambda unit: (unit.pack, unit.code))
    for start in range(0, len(ordered), CODES_MAX):
        yield ordered[start : start + CODES_MAX]


def _lots(units: Sequence[Unit]) -> tuple[AffectedLot, ...]:
    by_lot: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        by_lot[unit.lot_id].append(unit)
    return tuple(
        AffectedLot(
            lot_id=lot_id,
            codes=tuple(unit.code for unit in found),
            doses=tuple(unit.doses for unit in found),
        )
        for lot_id, found in sorted(by_lot.items())
    )


def select(
    state: Stock, *, codes: Sequence[str] | None = None, lots: Sequence[str] | None = None
) -> list[str]:
    """Return the codes that wait for a person: those named, those of lots named, or all.

    Invalid("not_affected") for a code or lot that does not; Conflict("nothing_to_assess").
    """
    waiting = state.waiting
    if not waiting:
        raise Conflict("nothing_to_assess")
    if codes is not None:
        _require(codes, set(waiting), "codes")
        return sorted(set(codes))
    if lots is not None:
        _require(lots, {state.units[code].lot_id for code in waiting}, "lots")
        return sorted(code for code in waiting if state.units[code].lot_id in lots)
    return sorted(waiting)


def _require(named: Sequence[str], known: Collection[str], field: str) -> None:
    for value in named:
        if value not in known:
            raise Invalid("not_affected", field=field, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What two persons say: `executed_by` decided, `supervised_by` confirmed. Pseudonyms."""

    decision: str
    grounds: str
    method: str
    executed_by: str
    supervised_by: str = ""
    decision_no: str = ""
    also: tuple[str, ...] = ()


def assess(
    state: Stock,
    *,
    alert: Alert,
    said: Assessment,
    codes: Sequence[str],
    fact_ids: Sequence[str],
    held_too: Mapping[str, bool],
    still_held: Sequence[str] = (),
) -> list[StockAssessed]:
    """Decide on codes that wait (`select`): release or condemn them, or keep them held.

    `held_too`: other alerts because of which some of them are held, and whether each lasts. A
    release names them all, so that nothing is freed that nobody looked at; and nothing is released
    while an alert lasts, not even what has left the unit: how far it goes is not known.
    `still_held`: what is held on for other reasons.
    """
    _require(codes, set(state.waiting), "codes")
    _check_signed(said)
    extent = extent_of(alert)
    if said.decision == RELEASE:
        lasting = [other for other, lasts in held_too.items() if lasts]
        if lasting or (extent.ended_at is None and not alert.withdrawn):
            raise Conflict("alert_lasts", alerts=", ".join(lasting) or alert.fired.alert_id)
        unnamed = sorted(held_too.keys() - set(said.also))
        if unnamed:
            raise Conflict("also_held", alerts=", ".join(unnamed))
    return [
        StockAssessed(
            alert_id=alert.fired.alert_id,
            decision=said.decision,
            codes=tuple(codes),
            fact_ids=tuple(fact_ids),
            also=tuple(sorted(held_too.keys() & set(said.also))),
            grounds=checked_note(said.grounds, "grounds", required=True),
            method=said.method,
            executed_by=said.executed_by,
            supervised_by=said.supervised_by,
            decision_no=checked_note(said.decision_no, "decision_no"),
            still_held=tuple(still_held),
            **extent._asdict(),
        )
    ]


def _check_signed(said: Assessment) -> None:
    """Refuse what is not signed by a person, or frees or condemns goods without a second one."""
    checked_pseudonym(said.executed_by, "executer")
    checked_pseudonym(said.supervised_by, "supervisor")
    if not said.executed_by:
        raise Invalid("two_persons", field="executer")
    if said.decision != KEEP and said.supervised_by in {"", said.executed_by}:
        raise Invalid("two_persons", field="supervisor")
