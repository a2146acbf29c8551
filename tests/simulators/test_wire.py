"""Message builders: exactly the shapes of the MQTT contract."""

from __future__ import annotations

import json

import pytest

from simulators import faults, wire

BASE = wire.prefix("640202", "dwk-cdc", "GW-1")


def test_given_one_reading_when_built_then_it_is_a_single_message() -> None:
    message = wire.single(BASE, "TH-1", boot=3, seq=7, ts_ms=1000, values={"t1": 5.3, "door": 0})
    assert message.topic == "cc/v1/640202/dwk-cdc/GW-1/tele/TH-1"
    assert json.loads(message.payload) == {
        "v": 1,
        "dev": "TH-1",
        "boot": 3,
        "seq": 7,
        "ts": 1000,
        "m": {"t1": 5.3, "door": 0},
    }
    assert message.answer_key == ("cc/v1/640202/dwk-cdc/GW-1", "TH-1")


def test_given_regular_readings_when_built_then_the_batch_has_a_step() -> None:
    message = wire.batch(
        BASE, "TH-1", boot=3, seq=7, times_ms=[0, 60, 120], columns=["t1"], rows=[[1], [None], [3]]
    )
    body = json.loads(message.payload)
    assert body["base"] == {"seq": 7, "ts": 0, "step": 60}
    assert body["rows"] == [[1], [None], [3]]
    assert "dts" not in body
    assert message.readings == 3


def test_given_irregular_readings_when_built_then_the_batch_has_offsets() -> None:
    message = wire.batch(
        BASE,
        "TH-1",
        boot=3,
        seq=7,
        times_ms=[1000, 1060, 9000],
        columns=["t1"],
        rows=[[1], [2], [3]],
        backfill=True,
    )
    body = json.loads(message.payload)
    assert body["dts"] == [0, 60, 8000]
    assert body["base"] == {"seq": 7, "ts": 1000}
    assert message.topic.endswith("/backfill/TH-1")


def test_given_too_many_readings_when_built_then_refused() -> None:
    times = list(range(wire.READINGS_MAX + 1))
    rows = [[1.0]] * len(times)
    with pytest.raises(ValueError, match="500"):
        wire.batch(BASE, "TH-1", boot=1, seq=0, times_ms=times, columns=["t1"], rows=rows)


def test_given_a_scan_when_built_then_it_names_step_and_codes() -> None:
    base = wire.prefix("640202", "dwk-cdc", "SC-1")
    code = "86900111234567890123"
    message = wire.scan(
        base, boot=1, seq=2, ts_ms=5, step="storing", codes=[code], fields={"unit": "u1"}
    )
    assert message.topic == "cc/v1/640202/dwk-cdc/SC-1/scan"
    assert json.loads(message.payload)["codes"] == [code]
    assert json.loads(message.payload)["unit"] == "u1"
    assert message.answer_key == (base, "scan")
    assert (message.readings, message.scans) == (0, 1)


def test_given_a_message_when_spoiled_then_the_fault_is_declared() -> None:
    good = wire.single(BASE, "TH-1", boot=1, seq=1, ts_ms=1_795_312_800_000, values={"t1": 5.0})
    assert faults.repeated(good).repeats == 1
    cut = faults.broken(good)
    assert cut.refused == "schema"
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.payload)
    stale = faults.wrong_clock(good)
    assert (stale.refused, json.loads(stale.payload)["ts"]) == ("clock", faults.RTC_RESET_MS)
    stranger = faults.unknown_device(good, 1_795_312_800_000)
    assert stranger.refused == "unknown_device"
    assert stranger.answer_key == (BASE, "TH-NOBODY")


def test_given_refusals_when_tallied_then_only_what_was_new_counts_as_refused() -> None:
    tally = wire.Tally()
    good = wire.single(BASE, "TH-1", boot=1, seq=1, ts_ms=1, values={"t1": 5.0})
    for message in (good, faults.repeated(good), faults.broken(good)):
        tally.published(message)
    refusal = wire.Refusal(faults.broken(good), "schema", "不是合法的 JSON", "not valid JSON", "q1")
    tally.refused(refusal)
    assert (tally.readings, tally.readings_repeated, tally.readings_refused) == (3, 1, 1)
