"""Bad input of every kind: told in both languages, kept, and nobody else is held up by it."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from runtime.broker import MAX_PAYLOAD
from simulators import wire
from simulators.city import org_code
from simulators.http import Api
from simulators.wire import Message, Publisher, Refusal
from tests.journeys import tree
from tests.runtime.instance import Done, Up, answers, run

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

REGION, SITE, GATEWAY, DEVICE, SCANNER = "640202", "bad-site", "GW-bad", "TH-bad", "SC-bad"
PRODUCT = "8690077"
ORG = org_code("12", REGION, 930_001)
BASE = wire.prefix(REGION, SITE, GATEWAY)
SCANS = wire.prefix(REGION, SITE, SCANNER)
TELE = f"{BASE}/tele/{DEVICE}"
NOW_MS = round(time.time() * 1000) - 3_600_000
PARTS = {"postgres", "broker", "project", "alert", "ingest", "api"}
KIB = 1024


def single(seq: int, **changed: object) -> bytes:
    """Return one good reading with some fields changed."""
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS + seq * 1000, "m": {"t1": 5.0}}
    return wire.encode({**body, **changed})


def scan(seq: int, *codes: str, **changed: object) -> bytes:
    """Return one good scan with some fields changed."""
    body = {"v": 1, "boot": 1, "seq": seq, "ts": NOW_MS, "step": "receiving", "bill": "CK-1"}
    return wire.encode({**body, "codes": list(codes), **changed})


CODE = f"{PRODUCT}{10**12}"
# What is sent, where to, and the code under which it is refused.
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "clock fell back to 2000": (TELE, single(1, ts=946_684_800_000), "clock"),
    "clock a day ahead": (TELE, single(2, ts=NOW_MS + 90_000_000), "clock"),
    "seconds for milliseconds": (TELE, single(3, ts=NOW_MS // 1000), "clock"),
    "unknown device": (f"{BASE}/tele/TH-nobody", single(4), "unknown_device"),
    "another gateway": (f"{wire.prefix(REGION, SITE, 'GW-x')}/tele/{DEVICE}", single(5), "acl"),
    "another region": (f"{wire.prefix('640205', SITE, GATEWAY)}/tele/{DEVICE}", single(6), "acl"),
    "another site": (f"{wire.prefix(REGION, 'site-x', GATEWAY)}/tele/{DEVICE}", single(7), "acl"),
    "another device named": (TELE, single(8, dev="TH-other"), "acl"),
    "no JSON": (TELE, b"21.5", "schema"),
    "cut off": (TELE, single(9)[:30], "schema"),
    "empty": (TELE, b"", "schema"),
    "no UTF-8": (TELE, b'{"v":1,"dev":"\xff\xfe"}', "schema"),
    "a NUL": (TELE, b'{"v":1}\x00', "schema"),
    "nested deep": (TELE, b"[" * 10_000, "schema"),
    "a text for a value": (TELE, single(10, m={"t1": "warm"}), "schema"),
    "a temperature that cannot be": (TELE, single(11, m={"t1": 451.0}), "schema"),
    "an unknown version": (TELE, single(12, v=9), "schema"),
    "broken gzip": (TELE, gzip.compress(single(13))[:-9], "schema"),
    "70 KiB": (TELE, single(14, q={"t1": "x" * 70 * KIB}), "too_large"),
    "1 MiB in gzip": (TELE, gzip.compress(b" " * KIB * KIB), "too_large"),
    "unknown code": (f"{SCANS}/scan", scan(1, f"8999999{10**12}"), "unknown_code"),
    "misread code": (f"{SCANS}/scan", scan(2, CODE[:-1]), "bad_code"),
    "unknown step": (f"{SCANS}/scan", scan(3, CODE, step="juggling"), "schema"),
    "scan at an unknown site": (
        f"{wire.prefix(REGION, 'site-x', SCANNER)}/scan",
        scan(4, CODE),
        "unknown_site",
    ),
    "scan without JSON": (f"{SCANS}/scan", b"beep", "schema"),
}
# Topics whose sender cannot be told, since its name is none.
NAMELESS = (f"{BASE}/tele/TH.bad", f"{BASE}/tele/温度", "cc/v1/99/s/g/tele/d", f"{BASE}/tele/")


@dataclass
class Field:
    """A site with one gateway, one device and one product, and somebody who publishes there."""

    up: Up
    api: Api
    publisher: Publisher

    def send(self, topic: str, payload: bytes, refused: str = "") -> list[Refusal]:
        """Publish one message, wait for its answer, and return its refusals."""
        before = len(self.publisher.tally.refusals)
        readings = "/scan" not in topic
        message = Message(topic, payload, readings=readings, scans=not readings, refused=refused)
        self.publisher.send([message], timeout_s=30)
        return self.publisher.tally.refusals[before:]

    def stored(self) -> list[tuple[Any, ...]]:
        """Return (seq, t1) of the device's stored readings."""
        query = "SELECT seq, t1 FROM reading JOIN device_no USING (device_no) WHERE device_id = %s"
        return tree.rows(self.up, f"{query} ORDER BY seq", DEVICE)


