"""Play a real logger's file over MQTT as a device: `vaxtrail replay FILE --play`.

What is in the file has been read before (`READ`: JSON, a `LoggerFile`). The logger is registered
as a simulated device in a place of its own, its readings go out on `backfill`, unchanged. Its
session number is the minute of its first reading, so the same file again is recognised reading by
reading and changes nothing. A file with daily summaries only has no readings: it is kept as
evidence.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from simulators import wire
from simulators.city import org_code
from simulators.http import Api, Json
from simulators.instance import Parser, connect, milliseconds, moment, rfc3339, run
from simulators.wire import Message, Publisher

SESSION_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)  # no reading is older
SESSIONS = (1 << 22) - 1
ORGANISATION_NUMBER = 900_000
# Messages on their way before their answers are awaited.
MESSAGES_AT_ONCE = 20
FOLLOW_WAIT_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerFile:
    """What a file holds: n times ascending (UTC ms) with n values in °C (None: unplugged).

    `summary_days` counts its daily summaries; `interval_s` is the logging interval.
    """

    kind: str
    name_zh: str
    name_en: str
    serial: str
    interval_s: int
    summary_days: int
    times_ms: list[int]
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replayed logger is put, and under which limits."""

    region: str
    profile: str
    serial: str

    @property
    def site_id(self) -> str:
        """One site for all replays of a region."""
        return f"replay-{self.region}"

    @property
    def gateway_id(self) -> str:
        """The gateway of that site."""
        return f"GW-replay-{self.region}"

    @property
    def unit_id(self) -> str:
        """A unit of its own for each logger and profile."""
        return f"replay-{self.serial}-{self.profile}"[:64]

    @property
    def device_id(self) -> str:
        """The logger."""
        return f"LG-{self.serial}"

    @property
    def base(self) -> str:
        """Its topic prefix."""
        return wire.prefix(self.region, self.site_id, self.gateway_id)


def registrations(file: LoggerFile, place: Place) -> list[tuple[str, Json]]:
    """Return the commands that register the logger, in order; again they change nothing."""
    code = org_code("12", place.region, ORGANISATION_NUMBER)
    return [
        ("/organisations", {"org_code": code, "name": "记录仪回放（模拟）",
                            "name_en": "Logger replay (simulated)", "region_code": place.region}),
        ("/sites", {"site_id": place.site_id, "org_code": code, "site_no": 1,
                    "name": "记录仪回放（模拟）", "name_en": "Logger replay (simulated)",
                    "kind": "other", "region_code": place.region}),
        ("/units", {"unit_id": place.unit_id, "site_id": place.site_id, "kind": "refrigerator",
                    "name": f"{file.name_zh} {file.serial}",
                    "name_en": f"{file.name_en} {file.serial}", "profile_id": place.profile}),
        ("/gateways", {"gateway_id": place.gateway_id, "site_id": place.site_id}),
        ("/devices", {"device_id": place.device_id, "gateway_id": place.gateway_id,
                      "channels": ["t1"], "interval_s": file.interval_s, "simulated": True}),
        ("/probes", {"device_id": place.device_id, "channel": "t1", "unit_id": place.unit_id,
                     "placed_at": rfc3339(file.times_ms[0])}),
    ]  # fmt: skip


def messages(file: LoggerFile, place: Place) -> list[Message]:
    """Return the whole file as backfill messages of at most 500 readings."""
    times_ms = file.times_ms
    boot = (times_ms[0] - milliseconds(SESSION_EPOCH)) // 60_000 % SESSIONS
    return [
        wire.batch(
            place.base,
            place.device_id,
            boot=boot,
            seq=at,
            times_ms=times_ms[at : at + wire.READINGS_MAX],
            columns=["t1"],
            rows=[(value,) for value in file.values[at : at + wire.READINGS_MAX]],
            backfill=True,
        )
        for at in range(0, len(times_ms), wire.READINGS_MAX)
    ]


