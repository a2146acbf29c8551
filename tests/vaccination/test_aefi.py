"""Reports after a dose, and clusters of them on one lot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shared.errors import Conflict, Invalid, NotFound
from domain.vaccination import aefi
from domain.vaccination.events import (
    AefiClassified,
    AefiClusterFound,
    AefiCounted,
    AefiFollowedUp,
    AefiReported,
)
from domain.vaccination.rules import rules_at
from tests.spec import spec

GIVEN = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
NOW = GIVEN + timedelta(days=1)
LOT = "8474354.A1"
REPORTED = AefiReported(
    aefi_id="AE-1",
    fact_id="C-1",
    site_id="dwk",
    code="84743540181360010008",
    product_id="8474354",
    lot_id=LOT,
    recipient="R-1",
    onset_at=GIVEN + timedelta(hours=3),
    serious=False,
    signs=("fever",),
)
FOLLOWED = AefiFollowedUp(aefi_id="AE-1", followed_at=NOW, serious=True, outcome="recovering")
CLASSIFIED = AefiClassified(aefi_id="AE-1", cause="common_reaction")

a_report = spec(aefi.evolve, None)


def report(**changes: Any) -> dict[str, Any]:
    return {"reported": replace(REPORTED, **changes), "given_at": GIVEN, "now": NOW}


def test_given_a_dose_when_reported_followed_and_classified_then_closed() -> None:
    a_report.when(aefi.report, **report()).then(REPORTED)
    known = a_report.given(REPORTED)
    known.when(aefi.report, **report()).then()
    follow: dict[str, Any] = {"followed_at": NOW, "serious": True, "outcome": "recovering"}
    known.when(aefi.follow_up, **follow).then(FOLLOWED)
    followed = known.given(FOLLOWED)
    followed.when(aefi.follow_up, **follow).then()
    states: list[Any] = [known.state, followed.state]
    assert [state.serious for state in states] == [False, True]
    followed.when(aefi.classify, cause="common_reaction").then(CLASSIFIED)
    closed = followed.given(CLASSIFIED)
    closed.when(aefi.classify, cause="common_reaction").then()
    closed.when(aefi.classify, cause="coincidence").refused(Conflict, "aefi_closed")
    closed.when(aefi.follow_up, **follow).refused(Conflict, "aefi_closed")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signs": ()}, "unknown_sign"),
        ({"signs": ("bad mood",)}, "unknown_sign"),
        ({"onset_at": GIVEN - timedelta(minutes=1)}, "bad_onset"),
        ({"onset_at": NOW + timedelta(minutes=1)}, "bad_onset"),
        ({"note": "电话 13812345678"}, "names_a_person"),
    ],
)
def test_given_a_bad_report_when_told_then_refused(changes: dict[str, Any], code: str) -> None:
    a_report.when(aefi.report, **report(**changes)).refused(Invalid, code)


def test_given_no_report_when_followed_or_classified_then_refused() -> None:
    follow: dict[str, Any] = {"followed_at": NOW, "serious": True, "outcome": "unknown"}
    a_report.when(aefi.follow_up, **follow).refused(NotFound, "unknown_aefi")
    a_report.when(aefi.classify, cause="coincidence").refused(NotFound, "unknown_aefi")
    known = a_report.given(REPORTED)
    known.when(aefi.follow_up, **follow | {"outcome": "fine"}).refused(Invalid, "bad_field")
    known.when(aefi.classify, cause="luck").refused(Invalid, "bad_field")


def case(number: int, days: float = 0, *, serious: bool = False, region: str = "640202") -> Any:
    return AefiCounted(
        lot_id=LOT,
        aefi_id=f"AE-{number}",
        onset_at=GIVEN + timedelta(days=days),
        serious=serious,
        region_code=region,
    )


def counted(*cases: AefiCounted) -> list[AefiClusterFound]:
    lot, found = spec(aefi.evolve_lot, aefi.Lot()), []
    for each in cases:
        events = lot.when(aefi.count, counted=each).events
        lot = lot.given(*events)
        found += [event for event in events if isinstance(event, AefiClusterFound)]
    return found


def test_given_three_cases_in_a_week_when_counted_then_one_cluster_of_both_counties() -> None:
    cases = (case(1), case(2, 3, region="640205"), case(3, 6.9))
    (cluster,) = counted(*cases)
    assert cluster.aefi_ids == ("AE-1", "AE-2", "AE-3")
    assert cluster.region_codes == ("640202", "640205")
    assert counted(*cases, *cases, case(4, 6.5)) == [cluster]
    again = counted(*cases, case(4, 6.5), case(5, 6.6), case(6, 6.7))
    assert len(again) == 2
    assert again[0].cluster_id != again[1].cluster_id


@pytest.mark.parametrize(
    "cases",
    [
        [case(1), case(2)],
        [case(1), case(2, 3), case(3, 7)],
        [case(1, serious=True), case(2, 7, serious=True)],
        [case(1), case(1), case(1)],
    ],
)
def test_given_fewer_cases_or_a_longer_time_when_counted_then_no_cluster(cases: list[Any]) -> None:
    assert counted(*cases) == []


def test_given_three_reports_of_one_dose_when_counted_then_no_cluster() -> None:
    same = [replace(case(n), fact_id="C-1") for n in range(3)]
    assert counted(*same) == []
    others = [replace(case(n), fact_id=f"C-{n}") for n in (3, 4)]
    (cluster,) = counted(*same, *others)
    assert len(cluster.aefi_ids) == 5


def test_given_two_serious_cases_when_counted_then_a_cluster_also_when_one_became_so() -> None:
    assert counted(case(1, serious=True), case(2, 1, serious=True))[0].serious == 2
    became = counted(case(1), case(2, 1, serious=True), case(1, serious=True))
    assert became[0].aefi_ids == ("AE-1", "AE-2")


@given(st.permutations([case(n, n * 0.9) for n in range(5)]))
def test_given_any_order_of_reports_when_counted_then_a_cluster_is_found(cases: list[Any]) -> None:
    found = counted(*cases)
    assert found
    rules = rules_at(GIVEN)
    assert all(len(each.aefi_ids) >= rules.cluster_cases for each in found)