@pytest.fixture(scope="module")
def field(up: Up, api: Api) -> Iterator[Field]:
    """Register what good messages need."""
    names = {"name": "坏输入", "name_en": "Bad input"}
    unit = {"unit_id": "bad-unit", "site_id": SITE, "kind": "refrigerator", **names}
    for path, body in (
        ("/organisations", {"org_code": ORG, "region_code": REGION, **names}),
        ("/sites", {"site_id": SITE, "org_code": ORG, "site_no": 1, "kind": "clinic",
                    "region_code": REGION, **names}),
        ("/units", {**unit, "profile_id": "vaccine_2_8"}),
        ("/gateways", {"gateway_id": GATEWAY, "site_id": SITE}),
        ("/devices", {"device_id": DEVICE, "gateway_id": GATEWAY, "channels": ["t1"],
                      "interval_s": 60}),
        ("/products", {"product_id": PRODUCT, "holder": "示例", "doses_per_vial": 1,
                       "temperature_c_min": 2.0, "temperature_c_max": 8.0,
                       "freeze_sensitive": True, **names}),
    ):  # fmt: skip
        api.post(path, body, wait_s=5)
    publisher = Publisher(up.instance["mqtt_gateway_url"], "bad-gateway")
    yield Field(up, api, publisher)
    publisher.close()


@pytest.fixture(scope="module")
def key(field: Field) -> str:
    """Give an administrator's key."""
    return known_key(field, "admin", "000000")


@pytest.mark.parametrize("name", REFUSED)
def test_given_a_bad_message_when_published_then_refused_in_both_languages_and_kept(
    field: Field, name: str
) -> None:
    topic, payload, code = REFUSED[name]
    before = field.stored()
    (refusal,) = field.send(topic, payload, code)
    assert refusal.code == code
    bilingual(refusal.detail_zh + refusal.detail_en)
    kept = field.api.get(f"/quarantine/{refusal.quarantine_id}")
    assert (kept["code"], kept["topic"], kept["state"]) == (code, topic, "open")
    query = "SELECT payload FROM quarantine WHERE id = %s"
    assert tree.rows(field.up, query, refusal.quarantine_id) == [(payload,)]
    assert field.stored() == before


@pytest.mark.parametrize("topic", NAMELESS)
def test_given_a_topic_without_a_name_when_published_then_kept(field: Field, topic: str) -> None:
    sent(field.up, topic, b"{}")
    tree.until(lambda: topic in quarantined(field), 15.0, f"{topic} is not in quarantine")


@pytest.mark.parametrize(
    ("topic", "size", "next_seq"),
    [(f"{BASE}/tele/TH bad", 2, 101), (TELE, MAX_PAYLOAD + KIB, 102)],
    ids=["space", "size"],
)
def test_given_what_the_broker_cannot_take_when_published_then_not_acknowledged_only_cut_off(
    field: Field, topic: str, size: int, next_seq: int
) -> None:
    assert not sent(field.up, topic, b" " * size)
    assert sent(field.up, TELE, single(next_seq))
    tree.until(lambda: (next_seq, 5.0) in field.stored(), 15.0, "what follows is not stored")


def test_given_repeated_and_unplugged_readings_when_published_then_stored_once_as_they_are(
    field: Field,
) -> None:
    unplugged = single(51, m={"t1": None})
    for payload in (single(50), single(50), unplugged, unplugged, single(52)):
        assert field.send(TELE, payload) == []
    found = [row for row in field.stored() if 50 <= row[0] <= 52]
    assert found == [(50, 5.0), (51, None), (52, 5.0)]


