"""Organisations and sites over HTTP."""

from __future__ import annotations

import httpx

ORG = {"org_code": "12640200454000000C", "name": "石嘴山市疾控中心", "region_code": "640200"}


def test_given_nothing_when_organisation_registered_then_receipt_and_read_back(
    admin: httpx.Client,
) -> None:
    made = admin.post("/api/v1/organisations", json=ORG)
    assert made.status_code == 201, made.text
    assert made.headers["etag"] == '"1"'
    assert made.headers["vaxtrail-position"] == made.json()["position"]
    found = admin.get(made.headers["location"])
    assert found.json() == {**ORG, "name_en": "", "version": 1}
    listed = admin.get("/api/v1/organisations").json()
    assert listed == {"items": [{**ORG, "name_en": "", "version": 1}], "next": None}
