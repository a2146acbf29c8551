"""Post EPCIS documents with their record times: `python -m simulators.capture FILE…`.

A line of a file is `{"captureTime": …, "document": EPCISDocument}`, or a file is one document. On
a stepped clock each document is recorded at its captureTime. `--master` registers who and what the
documents name, `--readings` plays the temperatures of the stores and vehicles they passed.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from simulators import wire
from simulators.city import org_code
from simulators.http import Api, Json, Problem
from simulators.instance import Parser, connect, milliseconds, moment, rfc3339, run
from simulators.logger_files import BadFile
from simulators.wire import Message, Publisher

ROLES = {
    "MAH": "holder",
    "PROVINCE_CDC": "province_cdc",
    "CITY_CDC": "city_cdc",
    "COUNTY_CDC": "county_cdc",
    "POV": "clinic",
}
UNIT_KINDS = {
    "TRUCK": "refrigerated_vehicle",
    "STORE": "cold_room",
    "FRIDGE": "refrigerator",
}
PROFILE = "vaccine_2_8"
CHANNELS = ("t1", "rh")
INTERVAL_S = 600
FIRST_NUMBER = 910_000  # of the invented organisations
SHELF_LIFE = timedelta(days=730)  # of a lot whose documents name no expiry
FOLLOW_WAIT_S = 5


@dataclass(frozen=True, slots=True)
class Capture:
    """One document and when it was recorded; None: now."""

    document: Json
    at: datetime | None = None


@dataclass(slots=True)
class Series:
    """The readings of one device: ascending times with (°C, %)."""

    times_ms: list[int] = field(default_factory=list)
    rows: list[tuple[float, float]] = field(default_factory=list)


def captures(paths: Iterable[Path]) -> Iterator[Capture]:
    """Yield the documents of the files in order. BadFile names file and line."""
    for path in paths:
        text = _text(path)
        whole = _json(text)
        if isinstance(whole, dict):
            yield _capture(whole, f"{path}")
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield _capture(_json(line), f"{path}:{number}")


def master_commands(master: Json, documents: Iterable[Json]) -> list[tuple[str, Json]]:
    """Return the commands that register the organisations, products and lots of a master file."""
    commands: list[tuple[str, Json]] = []
    for number, (uri, org) in enumerate(sorted(master["organisations"].items()), FIRST_NUMBER):
        code = org_code("12", org["region"], number)
        commands += [
            ("/organisations", {"org_code": code, "name": org["name"],
                                "region_code": org["region"]}),
            ("/sites", {"site_id": _last_part(uri), "org_code": code, "site_no": 1,
                        "name": org["name"], "kind": ROLES.get(org["role"], "other"),
                        "region_code": org["region"], "latitude": org["lat"],
                        "longitude": org["lon"]}),
        ]  # fmt: skip
    for product in master["products"].values():
        commands.append(("/products", _product(product)))
    told = _lots_told(documents)
    for lot_number, product_key in master["lots"].items():
        expiry, release = told.get(lot_number, (None, ""))
        commands.append(
            ("/lots", {"product_id": master["products"][product_key]["di"],
                       "lot_number": lot_number, "lot_release_no": release,
                       "expires_on": expiry or _default_expiry(documents)})
        )  # fmt: skip
    return commands


def read_series(path: Path) -> dict[str, Series]:
    """Return the readings of a CSV (time, device, temperature_c, humidity_pct) by device."""
    found: dict[str, Series] = defaultdict(Series)
    try:
        for row in csv.DictReader(_text(path).splitlines()):
            series = found[row["device"]]
            series.times_ms.append(milliseconds(moment(row["time"])))
            series.rows.append((float(row["temperature_c"]), float(row["humidity_pct"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"读数文件格式错误 / the readings file is broken: {path}: {error}") from error
    return dict(found)


def device_commands(device_id: str, region: str, first_ms: int) -> list[tuple[str, Json]]:
    """Return the commands that register a device named for where it is, and its unit."""
    kind, site_id, *_ = device_id.split("-")
    return [
        ("/units", {"unit_id": device_id, "site_id": site_id, "kind": UNIT_KINDS[kind],
                    "name": device_id, "profile_id": PROFILE}),
        ("/gateways", {"gateway_id": f"GW-{site_id}", "site_id": site_id}),
        ("/devices", {"device_id": device_id, "gateway_id": f"GW-{site_id}",
                      "channels": list(CHANNELS), "interval_s": INTERVAL_S, "simulated": True}),
        *(("/probes", {"device_id": device_id, "channel": channel, "unit_id": device_id,
                       "placed_at": rfc3339(first_ms)}) for channel in CHANNELS),
    ]  # fmt: skip


def series_messages(device_id: str, region: str, series: Series) -> list[Message]:
    """Return a device's readings as backfill messages."""
    site_id = device_id.split("-")[1]
    base = wire.prefix(region, site_id, f"GW-{site_id}")
    return [
        wire.batch(
            base,
            device_id,
            boot=1,
            seq=at,
            times_ms=series.times_ms[at : at + wire.READINGS_MAX],
            columns=CHANNELS,
            rows=series.rows[at : at + wire.READINGS_MAX],
            backfill=True,
        )
        for at in range(0, len(series.rows), wire.READINGS_MAX)
    ]