def main(argv: list[str] | None = None) -> int:
    """Replay one file; exit code 1 when it could not be taken whole."""
    parser = Parser(
        "replay",
        "把真实记录仪文件按设备回放，再次回放不产生变化",
        "play a real logger's file as a device; again it changes nothing",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="记录仪文件 | the logger's file")
    parser.add_argument("read", type=Path, metavar="READ", help="其内容 | what is in it, JSON")
    parser.add_argument("--profile", required=True, help="储存条件 | storage profile")
    parser.add_argument("--region", required=True, help="县级区划代码 | county, GB/T 2260")
    given = parser.parse_args(argv)
    file = LoggerFile(**json.loads(given.read.read_bytes()))
    place = Place(given.region, given.profile, file.serial)
    api, publisher = connect("replay")
    try:
        if not file.times_ms:
            return _keep_evidence(api, given.file, file)
        return _replay(api, publisher, file, place)
    finally:
        publisher.close()
        api.close()


def _replay(api: Api, publisher: Publisher, file: LoggerFile, place: Place) -> int:
    times_ms = file.times_ms
    clock = api.get("/clock")
    if clock["stepped"] and milliseconds(moment(clock["now"])) < times_ms[-1]:
        api.post("/clock", {"now": rfc3339(times_ms[-1])})
    for path, body in registrations(file, place):
        api.post(path, body, wait_s=FOLLOW_WAIT_S if path == "/probes" else None)
    acks: list[dict[str, int]] = []
    parts = messages(file, place)
    for at in range(0, len(parts), MESSAGES_AT_ONCE):
        acks += publisher.send(parts[at : at + MESSAGES_AT_ONCE])
    new, known = sum(ack["n"] for ack in acks), sum(ack["dup"] for ack in acks)
    _report(file, place, new, known)
    _show_alerts(api, place)
    for refusal in publisher.tally.refusals:
        print(f"拒收 / refused [{refusal.code}]: {refusal.detail_zh} / {refusal.detail_en}")
    return 0 if new + known == len(times_ms) else 1


def _report(file: LoggerFile, place: Place, new: int, known: int) -> None:
    times_ms = file.times_ms
    measured = [value for value in file.values if value is not None]
    print(f"{file.name_zh} {file.serial} → {place.device_id} / {file.name_en}")
    print(f"  文件读数 / readings in the file: {len(times_ms)}")
    print(f"  新存入 / newly stored: {new}；已有 / known already: {known}")
    print(f"  首末 / first, last: {rfc3339(times_ms[0])} … {rfc3339(times_ms[-1])}")
    if measured:
        print(f"  最低 / min {min(measured)} ℃，最高 / max {max(measured)} ℃")
    if known == len(times_ms):
        print("  此文件已经回放过，没有任何变化 / replayed before: nothing has changed")


def _show_alerts(api: Api, place: Place) -> None:
    """Print the alerts of this logger once the read models have followed."""
    api.follow()
    found = [
        a for a in api.pages("/alerts", region=place.region) if a["device_id"] == place.device_id
    ]
    print(f"  告警 / alerts: {len(found)}")
    for alert in sorted(found, key=lambda a: str(a["started_at"])):
        print(
            f"    {alert['rule_id']} {alert['severity']}: {alert['started_at']} … "
            f"{alert.get('recovered_at') or '未恢复 / not recovered'}，"
            f"峰值 / peak {alert['peak_c']} ℃"
        )


def _keep_evidence(api: Api, path: Path, file: LoggerFile) -> int:
    kept = api.post(
        "/evidence",
        {
            "filename": path.name,
            "kind": file.kind,
            "device_serial": file.serial,
            "note": f"{file.summary_days} daily summaries, no readings",
            "content_base64": base64.b64encode(path.read_bytes()).decode(),
        },
    )
    print(
        f"{file.name_zh} {file.serial}：只有 {file.summary_days} 天的日汇总，没有读数，"
        f"已按原样存为证据，不并入任何在线序列 / {file.name_en}: {file.summary_days} daily "
        f"summaries and no readings; kept as evidence, part of no on-line series: "
        f"{kept.get('location', '')}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
