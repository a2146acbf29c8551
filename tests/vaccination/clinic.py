"""A clinic over HTTP: vials that it received, visits ready for a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from domain.shared.roles import Role
from domain.vaccination.model import SHIPPED_LIST
from tests.api.world import LOT, build
from tests.served import Api

V1 = "/api/v1/vaccination"
PRODUCT = "8474354"
SITE = "dwk-cdc"
NO = {question.question_id: False for question in SHIPPED_LIST.questions}


@contextmanager
def receiving(api: Api, codes: Sequence[str]) -> Iterator[httpx.Client]:
    """Give a vaccinator's client of a clinic that has received vials with these codes."""
    with api.client() as admin, api.client(Role.VACCINATOR, "640202") as client:
        build(admin)
        for body in (
            {"site": "szs", "step": "commissioning", "lot": LOT, "level": 1},
            {"site": "szs", "step": "shipping", "to": SITE, "bill": "B1"},
            {"site": SITE, "step": "receiving", "bill": "B1", "unit": "dwk-room-1"},
        ):
            at = api.clock.advance(minutes=10).isoformat()
            ok(admin.post("/api/v1/scans", json={"at": at, "codes": codes, **body}), 201)
        yield client


def ok(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """Return what was answered with one of these statuses, by default 200 and 201."""
    assert answer.status_code in (statuses or (200, 201)), answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """Hold that it was refused so."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def ready(clinic: httpx.Client, recipient: str, site: str = SITE) -> str:
    """Open a visit with consent and answers, and return its id."""
    body = {"site": site, "recipient": recipient, "product_id": PRODUCT, "series_dose": 1}
    visit_id = ok(clinic.post(f"{V1}/visits", json=body))["visit_id"]
    consent = {"given": True, "by": "guardian", "form_version": "2026-1"}
    ok(clinic.post(f"{V1}/visits/{visit_id}/consent", json=consent))
    answers = {"list_id": "general", "version": 1, "answers": NO}
    ok(clinic.post(f"{V1}/visits/{visit_id}/answers", json=answers))
    return str(visit_id)
