"""A store counts its boxes by number: against the book of the place, until explained."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain.shared.roles import Role
from tests.api.world import LOT, build
from tests.served import Api

V1 = "/api/v1"
CODES = [f"8474354018136004{n:04}" for n in range(12)]
PRODUCT = "8474354"


@pytest.fixture(scope="module")
def stocked(api: Api) -> None:
    """Put twelve boxes into the fridge of the clinic."""
    with api.client() as client:
        build(client)
        tell(api, client, "commissioning", site="szs", codes=CODES, lot=LOT, level=1)
        sent = {"site": "szs", "codes": CODES, "bill": "S1"}
        tell(api, client, "shipping", **sent, to="dwk-cdc")
        tell(api, client, "receiving", **sent | {"site": "dwk-cdc"}, tmin=3, unit="dwk-room-1")


def tell(api: Api, client: httpx.Client, step: str, **said: Any) -> httpx.Response:
    at = said.pop("at", None) or api.clock.advance(minutes=1).isoformat()
    body: dict[str, Any] = {"site": "dwk-cdc", "at": at, "step": step, "codes": []}
    return client.post(f"{V1}/scans", json=body | said)


def counted(number: int) -> list[dict[str, int]]:
    return [{"level": 1, "actual": number}]


def open_cases(client: httpx.Client) -> list[dict[str, Any]]:
    found = client.get(f"{V1}/exceptions", params={"state": "open", "kind": "MASS_IMBALANCE"})
    return [case for case in found.json()["items"] if case["site_id"] == "dwk-cdc"]


@pytest.mark.usefixtures("stocked")
def test_given_boxes_counted_when_one_is_missing_then_a_case_with_evidence_until_adjusted(
    api: Api,
) -> None:
    with api.client(Role.STORE_KEEPER, "640202") as keeper, api.client() as client:
        right = tell(api, keeper, "cycle_counting", lot=LOT, quantities=counted(12))
        assert (right.status_code, right.json()["warnings"]) == (201, [])
        count = {"fact_id": "count-1", "lot": LOT, "quantities": counted(11), "unit": "dwk-room-1"}
        told_at = api.clock.advance(minutes=1).isoformat()
        short = tell(api, keeper, "cycle_counting", at=told_at, **count)
        assert short.status_code == 201, short.text
        (warning,) = short.json()["warnings"]
        assert (warning["code"], warning["value"]) == ("count_differs", "11")
        assert "12" in warning["title_zh"]
        again = tell(api, keeper, "cycle_counting", at=told_at, **count)
        assert (again.status_code, again.json()["version"]) == (200, 1)
        (case,) = open_cases(client)
        (fact,) = client.get(f"{V1}/exceptions/{case['case_id']}").json()["facts"]
        assert (fact["fact_id"], fact["step"]) == ("count-1", "cycle_counting")
        said = {"lot": LOT, "units": -1, "reason": "破损", "unit": "dwk-room-1"}
        assert tell(api, keeper, "adjusting", **said).status_code == 201
        assert open_cases(client) == []
        after = tell(api, keeper, "cycle_counting", product=PRODUCT, quantities=counted(11))
        assert after.json()["warnings"] == []


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"quantities": counted(11)}, "missing_field"),
        ({"lot": LOT, "quantities": counted(1) * 2}, "bad_field"),
        ({"product": "8000000", "quantities": counted(1)}, "unknown_product"),
        ({"lot": LOT, "quantities": counted(11), "at": "2026-03-01T23:00:00Z"}, "book_moved_on"),
    ],
)
def test_given_a_count_that_no_book_can_be_held_against_when_told_then_refused(
    api: Api, said: dict[str, Any], code: str
) -> None:
    with api.client(Role.STORE_KEEPER, "640202") as keeper:
        answer = tell(api, keeper, "cycle_counting", **said)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    line = {"level": 1, "actual": 1}
    with api.client(Role.STORE_KEEPER, "640202") as keeper:
        bill = {"codes": CODES[:1], "to": "szs", "bill": "X", "quantities": [line]}
        assert tell(api, keeper, "shipping", **bill).json()["code"] == "bad_field"
