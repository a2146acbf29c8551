"""Decoding: the three JSON forms, gzip, and limits that nothing gets past."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cold_chain.events import BOOT_UNSEQUENCED
from ingest.refusals import REASONS, Refused
from ingest.wire import READINGS_MAX, TS_MS_MIN, Message, decode

NOW_MS = 1_795_312_800_000


def decoded(body: object) -> Message:
    return decode("d", json.dumps(body).encode(), NOW_MS)


def test_given_a_single_when_decoded_then_columns_under_their_names() -> None:
    values = {"temperature": 5.3, "humidity": 61, "door": False, "mains": 1, "co2": 400}
    message = decoded({"v": 1, "dev": "d", "boot": 12, "seq": 48211, "ts": NOW_MS, "m": values})
    assert (message.boot, list(message.seqs), list(message.ts_ms)) == (12, [48211], [NOW_MS])
    expected = {"t1": [5.3], "rh": [61.0], "door": [0.0], "mains": [1.0], "co2": [400.0]}
    assert message.columns == expected


@pytest.mark.parametrize("irregular", [False, True])
def test_given_a_batch_when_decoded_then_times_follow_the_base(irregular: bool) -> None:
    base: dict[str, int] = {"seq": 7, "ts": NOW_MS - 600_000}
    body: dict[str, Any] = {"v": 1, "base": base, "cols": ["t1", "t2"]}
    body |= {"rows": [[5.3, 5.1], [5.4, None], [327.67, -127]]}
    if irregular:
        body["dts"] = [0, 60_000, 61_000]
    else:
        base["step"] = 300_000
    message = decoded(body)
    offsets = [0, 60_000, 61_000] if irregular else [0, 300_000, 600_000]
    assert [ts - base["ts"] for ts in message.ts_ms] == offsets
    assert list(message.seqs) == [7, 8, 9]
    assert message.columns == {"t1": [5.3, 5.4, None], "t2": [5.1, None, None]}


def test_given_flat_readings_when_decoded_then_sorted_and_known_by_time() -> None:
    message = decoded(
        [
            {"ts": NOW_MS, "temperature": 5.1, "humidity": 60},
            {"ts": "2026-11-01T08:00:00+08:00", "temperature": 5.0},
        ]
    )
    assert message.boot == BOOT_UNSEQUENCED
    assert not message.sequenced
    assert [ts - TS_MS_MIN for ts in message.ts_ms] == list(message.seqs)
    assert message.columns == {"t1": [5.0, 5.1], "rh": [None, 60.0]}


def test_given_flat_readings_with_numbers_when_decoded_then_boot_is_zero() -> None:
    message = decoded({"ts": NOW_MS, "temperature": 5.1, "seq": 9})
    assert (message.boot, list(message.seqs)) == (0, [9])


def test_given_gzip_when_decoded_then_as_if_plain() -> None:
    body = json.dumps({"seq": 1, "ts": NOW_MS, "m": {"t1": 5.0}}).encode()
    assert decode("d", gzip.compress(body), NOW_MS) == decode("d", body, NOW_MS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([{"ts": NOW_MS, "temperature": 5}, {"ts": NOW_MS, "temperature": 6}], "repeated"),
        ([{"ts": NOW_MS, "seq": 1}, {"ts": NOW_MS - 1}], "mixed_seq"),
        ([{"ts": NOW_MS, "seq": 1}, {"ts": NOW_MS - 1, "seq": 1}], "repeated"),
        ({"ts": "2026-11-01T08:00:00", "temperature": 5}, "bad_field"),
        ({"seq": 1, "ts": NOW_MS, "m": {"t1": 4, "temperature": 5}}, "repeated"),
        ({"seq": 1, "ts": NOW_MS, "m": {}}, "no_readings"),
        ({"base": {"seq": 1, "ts": NOW_MS}, "cols": ["t1"], "rows": [[1]]}, "bad_field"),
        ({"cols": ["t1"], "rows": [[1]]}, "bad_field"),
        (
            {"base": {"seq": 1, "ts": NOW_MS, "step": 0}, "cols": ["t1"], "rows": [[1], [2]]},
            "repeated",
        ),
        (
            {"base": {"seq": 1, "ts": NOW_MS, "step": 1}, "cols": ["t1"], "rows": [[1, 2]]},
            "uneven_rows",
        ),
        (
            {
                "base": {"seq": 2**40 - 1, "ts": NOW_MS, "step": 1},
                "cols": ["t1"],
                "rows": [[1]] * 2,
            },
            "bad_field",
        ),
        (
            {"base": {"seq": 1, "ts": NOW_MS}, "cols": ["t1"], "rows": [[1]], "dts": [0, 1]},
            "bad_field",
        ),
        ({"ts": TS_MS_MIN - 1, "seq": 1, "temperature": 5}, "clock"),
        ({"ts": NOW_MS + 300_001, "seq": 1, "temperature": 5}, "clock"),
    ],
)
def test_given_a_fault_when_decoded_then_refused_for_it(body: object, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decoded(body)
    assert caught.value.args[0] == reason


def test_given_as_many_readings_as_allowed_when_decoded_then_taken() -> None:
    rows = [[4.0]] * READINGS_MAX
    body = {
        "base": {"seq": 0, "ts": NOW_MS - READINGS_MAX, "step": 1},
        "cols": ["t1"],
        "rows": rows,
    }
    assert len(decoded(body).ts_ms) == READINGS_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["v", "ts", "seq", "m", "base", "cols", "rows", "dts", "boot", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_given_any_bytes_when_decoded_then_a_message_or_a_refusal(payload: bytes) -> None:
    try:
        message = decode("d", payload, NOW_MS)
    except Refused:
        return
    assert all(len(v) == len(message.ts_ms) for v in message.columns.values())


def test_given_every_reason_when_listed_then_it_speaks_both_languages() -> None:
    for code, zh, en in REASONS.values():
        assert code
        assert any("\u4e00" <= c <= "\u9fff" for c in zh)
        assert en.isascii()
