"""A clinic's stock as the server knew it at a moment, and the same check made off it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.vaccination.checks import Caution, Reason, Verdict, Vial, judge_vial
from domain.vaccination.rules import rules_at

# A clinic's clock may be behind the server's by so much before its snapshot seems to be of later.
BEHIND_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The codes of a site's stock at a ledger position."""

    site_id: str
    made_at: datetime
    valid_until: datetime
    position: int
    vials: tuple[Vial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was done at the clinic, to a code or to a whole lot; `doses`: those wasted.

    `sent_at`: when the server took it, None before; by the clinic's clock, as `at`.
    """

    code: str = ""
    lot_id: str = ""
    step: str
    at: datetime
    doses: int | None = None
    sent_at: datetime | None = None


def snapshot(*, site_id: str, made_at: datetime, position: int, vials: Iterable[Vial]) -> Snapshot:
    """Return the snapshot of these codes, valid as long as the rules of the day say."""
    return Snapshot(
        site_id=site_id,
        made_at=made_at,
        valid_until=made_at + timedelta(hours=rules_at(made_at).snapshot_h),
        position=position,
        vials=tuple(vials),
    )


def judge_offline(
    known: Snapshot, code: str, *, at: datetime, since: Iterable[Scanned] = ()
) -> Verdict:
    """Judge a canonical code without the server, with what was done here since the snapshot.

    Nobody knows here whether the person is due, consented or was asked: a caution says so.
    """
    since = list(since)
    vial = next((each for each in known.vials if each.code == code), None)
    if vial is None:
        found = Verdict()
        found.refuse(Reason.WRONG_PLACE)
    else:
        for scan in since:
            about = scan.code == code or (not scan.code and scan.lot_id == vial.lot_id)
            if about and not (scan.sent_at and scan.sent_at < known.made_at - BEHIND_MAX):
                vial = _after(vial, scan)
        found = judge_vial(vial, site_id=known.site_id, at=at)
    # Whatever was put down here before was earlier, unless the clock was set back since.
    seen = max((known.made_at, *(moment for scan in since for moment in _times(scan))))
    in_time = seen - BEHIND_MAX <= at <= known.valid_until
    found.refuse(Reason.SNAPSHOT_OLD, not in_time)
    found.warn(Caution.PERSON_UNCHECKED, True)
    return found


def _times(scan: Scanned) -> Iterable[datetime]:
    return (scan.at,) if scan.sent_at is None else (scan.at, scan.sent_at)


# What a step makes of a vial; a vial that was let go offline waits for the server to say so.
_STATUS_AFTER = {
    "destroying": "destroyed",
    "losing": "missing",
    "returning": "returned",
    "sampling": "sampled",
    "shipping": "in_transit",
}
_UNCHANGED = frozenset(
    {
        "acknowledging",
        "adjusting",
        "commissioning",
        "cycle_counting",
        "finding",
        "packing",
        "receiving",
        "releasing",
        "storing",
        "unpacking",
    }
)


def _after(vial: Vial, scan: Scanned) -> Vial:
    if scan.step in _UNCHANGED:
        return vial
    if scan.step == "holding":
        return replace(vial, held=True)
    if scan.step == "condemning":
        return replace(vial, condemned=True)
    if scan.step not in {"opening", "dispensing", "wasting"}:
        # Of a step not known here nobody can say that the vial is still at hand.
        return replace(vial, status=_STATUS_AFTER.get(scan.step, "unknown"))
    opened_at = min(scan.at, vial.opened_at) if vial.opened_at else scan.at
    given = vial.doses_given + (scan.step == "dispensing")
    wasted = vial.doses_wasted
    if scan.step == "wasting":
        left = vial.doses_per_vial - vial.doses_given - wasted
        wasted += left if scan.doses is None else scan.doses
    return replace(vial, opened_at=opened_at, doses_given=given, doses_wasted=wasted)
