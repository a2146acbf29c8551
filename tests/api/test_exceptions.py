"""The work list of exceptions, the balance and the recall of a lot, as the API gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from alerts.recalls import Recalls
from domain.shared.roles import Role
from tests.api.world import CODE, LOT, build, scan
from tests.served import Api

OTHER = "84743542292456873436"
LIST = "/api/v1/exceptions"
OWNER, NEW_OWNER = "126402024540000009", "12640200454000000C"


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx.Client]:
    """Give a client of a world where two vials were sent, one arrived, was used and used again."""
    with api.client() as client:
        build(client)
        for body in (
            {"site": "szs", "step": "commissioning", "lot": LOT, "codes": [CODE, OTHER]},
            {"site": "szs", "step": "shipping", "to": "dwk-cdc", "bill": "B1"}
            | {"codes": [CODE, OTHER]},
            {"site": "dwk-cdc", "step": "receiving", "bill": "B1"},
            {"site": "dwk-cdc", "step": "dispensing", "dose": 1, "recipient": "r-1"},
            {"site": "dwk-cdc", "step": "dispensing", "dose": 1, "recipient": "r-2"},
        ):
            send(api, client, **body)
        yield client


def send(api: Api, client: httpx.Client, **body: Any) -> httpx.Response:
    answer = client.post("/api/v1/scans", json=scan(api.clock.advance(minutes=30), **body))
    assert answer.status_code == 201, answer.text
    return answer


def listed(client: httpx.Client, **params: Any) -> dict[str, dict[str, Any]]:
    answer = client.get(LIST, params=params)
    assert answer.status_code == 200, answer.text
    return {item["kind"]: item for item in answer.json()["items"]}


def test_given_faults_when_listed_then_with_owner_and_due_time_for_each_region(
    api: Api, client: httpx.Client
) -> None:
    found = listed(client)
    assert set(found) == {"ALREADY_USED", "DATA_WITHOUT_PRODUCT"}
    used = found["ALREADY_USED"]
    assert (used["severity"], used["state"], used["owner"]) == ("critical", "open", OWNER)
    assert used["due_at"] > used["opened_at"]
    assert not used["overdue"]
    assert set(listed(client, severity="major")) == {"DATA_WITHOUT_PRODUCT"}
    assert set(listed(client, kind="ALREADY_USED", site_id="dwk-cdc")) == {"ALREADY_USED"}
    assert listed(client, owner=NEW_OWNER) == listed(client, overdue=True) == {}
    page = client.get(LIST, params={"limit": 1}).json()
    rest = client.get(LIST, params={"limit": 1, "cursor": page["next"]}).json()
    assert [len(page["items"]), len(rest["items"]), rest["next"]] == [1, 1, None]
    with api.client(Role.CLINIC, "640205") as elsewhere:
        assert listed(elsewhere) == {}
        assert elsewhere.get(f"{LIST}/{used['case_id']}").json()["code"] == "unknown_exception"


def test_given_a_case_when_read_then_its_codes_and_facts_in_their_order(
    client: httpx.Client,
) -> None:
    case = listed(client)["DATA_WITHOUT_PRODUCT"]
    read = client.get(f"{LIST}/{case['case_id']}").json()
    assert read["codes"] == [OTHER]
    assert [fact["step"] for fact in read["facts"]] == ["shipping", "receiving"]
    assert all(fact["position"] for fact in read["facts"])


def test_given_a_case_when_closed_and_new_facts_come_then_closed_and_open_again(
    api: Api, client: httpx.Client
) -> None:
    before = client.get(LIST).json()
    path = f"{LIST}/{listed(client)['DATA_WITHOUT_PRODUCT']['case_id']}"
    given = {"org_code": NEW_OWNER, "reason": "由发货方查找"}
    assert client.post(f"{path}/assignment", json=given).status_code == 201
    assert client.get(path).json()["owner"] == NEW_OWNER
    settled = {"resolution": "found", "reason": "在发货库找到"}
    with api.client(Role.CLINIC, "640202") as clinic:
        critical = f"{LIST}/{listed(client)['ALREADY_USED']['case_id']}/closing"
        assert clinic.post(critical, json=settled).json()["code"] == "not_permitted"
        assert clinic.post(f"{path}/closing", json=settled).is_success
        assert clinic.post(f"{path}/closing", json=settled).json()["code"] == "case_not_open"
    case = client.get(path).json()
    assert (case["state"], [act["act"] for act in case["acts"]]) == (
        "closed",
        ["assigned", "closed"],
    )
    send(api, client, site="dwk-cdc", step="receiving", bill="B1")
    case = client.get(path).json()
    assert (case["state"], case["reopened"]) == ("open", True)
    send(api, client, site="dwk-cdc", step="receiving", bill="B1", codes=[OTHER])
    case = client.get(path).json()
    assert (case["state"], case["units"]) == ("resolved", 1)
    again = client.get(LIST, params={"as_of": before["as_of"]}).json()
    assert again == before


def test_given_a_lot_when_balanced_and_recalled_then_every_unit_and_dose(
    api: Api, client: httpx.Client
) -> None:
    balance = client.get(f"/api/v1/lots/{LOT}/balance").json()
    total = balance["total"]
    assert (total["commissioned"], total["used"], total["difference"]) == (2, 1, 0)
    order = send(
        api, client, site="szs", step="holding", codes=[], lot=LOT, recall=True, reason="召回"
    )
    path = f"/api/v1/lots/{LOT}/recall"
    now = client.get(path)
    recall = now.json()
    assert [o["reason"] for o in recall["orders"]] == ["召回"]
    [holder] = recall["holders"]
    assert (holder["units"], recall["outstanding"]) == ({"held": 1, "used": 1}, ["dwk-cdc"])
    assert [(d["code"], d["after_recall"]) for d in recall["given"]] == [(CODE, False)] * 2
    assert client.get(path, params={"as_of": recall["as_of"]}).content == now.content
    with api.deps.pool.connection() as conn:
        assert [Recalls().tick(conn, api.clock.now()) for _ in range(2)] == [1, 0]
        told = conn.execute("SELECT payload ->> 'site_id' FROM outbox WHERE kind = 'recalled'")
        assert told.fetchall() == [("dwk-cdc",)]
    recall_id = order.json()["location"].rpartition("/")[2]
    send(
        api,
        client,
        site="dwk-cdc",
        step="acknowledging",
        codes=[],
        lot=LOT,
        recall_id=recall_id,
    )
    told = client.get(path).json()
    assert (told["outstanding"], told["holders"][0]["acknowledged_at"] is None) == ([], False)
    with api.client(Role.CLINIC, "640202") as clinic:
        assert clinic.get(f"/api/v1/lots/{LOT}/balance").json()["total"] is None
        assert [d["recipient"] for d in clinic.get(path).json()["given"]] == ["r-1", "r-2"]
    with api.client(Role.CLINIC, "640205") as elsewhere:
        assert elsewhere.get(path).status_code == 404
