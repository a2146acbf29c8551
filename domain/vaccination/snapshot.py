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
    """What was done at the clinic since: opening, dispensing, or wasting of `doses`."""

    code: str
    step: str
    at: datetime
    doses: int | None = None


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
    vial = next((each for each in known.vials if each.code == code), None)
    if vial is None:
        found = Verdict()
        found.refuse(Reason.WRONG_PLACE)
    else:
        for scan in since:
            if scan.code == code and scan.at >= known.made_at - BEHIND_MAX:
                vial = _after(vial, scan)
        found = judge_vial(vial, site_id=known.site_id, at=at)
    in_time = known.made_at - BEHIND_MAX <= at <= known.valid_until
    found.refuse(Reason.SNAPSHOT_OLD, not in_time)
    found.warn(Caution.PERSON_UNCHECKED, True)
    return found


def _after(vial: Vial, scan: Scanned) -> Vial:
    opened_at = vial.opened_at
    if scan.step in {"opening", "dispensing"}:
        opened_at = min(scan.at, opened_at) if opened_at else scan.at
        given = vial.doses_given + (scan.step == "dispensing")
        return replace(vial, opened_at=opened_at, doses_given=given)
    if scan.step == "wasting":
        left = vial.doses_per_vial - vial.doses_given - vial.doses_wasted
        wasted = vial.doses_wasted + (left if scan.doses is None else scan.doses)
        return replace(vial, doses_wasted=wasted)
    return vial