def test_given_another_value_under_a_number_when_published_then_the_first_stands(
    field: Field,
) -> None:
    field.send(TELE, single(60))
    field.send(TELE, single(60, m={"t1": 9.9}))
    assert (60, 5.0) in field.stored()
    query = "SELECT count(*) FROM telemetry_events WHERE topic LIKE '%%Conflict%%'"
    assert tree.rows(field.up, query) == [(1,)]


def test_given_a_refused_message_when_its_cause_is_mended_then_replayed_and_stored(
    field: Field,
) -> None:
    device = "TH-late"
    topic = f"{BASE}/tele/{device}"
    (refusal,) = field.send(topic, single(1), "unknown_device")
    body = {"device_id": device, "gateway_id": GATEWAY, "channels": ["t1"], "interval_s": 60}
    field.api.post("/devices", body, wait_s=5)
    assert run(field.up.data, "quarantine", "replay", refusal.quarantine_id).returncode == 0
    path = f"/quarantine/{refusal.quarantine_id}"
    tree.until(lambda: field.api.get(path)["state"] == "resolved", 15.0, "it is not resolved")


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "malformed JSON": ({"content": b'{"site_id": '}, 400),
    "no JSON at all": ({"content": b"\xff\xfe"}, 400),
    "another media type": ({"content": b"a=1", "headers": {"Content-Type": "text/plain"}}, 415),
    "2 MiB": ({"content": b'"' + b"x" * 2 * KIB * KIB + b'"'}, 413),
    "2 MiB without a length": ({"content": [b"x" * KIB * KIB] * 2}, 413),
    "no key": ({"content": b"{}", "headers": {"Authorization": ""}}, 401),
    "a wrong key": ({"content": b"{}", "headers": {"Authorization": "Bearer vt_x"}}, 401),
    "an unknown field": ({"json": {"site_id": "x", "colour": "red"}}, 422),
    "a wrong field": ({"json": {"site_id": "a b"}}, 422),
    "an unknown parameter": ({"json": {}, "params": {"colour": "red"}}, 400),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_given_a_bad_request_when_posted_then_a_problem_in_both_languages(
    field: Field, key: str, name: str
) -> None:
    request, status = BAD_REQUESTS[name]
    problem(posted(field, "/sites", key, **request), status)


@pytest.mark.parametrize(
    ("role", "region", "status"), [("nurse", REGION, 403), ("cdc", "530000", 403)]
)
def test_given_a_key_of_less_when_posting_then_forbidden(
    field: Field, role: str, region: str, status: int
) -> None:
    body = {"site_id": "new-site", "org_code": ORG, "site_no": 2, "name": "新", "kind": "clinic",
            "region_code": REGION}  # fmt: skip
    problem(posted(field, "/sites", known_key(field, role, region), json=body), status)


def test_given_a_csv_with_bad_lines_when_imported_then_good_ones_in_and_bad_ones_named(
    field: Field, tmp_path: Path
) -> None:
    good = f"csv-site,{ORG},7,乡卫生院,clinic,{REGION}"
    file = tmp_path / "sites.csv"
    file.write_text(
        "site_id,org_code,site_no,name,kind,region_code\n"
        f"{good}\nb c,{ORG},8,坏编号,clinic,{REGION}\nd,123,9,坏代码,clinic,{REGION}\n"
        f"e,{ORG},x,坏序号,clinic,{REGION}\nf,{ORG},7,重号,clinic,{REGION}\n"
    )
    for new in (1, 0):
        done = run(field.up.data, "import", "sites", str(file))
        assert done.returncode == 1
        assert f"{new} new, {1 - new} unchanged, 4 wrong" in done.stdout
        lines = done.stderr.splitlines()
        assert [line.split()[1] for line in lines] == ["3", "4", "5", "6"]
        for line in lines:
            bilingual(line)
    field.api.follow()
    assert field.api.get("/sites/csv-site")["name"] == "乡卫生院"


