"""The page at the end of a demonstration: names beside ids, gaps marked, people in each county."""

from __future__ import annotations

import io
from collections import Counter

from rich.console import Console

from simulators import summary
from simulators.city import COUNTIES, shizuishan
from simulators.http import Json, Problem
from simulators.people import PEOPLE
from simulators.summary import Summary

CITY = shizuishan()
NAMES = {s.site_id: s.name for s in CITY.sites} | {u.unit_id: u.name for u in CITY.units}
PATH = ("maker", "nx-cdc", "dwk-c1")


def _hop(step: str, site_id: str, **changed: object) -> Json:
    hop = {"step": step, "site_id": site_id, "to_site_id": "", "unit_id": "", "bill_no": "",
           "units": 400, "temperature_c": None, "transport_c_min": None, "transport_c_max": None,
           "first": "2026-09-07T01:05:00Z", "temperatures": None}  # fmt: skip
    return {**hop, **changed}


ALERT: Json = {
    "site_id": "dwk-c1", "unit_id": "dwk-c1-fridge2", "rule_id": "high_8_30min",
    "severity": "major", "peak_c": 21.1, "started_at": "2026-09-10T01:06:00Z",
    "resolved_at": None, "acknowledged_at": "2026-09-10T01:37:00Z", "acknowledged_role": "cdc",
    "comment": "门已关好", "told": [],
}  # fmt: skip


def _shown(*hops: Json) -> str:
    counts = {
        f"{what}_{name}": 0
        for what in ("readings", "scans")
        for name in ("published", "duplicate", "quarantined", "stored")
    }
    body: Json = {
        **counts,
        "alerts": [ALERT],
        "custody": {"lot": "8690011.HB260701", "hops": list(hops)},
        "quarantined": [],
        "mails_received": 0,
        "webhooks_received": 0,
    }
    page = io.StringIO()
    summary.show(Summary(body, True, PATH, NAMES), Console(file=page, width=200))
    return page.getvalue()


def test_given_a_summary_when_shown_then_names_stand_beside_ids() -> None:
    page = _shown(_hop("shipping", "maker", to_site_id="nx-cdc"), _hop("storing", "plx-c1"))
    assert "示例生物制品有限公司 maker" in page
    assert "→ 自治区疾控中心疫苗库 nx-cdc" in page
    assert "大武口区第一接种门诊 2 号医用冰箱 dwk-c1-fridge2" in page
    assert "[重要 major]" in page
    assert "cdc: “门已关好”" in page
    assert "1 of its 2 hops" in page
    assert "curl" not in page


def test_given_hops_without_a_temperature_when_shown_then_marked_where_one_is_due() -> None:
    unit = {"unit_id": "dwk-c1-fridge2"}
    assert summary.NO_DATA in _shown(_hop("shipping", "maker", to_site_id="nx-cdc"))
    assert summary.NO_DATA in _shown(_hop("storing", "dwk-c1", **unit))
    assert summary.NO_DATA not in _shown(_hop("storing", "dwk-c1", **unit, temperature_c=4.5))
    assert summary.NO_DATA not in _shown(_hop("commissioning", "maker"))
    assert summary.NO_DATA not in _shown(_hop("dispensing", "dwk-c1", **unit))


def test_given_the_counties_when_people_are_put_down_then_three_or_more_in_each() -> None:
    told = Counter(person.region for person in PEOPLE)
    assert set(told) == {region for region, *_ in COUNTIES}
    assert min(told.values()) >= 3
    assert len({person.recipient_id for person in PEOPLE}) == len(PEOPLE)
    # An excursion of the middle severity, as it is escalated, reaches as many by itself.
    major = Counter(p.region for p in PEOPLE if p.severity_min != "critical")
    assert min(major.values()) >= 3


def test_given_a_problem_when_told_then_its_titles_and_no_json() -> None:
    body = {"title_zh": "没有这个站点", "title_en": "There is no such site", "code": "unknown_site"}
    assert str(Problem("POST /units", 422, body)) == (
        "POST /units: 422 没有这个站点 / There is no such site"
    )
    assert str(Problem("GET /x", 502, {"detail": "bad gateway"})).endswith("502  (bad gateway)")
