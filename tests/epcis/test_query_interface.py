"""Every operation of the standard's interface answers as listed, and the docs say so.

Each is asked for each status that it lists and a request can bring about; what was seen is the
table in docs/how-to/epcis-interface.md, row by row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from domain.epcis.document import events_of
from domain.shared.roles import Role
from tests.api.world import CODE, build
from tests.epcis.kept import accepted, document, object_event
from tests.served import Api

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "epcis-interface.md"
EPC = f"https://trace.example.org/code/{CODE}"
PLACE = "https://trace.example.org/org/dwk-cdc"
HOOK = {"dest": "https://client.example.com/", "signatureToken": "s3cret", "stream": True}
JSON = {"Content-Type": "application/json"}
# What no request brings about: a fault of the server. The upgrade is tested with sockets.
UNASKED = {"500": "–", "501": "–", "101": "✓"}


def _event(number: int) -> dict[str, Any]:
    return object_event(
        eventID=f"urn:uuid:{number}",
        eventTime="2026-03-01T08:00:00+08:00",
        bizStep="storing",
        disposition="available",
        epcList=[EPC],
        readPoint={"id": PLACE},
        bizLocation={"id": PLACE},
    )


@dataclass
class Asker:
    """Asks operations, with what they are about in place."""

    admin: httpx.Client
    known: dict[str, str]
    resident: httpx.Client
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(100, 1000)))

    def path(self, path: str, *, unknown: bool = False) -> str:
        """Return a path of an operation about something known, or about nothing known."""

        def put(found: re.Match[str]) -> str:
            return "nothing-of-the-kind" if unknown else quote(self.known[found[1]], safe="")

        return "/epcis" + re.sub(r"\{(\w+)\}", put, path)

    def body(self, path: str) -> Any:
        """Return a body that an operation takes, each time another."""
        number = next(self.numbers)
        if path == "/capture":
            return json.loads(document([_event(number)]))
        if path == "/events":
            return {**_event(number), "@context": CONTEXT}
        return {"name": f"query-{number}", "query": {}} if path == "/queries" else HOOK

    def seen(self, operation: dict[str, Any]) -> dict[str, httpx.Response]:
        """Return the answers of an operation, by status, to requests that should bring each."""
        method, path = operation["method"], operation["path"]
        asked: dict[str, Any] = {"url": self.path(path)}
        if method == "POST":
            asked["json"] = self.body(path)
        answers = [self._deleted(path) if method == "DELETE" else self._ask(method, **asked)]
        answers += [
            httpx.request(method, self.admin.base_url.join(asked["url"])),
            self.resident.request(method, **asked),
            self._ask(method, **{**asked, "headers": {"GS1-EPCIS-Min": "3.0.0"}}),
            self._ask(method, **{**asked, "headers": {"GS1-CBV-Version": "1.2.0"}}),
        ]
        if "{" in path:
            answers.append(self._ask(method, **{**asked, "url": self.path(path, unknown=True)}))
        if path.endswith("{queryName}/events"):
            answers.append(self._ask(method, url="/epcis/queries/few/events"))
        if method == "POST":
            answers += self._bad_bodies(path, asked)
            if "413" in operation["statuses"]:
                large = {"content": b" " * (17 << 20), "headers": JSON}
                answers.append(self._ask("POST", url=asked["url"], **large))
        else:
            answers += self._bad_queries(method, asked["url"])
        return {str(answer.status_code): answer for answer in reversed(answers)}

    def _ask(self, method: str, **asked: Any) -> httpx.Response:
        return self.admin.request(method, **asked)

    def _deleted(self, path: str) -> httpx.Response:
        """Delete one made for it, so that the rest still has its own."""
        made = dict(self.known)
        if path.endswith("{subscriptionID}"):
            subscriptions = f"/epcis/queries/{made['queryName']}/subscriptions"
            posted = self.admin.post(subscriptions, json=HOOK).json()
            made["subscriptionID"] = posted["subscriptionID"]
        elif path.endswith("{queryName}"):
            made["queryName"] = "to-go"
            self.admin.post("/epcis/queries", json={"name": "to-go", "query": {}})
        return self.admin.delete(Asker(self.admin, made, self.resident).path(path))

    def _bad_bodies(self, path: str, asked: dict[str, Any]) -> list[httpx.Response]:
        other = {"url": asked["url"], "content": "<EPCIS/>"}
        again = [self._ask("POST", **asked)]
        if path == "/events":
            changed = {**asked["json"], "bizStep": "receiving"}
            again = [self._ask("POST", url=asked["url"], json=changed)]
        return [
            self._ask("POST", **other, headers={"Content-Type": "application/xml"}),
            self._ask("POST", **{**other, "content": "{", "headers": JSON}),
            *again,
        ]

    def _bad_queries(self, method: str, url: str) -> list[httpx.Response]:
        bad = ["color=red", "x=" + "y" * 40_000, "maxEventCount=0"]
        return [self._ask(method, url=f"{url}?{query}") for query in bad]


CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"


@pytest.fixture(scope="module")
def asker(api: Api) -> Iterator[Asker]:
    """Give what asks, with an event, a job, a query, a subscription and a page token there."""
    with api.client() as admin, api.client(Role.RESIDENT) as resident:
        build(admin)
        job = admin.post("/epcis/capture", json=json.loads(document([_event(1), _event(2)])))
        assert job.status_code == 202, job.text
        admin.post("/epcis/queries", json={"name": "known", "query": {}})
        admin.post("/epcis/queries", json={"name": "few", "query": {"maxEventCount": 1}})
        made = admin.post("/epcis/queries/known/subscriptions", json=HOOK).json()
        page = admin.get("/epcis/events?perPage=1")
        known = {
            "captureID": job.headers["Location"].rpartition("/")[2],
            "eventID": "urn:uuid:1",
            "eventType": "ObjectEvent",
            "epc": EPC,
            "bizStep": "storing",
            "bizLocation": PLACE,
            "readPoint": PLACE,
            "disposition": "available",
            "queryName": "known",
            "subscriptionID": made["subscriptionID"],
            "token": page.links["next"]["url"].rpartition("=")[2],
        }
        yield Asker(admin, known, resident)


def test_given_each_operation_when_asked_then_as_listed_and_as_documented(
    asker: Asker, shared: Path
) -> None:
    listed = json.loads((shared / "standards" / "epcis" / "interface.json").read_text())
    kinds = set(listed["problemTypes"])
    rows = []
    for operation in listed["operations"]:
        method, path, statuses = operation["method"], operation["path"], operation["statuses"]
        seen = asker.seen(operation)
        name = f"{method} {path}"
        success = seen[min(seen)]
        assert str(success.status_code) in statuses, (name, success.text)
        assert {h for h in operation["successHeaders"] if h not in success.headers} <= PAGED, name
        for status, answer in seen.items():
            assert status != "500", (name, answer.text)
            if answer.is_error:
                assert answer.json()["type"] in kinds, (name, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
        told = [UNASKED.get(s, "✓" if s in seen else "·") for s in statuses]
        shown = " ".join(f"{s}{mark}" for s, mark in zip(statuses, told, strict=True))
        rows.append(f"| {method} | `{path}` | {shown} |")
    documented = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]+ \|", line)]
    assert documented == rows, "\n".join(rows)


# Only where there is a next page.
PAGED = {"Link", "GS1-Next-Page-Token-Expires"}


def test_given_every_listed_parameter_when_asked_then_it_is_known(
    asker: Asker, shared: Path
) -> None:
    listed = json.loads((shared / "standards" / "epcis" / "interface.json").read_text())
    sample = {"Time": "2026-03-01T00:00:00Z", "quantity": "1", "EQ_action": "ADD"}
    sample |= {"eventType": "ObjectEvent", "EQ_booleanValue": "true", "perPage": "2"}
    sample |= {"EXISTS_errorDeclaration": "true", "maxEventCount": "9", "orderBy": "eventTime"}
    sample |= {"orderDirection": "ASC", "eventCountLimit": "3"}
    for operation in listed["operations"]:
        if operation["method"] != "GET" or not operation["path"].endswith("/events"):
            continue
        for name in operation["queryParameters"]:
            value = next((v for n, v in sample.items() if name.endswith(n)), "urn:x:1")
            needed = "&orderBy=eventTime" if name == "eventCountLimit" else ""
            url = f"{asker.path(operation['path'])}?{name}={quote(value)}{needed}"
            answer = asker.admin.get(url)
            told = answer.json().get("field", "") if answer.is_error else ""
            stream = operation["path"].startswith("/queries")
            assert answer.status_code == 200 or name == "nextPageToken" or stream, (name, told)


def test_given_all_shared_documents_when_captured_and_asked_for_then_unchanged(
    asker: Asker, shared: Path
) -> None:
    headers = {"GS1-Capture-Error-Behaviour": "proceed"}
    captured = []
    for name, text in accepted(shared).items():
        found = json.loads(text)
        if found.get("type") == "EPCISDocument":
            posted = asker.admin.post("/epcis/capture", content=text, headers={**JSON, **headers})
            assert posted.status_code == 202, (name, posted.text)
            job = asker.admin.get(posted.headers["Location"]).json()
            new = {r["eventIndex"] for r in job["receipts"] if r["status"] == "captured"}
            captured += [event for n, event in enumerate(events_of(found)) if n in new]
            # Three of them use an id that another has for something else.
            remarks = [r["remarks"][0]["code"] for r in job["receipts"] if r["status"] == "refused"]
            assert set(remarks) <= {"fact_differs"}, (name, job)
    kept = []
    url: str | None = "/epcis/events?perPage=1000"
    while url is not None:
        answer = asker.admin.get(url, headers={"GS1-EPC-Format": "Never_Translates"})
        kept += events_of(answer.json())
        url = answer.links.get("next", {}).get("url")
    assert len(captured) > 50
    assert kept[-len(captured) :] == captured
