"""Every TOPIC and version ever stored loads for ever."""

from __future__ import annotations

import pytest

from domain.shared.events import event_class, topics
from store.mapper import from_row
from tests.store import golden

ROWS = golden.load()


@pytest.mark.parametrize("kept", ROWS, ids=lambda g: f"{g.topic}.v{g.version}")
def test_given_golden_row_when_loaded_then_its_fields(kept: golden.Golden) -> None:
    loaded = golden.fields_of(from_row(kept.row).event)
    assert {name: loaded[name] for name in kept.expected} == kept.expected


def test_given_every_event_class_when_asked_then_a_golden_row_exists() -> None:
    wanted = {
        (topic, event_class(topic).VERSION) for topic in topics() if not topic.startswith("test.")
    }
    missing = wanted - {(g.topic, g.version) for g in ROWS}
    assert not missing, f"run python -m tests.store.golden: {sorted(missing)}"


def test_given_device_stored_in_minutes_when_loaded_then_seconds() -> None:
    row = next(g for g in ROWS if (g.topic, g.version) == ("cold_chain.DeviceRegistered", 1))
    assert b"interval_min" in row.row.state
    assert golden.fields_of(from_row(row.row).event)["interval_s"] == 300