def main(argv: list[str] | None = None) -> int:
    """Register, capture, publish; exit code 1 when anything was refused."""
    parser = Parser(
        "capture",
        "采集 EPCIS 2.0 文件；步进时钟上按各自的 captureTime 记录",
        "capture EPCIS 2.0 files; on a stepped clock each is recorded at its captureTime",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE",
        help="EPCIS 文档，或每行一个 | a document, or a file with one a line",
    )  # fmt: skip
    parser.add_argument(
        "--master", type=Path,
        help="机构、疫苗、批号（JSON） | organisations, products, lots (JSON)",
    )  # fmt: skip
    parser.add_argument(
        "--readings", type=Path, help="设备读数（CSV） | readings of the devices (CSV)"
    )
    given = parser.parse_args(argv)
    if not (given.files or given.master or given.readings):
        raise BadFile("没有给出文件 / no file was given")
    found = list(captures(given.files))
    commands = _master(given.master, found) if given.master else []
    series = read_series(given.readings) if given.readings else {}
    api, publisher = connect("capture")
    try:
        for path, body in commands:
            api.post(path, body)
        if commands:
            print(f"已登记 / registered: {len(commands)}")
        refused = _post(api, found) if found else 0
        if series:
            refused += _publish(api, publisher, series)
        return 1 if refused else 0
    finally:
        publisher.close()
        api.close()


def _post(api: Api, found: list[Capture]) -> int:
    clock = api.get("/clock")
    now = moment(clock["now"])
    counts: Counter[str] = Counter()
    for number, capture in enumerate(found, start=1):
        if clock["stepped"] and capture.at and capture.at > now:
            now = capture.at
            api.post("/clock", {"now": now.isoformat()})
        try:
            counts["new" if api.create("/captures", capture.document) else "known"] += 1
        except Problem as problem:
            counts["refused"] += 1
            print(f"第 {number} 份被拒 / document {number} was refused: {problem}", file=sys.stderr)
    print(
        f"已采集 / captured: {counts['new']}；重复 / known already: {counts['known']}；"
        f"被拒 / refused: {counts['refused']}"
    )
    return counts["refused"]


def _publish(api: Api, publisher: Publisher, found: dict[str, Series]) -> int:
    last_ms = max(series.times_ms[-1] for series in found.values())
    clock = api.get("/clock")
    if clock["stepped"] and milliseconds(moment(clock["now"])) < last_ms:
        api.post("/clock", {"now": rfc3339(last_ms)})
    regions = {site["site_id"]: str(site["region_code"]) for site in api.pages("/sites")}
    acks: list[dict[str, int]] = []
    for device_id, series in sorted(found.items()):
        site_id = device_id.split("-")[1] if "-" in device_id else ""
        if site_id not in regions or device_id.split("-")[0] not in UNIT_KINDS:
            raise BadFile(f"不知道设备在哪里 / nobody knows where this device is: {device_id}")
        for path, body in device_commands(device_id, regions[site_id], series.times_ms[0]):
            api.post(path, body)
        acks += publisher.send(series_messages(device_id, regions[site_id], series))
    stored, known = sum(ack["n"] for ack in acks), sum(ack["dup"] for ack in acks)
    print(f"读数 / readings: 新存入 / newly stored {stored}；已有 / known already {known}")
    for refusal in publisher.tally.refusals:
        print(f"拒收 / refused [{refusal.code}]: {refusal.detail_zh} / {refusal.detail_en}")
    return len(publisher.tally.refusals)


def _master(path: Path, found: Iterable[Capture]) -> list[tuple[str, Json]]:
    """Return the commands of a master file. BadFile when it is none."""
    master: Any = _json(_text(path))
    try:
        return master_commands(master, [capture.document for capture in found])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFile(f"主数据文件格式错误 / this is no master file: {path}: {error!r}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise BadFile(f"无法读取文件 / cannot read the file: {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"文件不是 UTF-8 / the file is not UTF-8: {path}") from error


def _json(text: str) -> object:
    """Return what the text says, None when it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _capture(line: object, where: str) -> Capture:
    if isinstance(line, dict) and isinstance(line.get("document"), dict):
        try:
            return Capture(line["document"], moment(line["captureTime"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"captureTime 无法识别 / no readable captureTime: {where}") from error
    if isinstance(line, dict) and line.get("type") == "EPCISDocument":
        return Capture(line)
    raise BadFile(f"不是 EPCIS 文件 / this is no EPCIS document: {where}")


def _last_part(uri: str) -> str:
    return uri.rstrip("/").rsplit("/", 1)[-1]


def _product(product: Json) -> Json:
    return {
        "product_id": product["di"],
        "name": product["name"],
        "specification": product["spec"],
        "holder": product["mah"],
        "doses_per_vial": product["dosesPerVial"],
        "temperature_c_min": float(product["tempMin"]),
        "temperature_c_max": float(product["tempMax"]),
        "freeze_sensitive": not product["live"],
        "opened_limit_min": product["openedLimitMinutes"],
    }


def _events(documents: Iterable[Json]) -> Iterator[Json]:
    for document in documents:
        yield from document.get("epcisBody", {}).get("eventList", [])


def _lots_told(documents: Iterable[Json]) -> dict[str, tuple[str, str]]:
    """Return lot number -> (expiry, lot release number) as first told, whatever came first."""
    told: dict[str, tuple[str, str]] = {}
    for event in sorted(_events(documents), key=_happened):
        about = event.get("ilmd", {})
        if "cbvmda:itemExpirationDate" in about:
            facts = (about["cbvmda:itemExpirationDate"], about.get("vax:lotReleaseNo", ""))
            told.setdefault(str(about.get("cbvmda:lotNumber")), facts)
    return told


def _happened(event: Json) -> tuple[str, str]:
    return str(event.get("eventTime", "")), str(event.get("eventID", ""))


def _default_expiry(documents: Iterable[Json]) -> str:
    times = [moment(event["eventTime"]) for event in _events(documents)]
    if not times:
        raise BadFile("主数据要与文件一起登记 / register the master with its documents")
    return (min(times) + SHELF_LIFE).date().isoformat()


if __name__ == "__main__":
    sys.exit(run(main))
