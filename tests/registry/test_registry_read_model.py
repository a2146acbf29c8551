"""Organisations, sites and their names out of events, and rebuilt to the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from domain.registry import model
from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from domain.shared.ids import org_check_character
from projections import rebuild
from projections import registry as read_model
from projections.runner import Runner
from projections.shared.org_tree import Name, names
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START, Database

pytestmark = pytest.mark.database

CODE = "12640200454500015" + org_check_character("12640200454500015")
META = Meta(occurred_at=START, recorded_at=START)
CLINIC = SiteRegistered(
    site_id="C2", org_code=CODE, site_no=2, name="门诊", kind="clinic", region_code="640202"
)


@pytest.fixture(scope="module")
def conn(database: Database, ledger: Ledger) -> Iterator[psycopg.Connection[Any]]:
    """Follow one organisation with three sites, one of them changed."""
    organisation = OrganisationRegistered(
        org_code=CODE, name="石嘴山市疾控", name_en="Shizuishan CDC", region_code="640200"
    )
    changed = SiteChanged(
        site_id="C2",
        name="接种门诊",
        name_en="Clinic",
        kind="clinic",
        latitude=39.0,
        longitude=106.4,
    )
    told = [
        (model.organisation_stream(CODE), 1, organisation),
        (model.site_stream("C2"), 1, CLINIC),
        (model.site_stream("C1"), 1, replace(CLINIC, site_id="C1", site_no=1, name_en="First")),
        (model.site_stream("H1"), 1, replace(CLINIC, site_id="H1", region_code="532503")),
        (model.site_stream("C2"), 2, changed),
    ]
    ledger.append([Envelope(stream, version, event, META) for stream, version, event in told])
    with closing(Runner(database.app_dsn)) as runner:
        runner.follow_once()
    with psycopg.connect(database.app_dsn, autocommit=True) as made:
        yield made


def test_given_sites_when_listed_by_region_then_pages_in_order(
    conn: psycopg.Connection[Any],
) -> None:
    assert [s.site_id for s in read_model.sites(conn, limit=2)] == ["C1", "C2"]
    assert [s.site_id for s in read_model.sites(conn, after="C2", limit=2)] == ["H1"]
    assert [s.site_id for s in read_model.sites(conn, region="6402", limit=9)] == ["C1", "C2"]
    assert [s.site_id for s in read_model.sites(conn, region="53", limit=9)] == ["H1"]


def test_given_a_changed_site_when_asked_then_present_particulars_and_version(
    conn: psycopg.Connection[Any],
) -> None:
    [found] = read_model.sites(conn, after="C1", region="64", limit=9)
    assert (found.name, found.latitude, found.version) == ("接种门诊", 39.0, 2)
    assert (found.site_no, found.region_code) == (2, "640202")


def test_given_organisations_when_listed_then_by_region(conn: psycopg.Connection[Any]) -> None:
    [found] = read_model.organisations(conn, region="64", limit=9)
    assert (found.org_code, found.name_en, found.version) == (CODE, "Shizuishan CDC", 1)
    assert read_model.organisations(conn, region="640202", limit=9) == []


def test_given_ids_when_names_asked_then_those_known(conn: psycopg.Connection[Any]) -> None:
    assert names(conn, ["C1", "C2", "X"]) == {
        "C1": Name("门诊", "First", "640202"),
        "C2": Name("接种门诊", "Clinic", "640202", 39.0, 106.4),
    }
    assert names(conn, [CODE], "organisation")[CODE].zh == "石嘴山市疾控"
    assert names(conn, ["C1"], "unit") == {}
    assert names(conn, []) == {}


@pytest.mark.parametrize("name", ["registry", "shared_org_tree"])
def test_given_read_models_when_rebuilt_then_the_same_rows(
    ledger: Ledger, conn: psycopg.Connection[Any], name: str
) -> None:
    checked = rebuild.check(ledger, conn, rebuild.named(name))
    assert checked.same
    assert any(rows for rows, _ in checked.live.values())
