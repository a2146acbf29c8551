"""Organisations and sites: what may be registered and changed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from stdnum.cn import uscc

from domain.registry import model
from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.ids import checked_org_code, org_check_character
from tests.spec import spec

CODE = "12640200454500015" + org_check_character("12640200454500015")
ORGANISATION = OrganisationRegistered(
    org_code=CODE, name="石嘴山市疾病预防控制中心", name_en="Shizuishan CDC", region_code="640200"
)
SITE = SiteRegistered(
    site_id="CDC6402",
    org_code=CODE,
    site_no=1,
    name="市疾控中心冷库",
    kind="city_cdc",
    region_code="640202",
    latitude=39.01,
    longitude=106.37,
)
ORG_PARTICULARS: dict[str, Any] = {
    "org_code": CODE,
    "name": ORGANISATION.name,
    "name_en": ORGANISATION.name_en,
    "region_code": "640200",
}
PARTICULARS: dict[str, Any] = {
    "organisation": ORGANISATION,
    "site_id": "CDC6402",
    "org_code": CODE,
    "site_no": 1,
    "name": "市疾控中心冷库",
    "kind": "city_cdc",
    "region_code": "640202",
    "latitude": 39.01,
    "longitude": 106.37,
}
NEW: dict[str, Any] = {"name": "新冷库", "kind": "city_cdc"}
CHANGED = SiteChanged(site_id="CDC6402", name="新冷库", kind="city_cdc")

organisation = spec(model.evolve_organisation, None)
site = spec(model.evolve_site, None)


def test_given_nothing_when_organisation_registered_then_it_is() -> None:
    organisation.when(model.register_organisation, **ORG_PARTICULARS).then(ORGANISATION)


def test_given_organisation_when_registered_alike_then_nothing_happens() -> None:
    organisation.given(ORGANISATION).when(model.register_organisation, **ORG_PARTICULARS).then()


def test_given_organisation_when_registered_otherwise_then_conflict() -> None:
    other = ORG_PARTICULARS | {"name": "别的名字"}
    outcome = organisation.given(ORGANISATION).when(model.register_organisation, **other)
    outcome.refused(Conflict, "already_registered")
    assert outcome.error is not None
    assert outcome.error.facts == {"differs": ["name"]}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("org_code", CODE[:17] + ("0" if CODE[17] != "0" else "1"), "bad_org_code"),
        ("org_code", CODE + "\n", "bad_org_code"),
        ("name", "", "bad_text"),
        ("name", "甲\x00乙", "bad_text"),
        ("name", "\ud800", "bad_text"),
        ("name", "名" * 201, "bad_text"),
        ("name_en", "two\nlines", "bad_text"),
        ("region_code", "6402", "bad_region"),
    ],
)
def test_given_nothing_when_organisation_is_wrong_then_refused(
    field: str, value: str, code: str
) -> None:
    wrong = ORG_PARTICULARS | {field: value}
    organisation.when(model.register_organisation, **wrong).refused(Invalid, code)


def test_given_organisation_when_site_registered_then_it_is() -> None:
    site.when(model.register_site, **PARTICULARS).then(SITE)


def test_given_site_when_registered_alike_then_nothing_happens() -> None:
    site.given(SITE).when(model.register_site, **PARTICULARS).then()


def test_given_site_when_registered_otherwise_then_conflict() -> None:
    other = PARTICULARS | {"site_no": 2}
    site.given(SITE).when(model.register_site, **other).refused(Conflict, "already_registered")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("organisation", None, "unknown_organisation"),
        ("organisation", replace(ORGANISATION, org_code="other"), "unknown_organisation"),
        ("site_id", "a/b", "bad_name"),
        ("site_id", "CDC6402\n", "bad_name"),
        ("site_no", 0, "bad_site_no"),
        ("site_no", 100_000, "bad_site_no"),
        ("kind", "warehouse", "bad_site_kind"),
        ("region_code", "064020", "bad_region"),
        ("latitude", None, "bad_coordinates"),
        ("longitude", None, "bad_coordinates"),
        ("latitude", 106.37, "bad_coordinates"),
        ("latitude", 2.99, "bad_coordinates"),
        ("longitude", 136.01, "bad_coordinates"),
        ("longitude", float("nan"), "bad_coordinates"),
    ],
)
def test_given_organisation_when_site_is_wrong_then_refused(
    field: str, value: object, code: str
) -> None:
    wrong = PARTICULARS | {field: value}
    site.when(model.register_site, **wrong).refused(Invalid, code)


def test_given_site_when_changed_then_it_is() -> None:
    site.given(SITE).when(model.change_site, **NEW).then(CHANGED)


def test_given_changed_site_when_changed_alike_then_nothing_happens() -> None:
    site.given(SITE, CHANGED).when(model.change_site, **NEW).then()


def test_given_changed_site_when_registered_as_it_is_now_then_nothing_happens() -> None:
    now = PARTICULARS | NEW | {"latitude": None, "longitude": None}
    site.given(SITE, CHANGED).when(model.register_site, **now).then()


def test_given_no_site_when_changed_then_not_found() -> None:
    site.when(model.change_site, **NEW).refused(NotFound, "unknown_site")


def test_given_claims_when_organisation_and_number_are_equal_then_one_stream() -> None:
    first, event = model.site_number_claim(org_code=CODE, site_no=1, site_id="A")
    second, other = model.site_number_claim(org_code=CODE, site_no=1, site_id="B")
    assert first == second
    assert event != other
    assert model.site_number_claim(org_code=CODE, site_no=2, site_id="A")[0] != first
    assert model.organisation_stream(CODE) != model.site_stream(CODE)


def test_given_random_codes_when_checked_then_as_stdnum_does() -> None:
    draw = random.Random(2260)
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    for _ in range(2_000):
        # The library knows digits only in the first two places; N, Y and A are registrars too.
        body = f"{draw.choice('1459')}{draw.choice('129')}640200"
        organisation_part = "".join(draw.choice(alphabet) for _ in range(9))
        first17 = body + organisation_part
        assert org_check_character(first17) == uscc.calc_check_digit(first17)
        code = first17 + draw.choice(alphabet)
        assert _accepts(code) == uscc.is_valid(code)


def _accepts(code: str) -> bool:
    try:
        return checked_org_code(code) == code
    except Invalid:
        return False
