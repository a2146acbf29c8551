"""A county asks every route for what is another county's: it meets nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from api.app import discover
from api.auth import Allowed
from domain.shared.roles import Role
from tests.api.test_custody_scope import ELSEWHERE
from tests.api.world import build
from tests.epcis.kept import document, object_event
from tests.served import Api

OWN, OTHER = "640202", "640205"
SITE, STORE = "hn-clinic", "hn-store"
LOT, MADE = "8474354.HN1", [f"8474354{n:013d}" for n in range(500, 506)]
V1 = "/api/v1/vaccination"
MODULES = {"traceability", "oversight", "vaccination", "epcis"}
# Who asks, of those who may.
ASKING = (Role.CDC, Role.REGULATOR, Role.VACCINATOR, Role.CLINIC, Role.ADMIN)
# Master data of the whole country.
SHARED = {
    "/api/v1/products",
    "/api/v1/lots",
    "/api/v1/products/{product_id}",
    "/api/v1/lots/{lot_id}",
    f"{V1}/question-lists/{{list_id}}",
}


Clients = Callable[[Role, str], httpx.Client]


class Route(NamedTuple):
    """A route, and one of the roles that may ask it."""

    method: str
    path: str
    role: Role


def routes() -> Iterator[Route]:
    """Return what may be asked, each with a role."""
    for router in discover():
        for route in router.routes:
            named: Any = route
            if not MODULES.intersection(getattr(named, "tags", ())) or named.path in SHARED:
                continue
            allowed = next(
                d.call for d in named.dependant.dependencies if isinstance(d.call, Allowed)
            )
            role = next((r for r in ASKING if r in allowed.roles), Role.ADMIN)
            for method in sorted(named.methods - {"HEAD", "OPTIONS"}):
                yield Route(method, named.path_format, role)


READ = sorted({route for route in routes() if route.method == "GET"})


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, (answer.request.url, answer.text)
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def theirs(api: Api) -> dict[str, str]:
    """Make everything of the other county there can be; return it by parameter of a path."""
    with api.client() as admin:
        build(admin)
        store = {"site_id": STORE, "site_no": 10, "name": "惠农冷库", "kind": "county_cdc"}
        for site in (ELSEWHERE, ELSEWHERE | store):
            ok(admin.post("/api/v1/sites", json=site))
        lot = {"product_id": "8474354", "lot_number": "HN1", "expires_on": "2028-02-28"}
        ok(admin.post("/api/v1/lots", json=lot))
        price = {"product_id": "8474354", "region_code": OTHER, "price_fen": 1000}
        more = {"service_fen": 100, "valid_from": "2026-03-01", "basis": "惠农中标价"}
        ok(admin.post(f"{V1}/prices", json=price | more))
    with api.client(Role.CDC, OTHER) as cdc, api.client(Role.VACCINATOR, OTHER) as nurse:
        goods(api, cdc)
        return {
            "lot_id": LOT,
            "code": MADE[0],
            "fact_id": "hn-given",
            "region_code": OTHER,
            "site_id": SITE,
            **events(cdc),
            **clinic(api, nurse),
            **inspected(api),
            "case_id": case_of(cdc),
        }


def goods(api: Api, cdc: httpx.Client) -> None:
    """Move goods within the county, one of which is lost on its way, and give a dose."""
    for site, step, codes, more in (
        (STORE, "commissioning", MADE, {"lot": LOT, "fact_id": "hn-made"}),
        (STORE, "shipping", MADE[:3], {"to": SITE, "bill": "HN-BILL", "vehicle": "hn-truck"}),
        (SITE, "receiving", MADE[:2], {"bill": "HN-BILL", "from": STORE}),
        (SITE, "dispensing", MADE[:1], {"fact_id": "hn-given", "recipient": "R-hn"}),
    ):
        at = api.clock.advance(minutes=10).isoformat()
        body = {"site": site, "step": step, "at": at, "codes": codes} | more
        ok(cdc.post("/api/v1/scans", json=body))


def events(cdc: httpx.Client) -> dict[str, str]:
    """Capture an event of the county and one that names no place, and ask for them by name."""
    place = {"id": f"https://trace.example.org/org/{SITE}"}
    placed = object_event(
        eventID="urn:hn:1", bizStep="collecting", readPoint=place, epcList=["urn:hn:box"]
    )
    unplaced = object_event(eventID="urn:hn:2", bizStep="other", epcList=["urn:hn:thing"])
    taken = cdc.post("/epcis/capture", content=document([placed, unplaced]), headers=JSON)
    assert taken.status_code == 202, taken.text
    job = taken.headers["location"].rpartition("/")[2]
    assert ok(cdc.get(f"/epcis/capture/{job}"))["success"]
    known = object_event(
        eventID="urn:hn:3", bizStep="storing", readPoint=place, epcList=[f"urn:x:{MADE[1]}"]
    )
    known["epcList"] = [f"https://trace.example.org/code/{MADE[1]}"]
    kept = ok(cdc.post("/api/v1/captures", content=document([known]), headers=JSON))
    query = {"name": "hn-query", "query": {"MATCH_anyEPC": ["urn:hn:thing"]}}
    ok(cdc.post("/epcis/queries", json=query))
    return {
        "capture_id": job,
        "sha256": kept["sha256"],
        "event_id": "urn:hn:2",
        "value": "urn:hn:thing",
        "name": "hn-query",
        "token": "x",
        "subscription_id": "00000000-0000-0000-0000-000000000000",
    }


JSON = {"Content-Type": "application/json"}


def clinic(api: Api, nurse: httpx.Client) -> dict[str, str]:
    """Register a child, a visit, a check, a reaction, an order of goods and a charge."""
    item = {"product_ids": ["8474354"], "series_dose": 1, "not_before": "2026-03-01"}
    due = {"site": SITE, "items": [item], "source": "惠农"}
    ok(nurse.post(f"{V1}/people/R-hn/due-list", json=due))
    visit = {"site": SITE, "recipient": "R-hn", "product_id": "8474354", "series_dose": 1}
    ok(nurse.post(f"{V1}/visits", json=visit | {"visit_id": "hn-visit"}))
    checked = {"site": SITE, "recipient": "R-hn", "code": MADE[1], "visit_id": "hn-visit"}
    check = ok(nurse.post(f"{V1}/checks", json=checked))
    seen = {"fact_id": "hn-given", "onset_at": api.clock.now().isoformat(), "serious": False}
    ok(nurse.post(f"{V1}/aefi", json=seen | {"signs": ["fever"], "aefi_id": "hn-aefi"}))
    line = {"product_id": "8474354", "units": 1}
    wanted = {"site_id": SITE, "supplier_id": STORE, "lines": [line]}
    ok(nurse.post(f"{V1}/requisitions", json=wanted | {"requisition_id": "hn-req"}))
    charge = {"site_id": SITE, "recipient": "R-hn", "product_id": "8474354"}
    ok(nurse.post(f"{V1}/charges", json=charge | {"charge_id": "hn-charge"}))
    return {
        "recipient": "R-hn",
        "visit_id": "hn-visit",
        "check_id": check["check_id"],
        "aefi_id": "hn-aefi",
        "requisition_id": "hn-req",
        "charge_id": "hn-charge",
        "transfer_id": "hn-transfer",
        "not_given_id": "hn-not-given",
    }


def inspected(api: Api) -> dict[str, str]:
    """Open an inspection of the county."""
    api.key(Role.INSPECTOR, OTHER)
    until = api.clock.now().replace(year=api.clock.now().year + 1).isoformat()
    told = {"key_id": f"inspector-{OTHER}", "case_no": "HN-1", "region_code": OTHER}
    with api.client(Role.REGULATOR, OTHER) as regulator:
        body = told | {"valid_until": until, "grounds": "专项检查"}
        made = ok(regulator.post("/api/v1/inspections", json=body))
    return {"inspection_id": made["location"].rpartition("/")[2]}


def case_of(cdc: httpx.Client) -> str:
    [case] = ok(cdc.get("/api/v1/exceptions", params={"kind": "DATA_WITHOUT_PRODUCT"}))["items"]
    return str(case["case_id"])


def url_of(path: str, theirs: dict[str, str]) -> str:
    for name, value in theirs.items():
        for named in (f"{{{name}}}", f"{{{name}:path}}"):
            path = path.replace(named, quote(value, safe=""))
    assert "{" not in path, path
    return path


@pytest.fixture(scope="module")
def client_of(api: Api) -> Iterator[Clients]:
    """Give clients of a role in a region, one of each."""
    with ExitStack() as opened:
        yield cache(lambda role, region: opened.enter_context(api.client(role, region)))


def words(text: str, theirs: dict[str, str], path: str) -> list[str]:
    """Return what of the other county stands in a text, beside what was asked for."""
    for name, value in theirs.items():
        text = text.replace(value, "") if f"{{{name}" in path else text
    secret = [SITE, STORE, "HN-BILL", "hn-", "R-hn", "urn:hn", *MADE, theirs["sha256"]]
    return [word for word in secret if word in text]


@pytest.mark.parametrize("route", READ, ids=lambda r: r.path)
def test_given_another_countys_things_when_asked_for_then_not_there(
    client_of: Clients, theirs: dict[str, str], route: Route
) -> None:
    needed = {"minutes": "0"} if route.path.endswith("/exposed-doses") else {}
    url = url_of(route.path, theirs)
    own, other = (client_of(route.role, r).get(url, params=needed) for r in (OWN, OTHER))
    assert own.status_code < 500, own.text
    assert not words(own.text, theirs, route.path)
    # What the other county itself is told much of is not there at all.
    if "{" in route.path and other.is_success and words(other.text, theirs, route.path):
        assert own.status_code in {403, 404}, own.text


REASON = {"reason": "不是我们的"}
ACTS: list[tuple[Role, str, dict[str, Any]]] = [
    (Role.CDC, "/api/v1/scans/hn-made/withdrawal", {"site": "dwk-cdc", **REASON}),
    (
        Role.CDC,
        "/api/v1/exceptions/{case_id}/closing",
        {"resolution": "found", **REASON},
    ),
    (
        Role.CDC,
        "/api/v1/exceptions/{case_id}/assignment",
        {"org_code": "12640200454000000C", **REASON},
    ),
    (
        Role.VACCINATOR,
        f"{V1}/visits/{{visit_id}}/consent",
        {"given": True, "by": "guardian", "form_version": "1"},
    ),
    (Role.VACCINATOR, f"{V1}/doses/hn-given/observation-end", {"reaction": False}),
    (Role.CDC, f"{V1}/aefi/{{aefi_id}}/classification", {"cause": "coincidence"}),
    (Role.CDC, f"{V1}/requisitions/{{requisition_id}}/approval", {}),
    (Role.CDC, f"{V1}/requisitions/{{requisition_id}}/refusal", REASON),
    (Role.VACCINATOR, f"{V1}/charges/{{charge_id}}/cancellation", REASON),
    (Role.REGULATOR, "/api/v1/inspections/{inspection_id}/ending", REASON),
]


@pytest.mark.parametrize(("role", "path", "body"), ACTS, ids=[path for _, path, _ in ACTS])
def test_given_another_countys_things_when_acted_upon_then_not_there(
    client_of: Clients, theirs: dict[str, str], role: Role, path: str, body: dict[str, Any]
) -> None:
    answer = client_of(role, OWN).post(url_of(path, theirs), json=body)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"].startswith("unknown_"), answer.text


def test_given_an_event_of_no_place_when_two_counties_send_it_then_each_has_its_own(
    api: Api, theirs: dict[str, str]
) -> None:
    thing = {"bizStep": "other", "epcList": ["urn:hn:thing"]}
    same = object_event(eventID="urn:hn:2", **thing)
    other = same | {"epcList": ["urn:x:own"]}
    wrong = {"declarationTime": "2026-03-01T09:00:00+08:00", "reason": "incorrect_data"}
    with api.client(Role.CDC, OWN) as own:
        # Nobody else's id is in the way, and nobody is told that it is.
        assert receipts(own, other) == ["captured"]
        assert receipts(own, other, more="1") == ["known"]
        assert receipts(own, same) == ["refused"]
        assert receipts(own, same | {"errorDeclaration": wrong}) == ["refused"]
        assert receipts(own, other | {"errorDeclaration": wrong}) == ["captured"]
        kept = ok(own.get("/epcis/events/urn:hn:2"))
    shown = kept["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert [event["epcList"] for event in shown] == [["urn:x:own"]] * 2
    with api.client(Role.CDC, OTHER) as their:
        found = ok(their.get("/epcis/events/urn:hn:2"))
    [event] = found["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert (event["epcList"], "errorDeclaration" in event) == (["urn:hn:thing"], False)


def receipts(client: httpx.Client, event: dict[str, Any], **header: str) -> list[str]:
    """Capture an event in a document of its own; return what became of it."""
    headers = JSON | {"GS1-Capture-Error-Behaviour": "proceed"}
    content = document([event], {"own": "urn:x:own:"} if header else {})
    taken = client.post("/epcis/capture", content=content, headers=headers)
    assert taken.status_code == 202, taken.text
    return [one["status"] for one in ok(client.get(taken.headers["location"]))["receipts"]]
