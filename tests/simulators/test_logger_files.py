"""A logger's file as messages of a device: nothing is lost or changed."""

from __future__ import annotations

import json

from simulators import replay
from simulators.replay import LoggerFile, Place


def test_given_a_file_when_made_into_messages_then_nothing_is_lost_or_changed() -> None:
    start, n = 1_651_466_640_000, 1_200
    times_ms = [start + at * 300_000 + 7 * (at > 900) for at in range(n)]
    values = [None if at % 100 == 3 else at / 10 for at in range(n)]
    names = {"kind": "ds1923", "name_zh": "记录仪", "name_en": "logger", "serial": "1305"}
    file = LoggerFile(**names, interval_s=300, summary_days=0, times_ms=times_ms, values=values)
    found: list[tuple[int, int, float | None]] = []
    for sent in replay.messages(file, Place("640202", "who_30_day_logger", file.serial)):
        body = json.loads(sent.payload)
        base, count = body["base"], len(body["rows"])
        offsets = body.get("dts") or [i * base["step"] for i in range(count)]
        found += [
            (base["seq"] + i, base["ts"] + offsets[i], row[0]) for i, row in enumerate(body["rows"])
        ]
        assert count <= 500
        assert body["boot"] < 2**22 - 1
    assert found == list(zip(range(n), times_ms, values, strict=True))