BROKEN_DOCUMENT = json.dumps(
    {"type": "EPCISDocument", "epcisBody": {"eventList": [{"type": "ObjectEvent"}]}}
)
BROKEN_MASTER = json.dumps({"organisations": {"x": {}}, "products": {}, "lots": {}})
Files: TypeAlias = Callable[[str, str], str]
BAD_COMMANDS: dict[str, Callable[[Files], list[str]]] = {
    "replay of another file": lambda f: ["replay", f("a.txt", "hello")],
    "capture of no JSON": lambda f: ["capture", f("b.json", "<xml/>")],
    "capture of a broken document": lambda f: ["capture", f("c.json", BROKEN_DOCUMENT)],
    "capture with no master": lambda f: [
        *("capture", f("none.json", "")),
        *("--master", f("d.json", BROKEN_MASTER)),
    ],
    "import of no file": lambda _: ["import", "sites", "/nonexistent/file"],
    "import of other columns": lambda f: ["import", "sites", f("e.csv", "colour\nred\n")],
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_given_a_bad_command_when_run_then_told_in_both_languages(
    field: Field, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    def written(file: str, text: str) -> str:
        (tmp_path / file).write_text(text)
        return str(tmp_path / file)

    done = run(field.up.data, *BAD_COMMANDS[name](written))
    of_driver = capfd.readouterr()
    failed(Done(done.returncode, done.stdout + of_driver.out, done.stderr + of_driver.err))


def test_given_an_unknown_setting_when_anything_is_run_then_refused(up: Up) -> None:
    refused = run(up.data, "status", VAXTRAIL_COLOUR="red")
    failed(refused)
    assert "VAXTRAIL_COLOUR" in refused.stderr


def test_given_all_of_it_when_looked_at_then_all_parts_live_and_all_refusals_are_listed(
    field: Field,
) -> None:
    assert answers(field.up.instance["api_url"] + "/readyz")
    found = tree.status(field.up.data)
    assert found["ready"]
    assert set(found["parts"]) == PARTS
    assert all(part["restarts"] == 0 for part in found["parts"].values())
    listed = run(field.up.data, "quarantine", "list", "--all", "--limit", "1000").stdout
    for refusal in field.publisher.tally.refusals:
        assert refusal.quarantine_id in listed
    assert tree.rows(field.up, "SELECT count(*) FROM quarantine WHERE code = 'poison'") == [(0,)]
    assert tree.rows(field.up, "SELECT count(*) FROM dead_letter") == [(0,)]
    assert field.send(TELE, single(999)) == []
    assert (999, 5.0) in field.stored()


def known_key(field: Field, role: str, region: str) -> str:
    """Issue a key and wait until the API knows it."""
    key = tree.key(field.up.data, role, region)
    tree.until(lambda: posted(field, "/sites", key, json={}).status_code != 401, 10.0, "no key")
    return key


def quarantined(field: Field) -> set[str]:
    """Return the topics of all refused messages."""
    return {topic for (topic,) in tree.rows(field.up, "SELECT topic FROM quarantine")}


def sent(up: Up, topic: str, payload: bytes) -> bool:
    """Publish as another client; tell whether it was acknowledged before the connection ended."""
    over: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "bad-client", reconnect_on_failure=False)
    client.username_pw_set("gateway", (up.data / "secrets" / "mqtt_gateway").read_text())
    client.on_publish = lambda *_: over.append(True)
    client.on_disconnect = lambda *_: over.append(False)
    client.connect("127.0.0.1", up.instance["ports"]["mqtt"])
    client.loop_start()
    client.publish(topic, payload, qos=1)
    tree.until(lambda: bool(over), 15.0, "neither acknowledged nor cut off")
    client.disconnect()
    client.loop_stop()
    return over[0]


def posted(field: Field, path: str, key: str, **request: Any) -> httpx.Response:
    """Post to the API as given; JSON and the key unless the request says otherwise."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    given = {**request, "headers": {**headers, **request.get("headers", {})}}
    url = f"{field.up.instance['api_url']}/api/v1{path}"
    with httpx.Client(trust_env=False) as client:
        return client.post(url, **given)


def problem(answer: httpx.Response, status: int) -> None:
    """Hold an answer to be a problem of this status in both languages."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert re.search("[\u4e00-\u9fff]", body["title_zh"])
    assert re.search("[a-z]{3}", body["title_en"])


def failed(done: Done) -> None:
    """Hold a command to have failed with a clear word in both languages."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    bilingual(done.stderr)


def bilingual(text: str) -> None:
    """Hold a text to have words of both languages."""
    assert re.search("[\u4e00-\u9fff]{2}", text), text
    assert re.search("[A-Za-z]{3,} [a-z]", text), text
