"""The synthetic chain captured in any order of arrival: the same custody of every code."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Set
from typing import Any, TypeAlias

import pytest

from simulators.http import Api
from tests.journeys import tree
from tests.runtime.instance import Up, open_folder, run_apart, running

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Answers: TypeAlias = dict[str, Any]
Order: TypeAlias = Callable[[list[str]], list[str]]

CHAIN = tree.DATA / "synthetic_chain"
LINES = (CHAIN / "captures.jsonl").read_text(encoding="utf-8").splitlines()
EXPECTED = json.loads((CHAIN / "expected.json").read_text(encoding="utf-8"))
CODES = sorted(set(re.findall(r"/code/(8[0-9]{19})", "\n".join(LINES))))
EVENTS = [e for line in LINES for e in json.loads(line)["document"]["epcisBody"]["eventList"]]
MASTER = json.loads((CHAIN / "master.json").read_text(encoding="utf-8"))
LOTS = {f"{MASTER['products'][p]['di']}.{lot}" for lot, p in MASTER["lots"].items()}
# What tells of the order of arrival, and only that.
OF_ARRIVAL = {"position", "positions", "recorded_at", "as_of"}


def shuffled(lines: list[str]) -> list[str]:
    return random.Random(11).sample(lines, len(lines))


@pytest.fixture(scope="module")
def in_order() -> Answers:
    """Return what is answered when the documents come in the order of the file."""
    with open_folder() as folder, running(folder / "data", VAXTRAIL_CLOCK="stepped") as up:
        return captured_on(up, list)


def test_given_the_chain_in_order_when_captured_then_every_code_has_its_facts(
    in_order: Answers,
) -> None:
    assert len(CODES) == EXPECTED["counts"]["codes"]
    custody = {code: in_order[f"/codes/{code}"] for code in CODES}
    facts = {entry["fact_id"] for found in custody.values() for entry in found["chain"]}
    withdrawn = {entry["fact_id"] for found in custody.values() for entry in found["withdrawn"]}
    told = {event["eventID"] for event in EVENTS}
    assert len(EVENTS) == EXPECTED["counts"]["events"]
    assert facts | withdrawn == told
    (recall,) = [event for event in EVENTS if event.get("disposition") == "recalled"]
    lot = recall["quantityList"][0]["epcClass"].partition("/lot/")[2].replace("/", ".")
    of_lot = [c["state"] for c in custody.values() if c["state"]["lot_id"] == lot]
    assert of_lot
    assert all(state["recalled"] for state in of_lot)
    received = [e for found in custody.values() for e in found["chain"] if e["step"] == "receiving"]
    assert any(entry.get("device_id") and "transport_c_max" in entry for entry in received)


def test_given_the_chain_shuffled_on_real_time_when_captured_then_the_same_answers(
    in_order: Answers, up: Up
) -> None:
    found = captured_on(up, shuffled)
    assert found.keys() == in_order.keys()
    for path, answer in found.items():
        assert ended(answer) == ended(in_order[path]), path


def ended(answer: Any) -> Any:
    """Return an answer without the temperatures of stays that go on: they are those until now."""
    if isinstance(answer, list):
        return [ended(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    on = {"temperatures"} if answer.get("until", "") is None else set[str]()
    return {name: ended(value) for name, value in answer.items() if name not in on}


def captured_on(up: Up, order: Order) -> Answers:
    """Capture the chain, documents in this order; ask it all."""
    file = up.data.parent / "captures.jsonl"
    file.write_text("\n".join(order(LINES)), encoding="utf-8")
    options = ["--master", CHAIN / "master.json", "--readings", CHAIN / "readings.csv"]
    done = run_apart(up.data, "capture", str(file), *map(str, options))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"新写入 {len(LINES)} 份，已有 0 份，错误 0" in done.stdout
    with tree.api(up.data, up.instance["api_url"]) as api:
        api.follow()
        return asked(api)


def asked(api: Api) -> Answers:
    """Return the custody of every code and lot, and the stock."""
    paths = [f"/codes/{code}" for code in CODES] + [f"/lots/{lot}" for lot in LOTS]
    found = {path: without(api.get(f"{path}/custody"), OF_ARRIVAL) for path in paths}
    return {**found, "/stock": [line for line in api.pages("/stock") if line["lot_id"] in LOTS]}


def without(answer: Any, names: Set[str]) -> Any:
    """Return an answer without the fields of these names."""
    if isinstance(answer, dict):
        return {k: without(v, names) for k, v in answer.items() if k not in names}
    return [without(item, names) for item in answer] if isinstance(answer, list) else answer
