"""The judgement before an injection: of the vial, of the person, with the server and without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.vaccination.checks import (
    Caution,
    Given,
    Person,
    Reason,
    Verdict,
    Vial,
    judge_person,
    judge_vial,
    opened_until,
)
from domain.vaccination.events import DueItem
from domain.vaccination.snapshot import Scanned, Snapshot, judge_offline, snapshot

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)  # 10:00 in China
CODE, PRODUCT = "84743540181360010008", "8474354"
GOOD = Vial(
    code=CODE,
    known=True,
    product_id=PRODUCT,
    product_known=True,
    lot_id=f"{PRODUCT}.A1",
    expires_on=date(2026, 3, 2),
    status="in_stock",
    site_id="dwk",
    doses_per_vial=2,
    opened_limit_min=60,
)
DUE = DueItem(
    product_ids=(PRODUCT,),
    series_dose=2,
    not_before=date(2026, 3, 1),
    not_after=date(2026, 4, 1),
    interval_days_min=28,
)
FIRST = Given(product_id=PRODUCT, series_dose=1, given_at=NOW - timedelta(days=28))
PERSON = Person(
    recipient="R-1",
    planned_for="R-1",
    product_id=PRODUCT,
    series_dose=2,
    consent=True,
    screened_at=NOW - timedelta(hours=24),
    due=[DUE],
    given=[FIRST],
)


def judged(**changes: Any) -> Verdict:
    return judge_vial(replace(GOOD, **changes), site_id="dwk", at=NOW)


def asked(**changes: Any) -> Verdict:
    found = judged()
    judge_person(found, GOOD, replace(PERSON, **changes), at=NOW)
    return found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"known": False}, Reason.UNKNOWN_CODE),
        ({"product_known": False}, Reason.UNKNOWN_PRODUCT),
        ({"level": 2}, Reason.NOT_A_VIAL),
        ({"status": "used"}, Reason.USED),
        ({"doses_given": 1, "doses_wasted": 1}, Reason.USED),
        ({"status": "destroyed"}, Reason.DESTROYED),
        ({"status": "in_transit"}, Reason.NOT_RECEIVED),
        ({"status": "missing"}, Reason.WRONG_PLACE),
        ({"site_id": "pingluo"}, Reason.WRONG_PLACE),
        ({"status": "held", "held": True, "recalled": True}, Reason.RECALLED),
        ({"status": "held", "held": True, "condemned": True}, Reason.CONDEMNED),
        ({"status": "held", "held": True}, Reason.HELD),
        ({"expires_on": date(2026, 3, 1)}, Reason.EXPIRED),
        ({"opened_at": NOW - timedelta(minutes=61)}, Reason.OPENED_TOO_LONG),
        ({"excursion": "grave"}, Reason.EXCURSION),
    ],
)
def test_given_a_fault_of_the_vial_when_judged_then_its_reason_alone(
    changes: dict[str, Any], reason: Reason
) -> None:
    assert judged(**changes).reasons == [reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"planned_for": "R-2"}, Reason.OTHER_PERSON),
        ({"product_id": "8690011"}, Reason.NOT_PLANNED),
        ({"consent": None}, Reason.CONSENT_MISSING),
        ({"consent": False}, Reason.CONSENT_REFUSED),
        ({"screened_at": None}, Reason.SCREENING_MISSING),
        ({"others": 2}, Reason.RESERVED),
        ({"screened_at": NOW - timedelta(hours=25)}, Reason.SCREENING_OLD),
        ({"stops": ["fever"]}, Reason.CONTRAINDICATED),
        ({"due": []}, Reason.NOT_DUE),
        ({"series_dose": 3}, Reason.NOT_DUE),
        ({"due": [replace(DUE, not_before=date(2026, 3, 3))]}, Reason.TOO_EARLY),
        ({"due": [replace(DUE, not_after=date(2026, 3, 1))]}, Reason.TOO_LATE),
        ({"given": [replace(FIRST, given_at=NOW - timedelta(days=27))]}, Reason.INTERVAL),
        ({"given": [replace(FIRST, series_dose=2)]}, Reason.ALREADY_GIVEN),
    ],
)
def test_given_a_fault_of_the_visit_when_judged_then_its_reason_alone(
    changes: dict[str, Any], reason: Reason
) -> None:
    assert asked(**changes).reasons == [reason]


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (replace(FIRST, series_dose=2), True),
        (replace(FIRST, given_at=NOW), True),
        (replace(FIRST, given_at=NOW, series_dose=None), True),
        (FIRST, False),
        (replace(FIRST, given_at=NOW, product_id="8690011"), False),
    ],
)
def test_given_no_due_list_when_judged_then_doses_given_before_count(
    before: Given, again: bool
) -> None:
    found = asked(due=None, given=[before])
    assert found.reasons == [Reason.ALREADY_GIVEN] * again
    assert found.cautions == [Caution.DUE_UNKNOWN]


def test_given_a_dose_of_unknown_number_today_when_judged_then_already_given() -> None:
    today = replace(FIRST, given_at=NOW, series_dose=None)
    listed = [replace(DUE, interval_days_min=0)]
    assert asked(given=[today], due=listed).reasons == [Reason.ALREADY_GIVEN]


def test_given_nothing_wrong_when_judged_then_may() -> None:
    assert (asked().may, asked().cautions) == (True, [])
    assert asked(series_dose=None, due=[replace(DUE, not_after=None)], given=[]).may
    assert judged(status="opened", opened_at=NOW - timedelta(minutes=60)).may
    assert opened_until(GOOD) is None


@pytest.mark.parametrize(
    ("found", "caution"),
    [
        (judged(expires_on=None), Caution.EXPIRY_UNKNOWN),
        (judged(excursion="minor"), Caution.MINOR_EXCURSION),
        (asked(due=None), Caution.DUE_UNKNOWN),
        (asked(cautions=["pregnancy"]), Caution.PRECAUTION),
    ],
)
def test_given_something_to_know_when_judged_then_a_caution_that_forbids_nothing(
    found: Verdict, caution: Caution
) -> None:
    assert (found.may, found.cautions) == (True, [caution])


@given(
    st.builds(
        lambda **changes: replace(GOOD, **changes),
        status=st.sampled_from(["in_stock", "opened", "held", "used", "in_transit", "missing"]),
        site_id=st.sampled_from(["dwk", "pingluo"]),
        held=st.booleans(),
        recalled=st.booleans(),
        doses_given=st.integers(0, 3),
    )
)
def test_given_any_vial_that_may_be_used_then_nothing_of_it_is_wrong(vial: Vial) -> None:
    if judge_vial(vial, site_id="dwk", at=NOW).may:
        assert vial.site_id == "dwk"
        assert vial.status in {"in_stock", "opened", "held"}
        assert (vial.held, vial.recalled) == (False, False)
        assert vial.doses_given < vial.doses_per_vial


def offline(at: datetime = NOW, since: tuple[Scanned, ...] = (), code: str = CODE) -> Verdict:
    known: Snapshot = snapshot(site_id="dwk", made_at=NOW, position=7, vials=[GOOD])
    return judge_offline(known, code, at=at, since=since)


def scanned(step: str, minutes: int = 1, doses: int | None = None) -> Scanned:
    return Scanned(code=CODE, step=step, at=NOW + timedelta(minutes=minutes), doses=doses)


def test_given_a_snapshot_when_checked_in_time_then_as_the_server_and_the_person_unchecked() -> (
    None
):
    assert (offline().may, offline().cautions) == (True, [Caution.PERSON_UNCHECKED])
    assert offline(code="84743540181360010009").reasons == [Reason.WRONG_PLACE]


@pytest.mark.parametrize("hours", [-1, 25])
def test_given_a_snapshot_when_checked_out_of_time_then_old(hours: int) -> None:
    assert Reason.SNAPSHOT_OLD in offline(NOW + timedelta(hours=hours)).reasons


@pytest.mark.parametrize(
    ("since", "minutes", "reasons"),
    [
        ([scanned("dispensing")], 2, []),
        ([scanned("dispensing"), scanned("dispensing", 2)], 3, [Reason.USED]),
        ([scanned("dispensing"), scanned("wasting", 2, 1)], 3, [Reason.USED]),
        ([scanned("wasting")], 2, [Reason.USED]),
        ([scanned("opening")], 62, [Reason.OPENED_TOO_LONG]),
        ([scanned("opening", 30), scanned("dispensing", 1)], 62, [Reason.OPENED_TOO_LONG]),
        ([scanned("storing")], 2, []),
        # The clock was set back since.
        ([scanned("storing", 10)], 4, [Reason.SNAPSHOT_OLD]),
        ([replace(scanned("storing"), sent_at=NOW + timedelta(hours=1))], 2, [Reason.SNAPSHOT_OLD]),
        # Not told to the server before the snapshot: it counts, however old it is.
        ([scanned("dispensing", -50), scanned("dispensing", -51)], 2, [Reason.USED]),
        ([replace(scanned("dispensing", -60), sent_at=NOW - timedelta(minutes=6))] * 2, 2, []),
        ([replace(scanned("dispensing", -50), sent_at=NOW)] * 2, 2, [Reason.USED]),
        ([scanned("wasting", 1, 1)], 62, [Reason.OPENED_TOO_LONG]),
        ([scanned("destroying")], 2, [Reason.DESTROYED]),
        ([scanned("sampling")], 2, [Reason.USED]),
        ([scanned("shipping")], 2, [Reason.NOT_RECEIVED]),
        ([scanned("returning")], 2, [Reason.NOT_RECEIVED]),
        ([scanned("losing")], 2, [Reason.WRONG_PLACE]),
        ([scanned("repacking")], 2, [Reason.WRONG_PLACE]),
        ([scanned("holding")], 2, [Reason.HELD]),
        ([replace(scanned("holding"), code="", lot_id=GOOD.lot_id)], 2, [Reason.HELD]),
        ([replace(scanned("holding"), code="", lot_id="8474354.B2")], 2, []),
        ([scanned("condemning")], 2, [Reason.CONDEMNED]),
        ([replace(scanned("wasting"), code="84743540181360010009")], 2, []),
    ],
)
def test_given_scans_since_the_snapshot_when_checked_then_they_count(
    since: list[Scanned], minutes: int, reasons: list[Reason]
) -> None:
    assert offline(NOW + timedelta(minutes=minutes), tuple(since)).reasons == reasons
