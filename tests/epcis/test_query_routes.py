"""Queries over HTTP: pages, forms of identifiers, collections, names, refusals, regions."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from domain.shared.roles import Role
from tests.epcis.kept import document, object_event, stored
from tests.served import Api

SGTIN = "urn:epc:id:sgtin:0614141.107346.{}"
LINK = "https://id.gs1.org/01/10614141073464/21/{}"
VIAL = "https://trace.example.org/code/84743540181360010008"
EXTENSIONS = {"GS1-Extensions": "ex=https://ns.example.org/"}
AS_CAPTURED = {"GS1-EPC-Format": "Never_Translates"}
EVENTS = [
    object_event(
        eventID=f"urn:uuid:{n}",
        eventTime=f"2026-03-01T08:00:0{9 - n}+08:00",
        bizStep="shipping" if n < 4 else "https://ns.example.org/step",
        epcList=[SGTIN.format(n), VIAL],
        readPoint={"id": "urn:epc:id:sgln:0614141.07346.1234"},
        **{"ex:n": n},
    )
    for n in range(1, 6)
]
CONTEXT = {"ex": "https://ns.example.org/"}


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx.Client]:
    """Give a client of an administrator, with five events captured at Shizuishan."""
    keep(api, *EVENTS)
    with api.client() as made:
        yield made


def keep(api: Api, *events: dict[str, Any], region: str = "640200") -> int:
    """Keep events as one captured document; return its position."""
    position = stored(api.deps.ledger, document(events, CONTEXT), region=region)
    api.followed(position)
    return position


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["epcisBody"]["queryResults"]["resultsBody"][
        "eventList"
    ]
    return found


def numbers(answer: httpx.Response) -> str:
    return "".join(event["eventID"][-1] for event in events_of(answer))


def refused(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"epcisException:{kind}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title_zh"] != answer.json()["title_en"]


@pytest.mark.parametrize(
    ("order", "count"),
    [
        ("", 5),
        ("&orderBy=eventTime&orderDirection=ASC", 0),
        ("&orderBy=ex:n", 0),
        ("&orderBy=eventTime&orderDirection=ASC&eventCountLimit=3", 3),
        ("&orderBy=eventTime&orderDirection=ASC&eventCountLimit=4", 4),
    ],
)
def test_given_captures_meanwhile_when_paged_then_the_pages_of_the_first_question(
    api: Api, client: httpx.Client, order: str, count: int
) -> None:
    asked = f"/epcis/events?MATCH_epc={VIAL}{order}"
    whole = numbers(client.get(f"{asked}&perPage=1000", headers=EXTENSIONS))
    url: str | None = f"{asked}&perPage=2"
    pages = []
    while url is not None:
        answer = client.get(url, headers=EXTENSIONS)
        pages.append(numbers(answer))
        url = answer.links.get("next", {}).get("url")
        assert ("GS1-Next-Page-Token-Expires" in answer.headers) == (url is not None)
        more = {"ex:n": 0, "eventTime": "2026-01-01T00:00:00Z"}  # first, had it been there before
        event = object_event(epcList=[VIAL], eventID=f"urn:{order}{url}", **more)
        keep(api, event, region="640300")
    assert "".join(pages) == whole
    assert max(map(len, pages)) == 2
    assert count in (0, len(whole))


def test_given_a_page_token_when_of_another_question_or_given_back_then_refused(
    client: httpx.Client,
) -> None:
    answer = client.get("/epcis/events?perPage=1&EQ_eventID=urn:uuid:1|urn:uuid:2")
    following = answer.links["next"]["url"]
    token = following.partition("nextPageToken=")[2]
    assert numbers(client.get(following)) == "2"
    other = client.get(f"/epcis/events?perPage=1&nextPageToken={token}")
    refused(other, 400, "QueryParameterException")
    assert client.delete(f"/epcis/nextPageToken/{token}").status_code == 204
    refused(client.get(following), 400, "QueryParameterException")
    refused(client.delete("/epcis/nextPageToken/abc"), 400, "QueryParameterException")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (
            "events",
            [
                ["x", 1, 1, 1],
                ["2026-03-01", 10**18 * 10, 1, 1],
                ["2026-03-01", 1, 2**31, 1],
                ["2026-03-01", 1, 1, -1],
                ["2026-03-01", 1, 1, 2],
                [],
            ],
        ),
        ("capture", [["x"], [-1], [{}]]),
        ("epcs", [["\0"], [5], [["\0"]]]),
        ("queries", [[None], ["a", "b"]]),
        ("queries/paged/subscriptions", [["x", "y"], ["2026-03-01", "\0"], ["2026-03-01"]]),
    ],
)
def test_given_an_edited_page_token_when_asked_then_refused(
    client: httpx.Client, path: str, keys: list[list[Any]]
) -> None:
    client.post("/epcis/queries", json={"name": "paged", "query": {}})
    asked = {"orderBy": "ex:n", "eventCountLimit": "2"} if path == "events" else {}
    digest = hashlib.sha256(f"/epcis/{path}?{urlencode(asked)}#".encode()).hexdigest()[:16]
    expires = 4e9
    edited = [[digest, 1, expires, key] for key in keys]
    edited += [[digest, -1, expires, keys[0]], [digest, 1, 1e308, keys[0]]]
    for told in edited:
        token = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
        answer = client.get(f"/epcis/{path}", params={**asked, "nextPageToken": token})
        refused(answer, 400, "QueryParameterException")
        assert answer.json()["code"] == "bad_page_token"
    refused(client.delete(f"/epcis/nextPageToken/{token}"), 400, "QueryParameterException")
    nul = client.delete(f"/epcis/nextPageToken/{token}%00")
    refused(nul, 400, "QueryParameterException")


def test_given_a_later_capture_when_asked_as_of_before_then_not_there(
    api: Api, client: httpx.Client
) -> None:
    asked = "/epcis/events?MATCH_epc=urn:x:later"
    before = client.get(asked).headers["Vaxtrail-Position"]
    keep(api, object_event(eventID="urn:uuid:7", epcList=["urn:x:later"]))
    assert numbers(client.get(asked)) == "7"
    assert numbers(client.get(f"{asked}&as_of={before}")) == ""
    refused(client.get(f"{asked}&as_of=L999999.T0"), 400, "QueryParameterException")
    refused(client.get(f"{asked}&as_of=yesterday"), 400, "QueryParameterException")


@pytest.mark.parametrize(
    ("form", "epc", "place"),
    [
        (None, LINK, "https://id.gs1.org/414/0614141073467/254/1234"),
        ("No_Preference", LINK, "https://id.gs1.org/414/0614141073467/254/1234"),
        ("Always_GS1_Digital_Link", LINK, "https://id.gs1.org/414/0614141073467/254/1234"),
        ("Always_EPC_URN", SGTIN, "urn:epc:id:sgln:0614141.07346.1234"),
        ("Never_Translates", SGTIN, "urn:epc:id:sgln:0614141.07346.1234"),
    ],
)
def test_given_a_form_of_identifiers_when_asked_then_gs1_keys_in_it_and_private_codes_as_they_are(
    client: httpx.Client, form: str | None, epc: str, place: str
) -> None:
    headers = {"GS1-EPC-Format": form} if form else {}
    answer = client.get("/epcis/events?EQ_eventID=urn:uuid:1", headers=headers)
    (event,) = events_of(answer)
    assert event["epcList"] == [epc.format(1), VIAL]
    assert event["readPoint"]["id"] == place
    assert event["ex:n"] == 1
    assert CONTEXT in answer.json()["@context"]
    assert ("recordTime" in event) == (form != "Never_Translates")


def test_given_digital_links_when_asked_for_urns_then_those_whose_company_prefix_is_known(
    api: Api, client: httpx.Client
) -> None:
    known, unknown = LINK.format("x"), "https://id.gs1.org/01/09521141012345/21/1"
    chinese = "https://id.gs1.org/01/06901234567892/21/7"
    keep(api, object_event(eventID="urn:uuid:8", epcList=[known, unknown, chinese]))
    headers = {"GS1-EPC-Format": "Always_EPC_URN"}
    (event,) = events_of(client.get("/epcis/events?EQ_eventID=urn:uuid:8", headers=headers))
    chinese_urn = "urn:epc:id:sgtin:6901234.056789.7"
    assert event["epcList"] == [SGTIN.format("x"), unknown, chinese_urn]


def test_given_documents_that_mean_different_things_by_a_prefix_when_asked_then_pages_apart(
    api: Api, client: httpx.Client
) -> None:
    text = document([object_event(eventID="urn:uuid:9", epcList=[VIAL])], {"ex": "https://other/"})
    api.followed(stored(api.deps.ledger, text, region="640200"))
    asked = "/epcis/events?EQ_eventID=urn:uuid:1|urn:uuid:9|urn:uuid:2"
    first = client.get(asked, headers=AS_CAPTURED)
    assert first.json()["@context"][1:] == [CONTEXT]
    second = client.get(first.links["next"]["url"], headers=AS_CAPTURED)
    assert second.json()["@context"][1:] == [{"ex": "https://other/"}]
    assert numbers(first) + numbers(second) == "129"
    assert "next" not in second.links


@pytest.mark.parametrize(
    ("path", "member", "found"),
    [
        ("eventTypes", "ObjectEvent", "12345"),
        ("epcs", LINK.format(2), "2"),
        ("epcs", SGTIN.format(2), "2"),
        ("bizSteps", "shipping", "123"),
        ("bizSteps", "https://ns.example.org/step", "45"),
        ("bizSteps", "ex:step", "45"),
        ("readPoints", "urn:epc:id:sgln:0614141.07346.1234", "12345"),
    ],
)
def test_given_a_member_of_a_collection_when_asked_then_its_events(
    client: httpx.Client, path: str, member: str, found: str
) -> None:
    url = f"/epcis/{path}/{quote(member, safe='')}"
    assert client.get(url, headers=EXTENSIONS).json()["member"] == ["events"]
    only = "EQ_eventID=" + "|".join(f"urn:uuid:{n}" for n in range(1, 6))
    answer = client.get(f"{url}/events?{only}", headers=EXTENSIONS)
    assert numbers(answer) == found


def test_given_collections_when_listed_then_what_is_in_store_in_pages(
    client: httpx.Client,
) -> None:
    types = client.get("/epcis/eventTypes").json()
    assert types["type"] == "Collection"
    assert "TransactionEvent" in types["member"]
    seen: list[str] = []
    url: str | None = "/epcis/epcs?perPage=2"
    while url is not None:
        answer = client.get(url)
        seen += answer.json()["member"]
        url = answer.links.get("next", {}).get("url")
    assert {LINK.format(1), LINK.format(5), VIAL} <= set(seen)
    assert len(seen) == len(set(seen))
    shown = client.get("/epcis/epcs", headers=AS_CAPTURED).json()["member"]
    assert SGTIN.format(1) in shown
    refused(client.get("/epcis/bizSteps/never_done"), 404, "NoSuchResourceException")
    refused(client.get("/epcis/bizSteps/never_done/events"), 404, "NoSuchResourceException")
    refused(client.get("/epcis/epcs?EQ_action=ADD"), 400, "QueryParameterException")


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("GE_eventDate=2026-01-01T00:00:00Z", "QueryParameterException"),
        ("EQ_action=SHRED", "QueryParameterException"),
        ("EQ_action=ADD&EQ_action=DELETE", "QueryParameterException"),
        ("GE_eventTime=yesterday", "QueryParameterException"),
        ("GE_quantity=many", "QueryParameterException"),
        ("eventType=PartyEvent", "QueryParameterException"),
        ("orderBy=color", "QueryParameterException"),
        ("orderDirection=UP", "QueryParameterException"),
        ("eventCountLimit=3", "QueryParameterException"),
        ("orderBy=eventTime&eventCountLimit=0", "QueryParameterException"),
        ("orderBy=eventTime&eventCountLimit=3&maxEventCount=3", "QueryParameterException"),
        ("EQ_bizStep=", "QueryParameterException"),
        ("EQ_bizStep=%00", "QueryParameterException"),
        ("EQ_booleanValue=maybe", "QueryParameterException"),
        ("EXISTS_errorDeclaration=maybe", "QueryParameterException"),
        ("GE_ex:n=red", "QueryParameterException"),
        ("perPage=0", "QueryParameterException"),
        ("perPage=x", "QueryParameterException"),
        ("EQ_ex:%00=1", "QueryParameterException"),
        ("orderBy=ex:%00n", "QueryParameterException"),
        ("nextPageToken=x", "QueryParameterException"),
    ],
)
def test_given_a_bad_parameter_when_asked_then_refused(
    client: httpx.Client, query: str, kind: str
) -> None:
    answer = client.get(f"/epcis/events?{query}")
    refused(answer, 400, kind)
    assert answer.json()["field"]


def test_given_more_events_than_allowed_when_asked_then_query_too_large(
    client: httpx.Client,
) -> None:
    only = "EQ_eventID=urn:uuid:1|urn:uuid:2|urn:uuid:3"
    assert numbers(client.get(f"/epcis/events?{only}&maxEventCount=3&perPage=1")) == "1"
    refused(client.get(f"/epcis/events?{only}&maxEventCount=2"), 413, "QueryTooLargeException")
    long = "|".join(f"urn:uuid:{n}" for n in range(4000))
    refused(client.get(f"/epcis/events?EQ_eventID={long}"), 414, "URITooLongException")


def test_given_a_region_when_asked_then_what_was_captured_there(api: Api) -> None:
    event = object_event(eventID="urn:uuid:6", epcList=["urn:x:yinchuan"], bizStep="packing")
    keep(api, event, region="640100")
    for region, found in (("640100", "6"), ("640000", "6"), ("640200", "")):
        with api.client(Role.CDC, region) as cdc:
            assert numbers(cdc.get("/epcis/events?MATCH_anyEPC=urn:x:yinchuan")) == found
            known = cdc.get("/epcis/epcs/urn:x:yinchuan")
            assert known.status_code == (200 if found else 404)
    with api.client(Role.CLINIC, "640100") as clinic:
        refused(clinic.get("/epcis/events"), 403, "SecurityException")


def test_given_a_query_when_named_then_answered_by_name_until_removed(
    client: httpx.Client,
) -> None:
    asked = {"name": "shipped", "query": {"EQ_bizStep": ["shipping"], "EQ_ex:n": [1, 3]}}
    made = client.post("/epcis/queries", json=asked, headers=EXTENSIONS)
    assert (made.status_code, made.headers["Location"]) == (201, "/epcis/queries/shipped")
    refused(client.post("/epcis/queries", json=asked), 409, "ResourceAlreadyExistsException")
    assert client.get("/epcis/queries/shipped").json() == asked
    assert asked in client.get("/epcis/queries").json()
    answer = client.get("/epcis/queries/shipped/events?perPage=1")
    assert numbers(answer) == "1"
    assert answer.json()["epcisBody"]["queryResults"]["queryName"] == "shipped"
    assert numbers(client.get(answer.links["next"]["url"])) == "3"
    refused(
        client.get("/epcis/queries/shipped/events?EQ_action=ADD"), 400, "QueryParameterException"
    )
    assert client.delete("/epcis/queries/shipped").status_code == 204
    for path in ("", "/events", "/subscriptions"):
        refused(client.get(f"/epcis/queries/shipped{path}"), 404, "NoSuchNameException")
    refused(client.delete("/epcis/queries/shipped"), 404, "NoSuchNameException")


def test_given_subscribers_of_other_regions_when_a_query_is_removed_then_refused_and_it_stays(
    api: Api, client: httpx.Client
) -> None:
    with api.client(Role.CDC, "640200") as city, api.client(Role.CDC, "640205") as county:
        assert city.post("/epcis/queries", json={"name": "kept", "query": {}}).status_code == 201
        made = county.post("/epcis/queries/kept/subscriptions", json=HOOK)
        assert made.status_code == 201, made.text
        # The city's grant covers that of its county, but not the other way round, nor the country.
        whole = client.post("/epcis/queries/kept/subscriptions", json=HOOK)
        refused(city.delete("/epcis/queries/kept"), 403, "SecurityException")
        assert city.get("/epcis/queries/kept/events").status_code == 200
        assert client.delete(whole.headers["Location"]).status_code == 204
        assert city.delete("/epcis/queries/kept").status_code == 204
        refused(county.get(made.headers["Location"]), 404, "NoSuchResourceException")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"name": "a/b", "query": {}}, "QueryValidationException"),
        ({"name": "x"}, "QueryValidationException"),
        ({"query": {}}, "QueryValidationException"),
        ([], "QueryValidationException"),
        ({"name": "x", "query": {"GE_eventDate": "2026"}}, "QueryParameterException"),
    ],
)
def test_given_no_query_when_named_then_refused(
    client: httpx.Client, body: object, kind: str
) -> None:
    refused(client.post("/epcis/queries", content=json.dumps(body), headers=JSON), 400, kind)


JSON = {"Content-Type": "application/json"}
HOOK = {"dest": "https://client.example.com/callback", "signatureToken": "s3cret", "stream": True}


def test_given_a_subscription_when_made_then_shown_without_its_secret_until_ended(
    client: httpx.Client,
) -> None:
    client.post("/epcis/queries", json={"name": "told", "query": {"EQ_bizStep": ["packing"]}})
    made = client.post("/epcis/queries/told/subscriptions", json=HOOK)
    assert made.status_code == 201, made.text
    location = made.headers["Location"]
    assert "s3cret" not in made.text
    assert made.json()["stream"] is True
    assert client.get(location).json() == made.json()
    scheduled = {**HOOK, "schedule": {"hour": "1", "minute": "5"}, "reportIfEmpty": True}
    del scheduled["stream"]
    other = client.post("/epcis/queries/told/subscriptions", json=scheduled).json()
    assert other["schedule"] == {"hour": "1", "minute": "5"}
    first = client.get("/epcis/queries/told/subscriptions?perPage=1")
    listed = first.json() + client.get(first.links["next"]["url"]).json()
    assert {one["subscriptionID"] for one in listed} == {
        made.json()["subscriptionID"],
        other["subscriptionID"],
    }
    known = client.options(location)
    assert known.status_code == 204
    assert known.headers["GS1-Query-Min-Record-Time"]
    assert client.delete(location).status_code == 204
    refused(client.get(location), 404, "NoSuchResourceException")
    client.delete("/epcis/queries/told")


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"stream": None}, "SubscriptionControlsException"),
        ({"schedule": {"hour": "1"}}, "SubscriptionControlsException"),
        ({"stream": None, "schedule": {"hour": "24"}}, "SubscriptionControlsException"),
        ({"stream": None, "schedule": "daily"}, "SubscriptionControlsException"),
        ({"reportIfEmpty": True}, "SubscriptionControlsException"),
        ({"initialRecordTime": "soon"}, "SubscriptionControlsException"),
        ({"initialPosition": "soon"}, "SubscriptionControlsException"),
        ({"signatureToken": ""}, "SubscriptionControlsException"),
        ({"color": "red"}, "SubscriptionControlsException"),
        ({"dest": "ftp://client.example.com/"}, "ValidationException"),
        ({"dest": "http://169.254.169.254/latest"}, "ValidationException"),
        ({"dest": "http://169\u3002254\uff0e169\uff61254/"}, "ValidationException"),
        ({"dest": "http://169.254.169.254./"}, "ValidationException"),
        ({"dest": "http://0.0.0.0/"}, "ValidationException"),
        ({"dest": "http://[::ffff:169.254.169.254]/"}, "ValidationException"),
        ({"dest": "https://client.example.com/\0"}, "ValidationException"),
        ({"dest": "https://client.example.com/a\r\nb"}, "ValidationException"),
    ],
)
def test_given_bad_controls_when_subscribing_then_refused(
    client: httpx.Client, more: dict[str, Any], kind: str
) -> None:
    client.post("/epcis/queries", json={"name": "bad", "query": {}})
    refused(client.post("/epcis/queries/bad/subscriptions", json=HOOK | more), 400, kind)


def test_given_a_name_with_a_nul_when_asked_for_then_unknown(client: httpx.Client) -> None:
    path = "/epcis/queries/%00"
    refused(client.get(path), 404, "NoSuchNameException")
    some = "00000000-0000-0000-0000-000000000000"
    refused(client.get(f"{path}/subscriptions/{some}"), 404, "NoSuchResourceException")


def test_given_a_query_for_so_many_events_when_subscribed_to_then_refused(
    client: httpx.Client,
) -> None:
    limited = {"orderBy": "eventTime", "eventCountLimit": 3}
    client.post("/epcis/queries", json={"name": "limited", "query": limited})
    answer = client.post("/epcis/queries/limited/subscriptions", json=HOOK)
    refused(answer, 400, "SubscriptionControlsException")
