"""A chain out of files: master data, documents in order of capture, and readings.

Everything goes through the commands of the API, so doing it twice changes nothing. A line that is
refused is told with its file and number, and the others go on.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson

from api.auth import Principal
from api.captures import EpcisDocument, capture_document
from api.commands import Call, state_of, versioned
from api.deps import Deps
from api.intake_field import Field, Row
from api.messages import message
from domain.epcis.document import events_of
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import DomainError, Invalid
from domain.shared.events import Event
from domain.shared.ids import org_check_character
from domain.traceability import cases, epcis, model
from domain.traceability.events import CodesCommissioned
from domain.traceability.thermal import Excursion, Reading, excursions_of
from store.commands import Command, execute

# Roles of organisations in a master file, as kinds of sites.
_KINDS = {
    "MAH": "holder",
    "PROVINCE_CDC": "province_cdc",
    "CITY_CDC": "city_cdc",
    "COUNTY_CDC": "county_cdc",
    "POV": "clinic",
    "HOSPITAL": "hospital",
}
# Class of an organisation of which the file gives no unified social credit code: "others".
_NO_CODE = "Y1"
# Letters and digits of such codes (GB 32100-2015 leaves out I, O, S, V, Z).
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_COLUMNS = {"time", "device", "temperature_c"}


class _Line(NamedTuple):
    """A document and where it stands; `at`: when it was captured, None = now."""

    file: Path
    number: int
    at: datetime | None
    document: dict[str, Any]


@dataclass(slots=True)
class Told:
    """What became of the files: documents stored and known, errors in both languages.

    `readings`: the messages, (topic, payload), that ingest is to take.
    """

    stored: int = 0
    known: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    readings: list[tuple[str, bytes]] = field(default_factory=list)


class _Clock:
    """The clock of the capture that a file tells of."""

    stepped = True

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return that moment."""
        return self._at


class Intake:
    """Takes files into the ledger, in the name of `who`."""

    def __init__(self, deps: Deps, who: Principal) -> None:
        self._deps, self._who = deps, who
        self._told = Told()
        self._lots: dict[str, str] = {}  # lot number -> product id
        self._limits: tuple[float, float] | None = None
        self._excursions: list[Excursion] = []
        self._series: dict[str, list[Row]] = defaultdict(list)

    def run(self, files: Sequence[Path], *, master: Path | None, readings: Path | None) -> Told:
        """Take the files in and tell what became of them."""
        if master is not None:
            self._take(master, 1, lambda: self._master(master))
        if readings is not None:
            self._take(readings, 1, lambda: self._readings(readings))
        for file in files:
            for line in self._lines(file):
                self._take(file, line.number, lambda line=line: self._capture(line))  # type: ignore[misc]  # bound now
        self._confirm(None)
        if readings is not None:
            for device_id in self._series:
                self._take(readings, 1, partial(self._equip, device_id))
        return self._told

    def _take(self, file: Path, number: int, act: Callable[[], None]) -> None:
        try:
            act()
        except DomainError as error:
            self._wrong(file, number, *message(error.code, error.facts))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            self._wrong(file, number, f"内容不符合格式（{what}）", f"not in the form ({what})")

    def _wrong(self, file: Path, number: int, zh: str, en: str) -> None:
        self._told.errors.append(
            (f"{file.name} 第 {number} 行：{zh}", f"{file.name}, line {number}: {en}")
        )

    # ---- documents ----

    def _lines(self, file: Path) -> Iterator[_Line]:
        content = file.read_bytes()
        for number, text in _documents(content):
            try:
                yield self._line(file, number, orjson.loads(text))
            except (orjson.JSONDecodeError, TypeError, ValueError, KeyError, AttributeError) as e:
                self._wrong(file, number, f"不是 JSON 文件（{e}）", f"not a JSON document ({e})")

    def _line(self, file: Path, number: int, found: dict[str, Any]) -> _Line:
        at = found.get("captureTime")
        document = found.get("document", found)
        return _Line(file, number, None if at is None else _moment(at), document)

    def _capture(self, line: _Line) -> None:
        deps = self._at(line.at)
        self._confirm(line.at)
        self._release_lots(deps, line.document)
        body = orjson.dumps(line.document)
        document = EpcisDocument.model_validate(line.document)
        answer = capture_document(document, self._who, self._call(deps, body))
        if answer.status_code == 201:
            self._told.stored += 1
        else:
            self._told.known += 1

    def _at(self, moment: datetime | None) -> Deps:
        """Return the parts as they stood when a line was captured; never in time to come.

        A stepped clock is moved there.
        """
        if moment is None:
            return self._deps
        if moment > self._deps.clock.now():
            if self._deps.clock.stepped:
                self._deps.clock.set(moment)
                return self._deps
            raise Invalid("clock_ahead", field="captureTime", value=moment.isoformat())
        return replace(self._deps, clock=_Clock(moment))  # type: ignore[arg-type]  # it only tells the time

    def _call(self, deps: Deps, body: bytes) -> Call:
        digest = hashlib.sha256(body).hexdigest()
        return Call(deps, self._who, uuid4().hex, body, digest, None, 0)

    def _release_lots(self, deps: Deps, document: dict[str, Any]) -> None:
        """Release the lots of the master file when their codes come, with the expiry printed."""
        if not self._lots:
            return
        told = [c for e in events_of(document) for c in epcis.read_event(e)]
        for captured in told:
            event = captured.event
            if not isinstance(event, CodesCommissioned) or event.expires_on is None:
                continue
            product_id, _, number = event.lot_id.partition(".")
            stream = model.lot_stream(event.lot_id)
            if self._lots.get(number) == product_id and not deps.ledger.stream(stream):
                product = state_of(
                    deps.ledger, model.product_stream(product_id), model.evolve_product
                )
                decision = decide(
                    model.evolve_lot,
                    None,
                    model.release_lot,
                    product=product,
                    product_id=product_id,
                    lot_number=number,
                    expires_on=event.expires_on,
                )
                self._run(deps, stream, decision)

    def _run(self, deps: Deps, stream: Any, decision: Any, **more: Any) -> None:
        meta = self._call(deps, b"").meta()
        execute(deps.ledger, Command(stream, decision, meta, **more))

    # ---- master data ----

    def _master(self, file: Path) -> None:
        found = orjson.loads(file.read_bytes())
        for name, org in found.get("organisations", {}).items():
            self._organisation(name.rpartition("/")[2], org)
        products = found.get("products", {})
        for product in products.values():
            self._product(product)
        for number, lot in found.get("lots", {}).items():
            key = lot["product"] if isinstance(lot, dict) else lot
            self._lots[number] = products[key]["di"]
        low = [float(product["tempMin"]) for product in products.values()]
        high = [float(product["tempMax"]) for product in products.values()]
        self._limits = (max(low), min(high)) if low else None

    def _organisation(self, site_id: str, org: dict[str, Any]) -> None:
        org_code = org.get("orgCode") or _code_of(site_id, org["region"])
        names = {"name": org["name"], "region_code": org["region"]}
        stream = registry.organisation_stream(org_code)
        decision: Any = decide(
            registry.evolve_organisation,
            None,
            registry.register_organisation,
            org_code=org_code,
            **names,
        )
        self._run(self._deps, stream, decision)
        organisation = state_of(self._deps.ledger, stream, registry.evolve_organisation)
        decision = decide(
            registry.evolve_site,
            None,
            registry.register_site,
            organisation=organisation,
            site_id=site_id,
            org_code=org_code,
            site_no=1,
            kind=_KINDS.get(org.get("role", ""), "other"),
            latitude=org.get("lat"),
            longitude=org.get("lon"),
            **names,
        )
        claim = registry.site_number_claim(org_code=org_code, site_no=1, site_id=site_id)
        self._run(self._deps, registry.site_stream(site_id), decision, claims=[claim])

    def _product(self, product: dict[str, Any]) -> None:
        decision = decide(
            model.evolve_product,
            None,
            model.register_product,
            product_id=product["di"],
            name=product["name"],
            specification=product.get("spec", ""),
            holder=product["mah"],
            doses_per_vial=product["dosesPerVial"],
            temperature_c_min=float(product["tempMin"]),
            temperature_c_max=float(product["tempMax"]),
            freeze_sensitive=not product.get("live", False),
            opened_limit_min=product.get("openedLimitMinutes"),
        )
        self._run(self._deps, model.product_stream(product["di"]), decision)

    # ---- readings ----

    def _readings(self, file: Path) -> None:
        """Find the times outside the limits of the products of the master file."""
        if self._limits is None:
            raise Invalid("missing_field", step="--readings", field="--master")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if not set(rows.fieldnames or ()) >= _COLUMNS:
                raise Invalid("missing_field", step="--readings", field=", ".join(_COLUMNS))
            for row in rows:
                self._take(file, rows.line_num, partial(self._add, row))
        for device_id, told in self._series.items():
            low, high = self._limits
            readings = [Reading(row.t_ms, row.celsius) for row in told]
            for found in excursions_of(readings, device_id=device_id, low_c=low, high_c=high):
                place = self._place_of(device_id)
                self._excursions.append(replace(found, unit_id=device_id, site_id=place))
        self._excursions.sort(key=lambda e: (e.end_ms, e.device_id))

    def _add(self, row: dict[str, str]) -> None:
        at, humidity = _moment(row["time"]), row.get("humidity_pct")
        read = (float(row["temperature_c"]), float(humidity) if humidity else None)
        self._series[row["device"]].append(Row(round(at.timestamp() * 1000), *read))

    def _equip(self, device_id: str) -> None:
        """Register what a device needs for its readings to be stored, where nobody has."""
        if self._limits is not None:
            equipment = Field(self._deps, self._run, self._limits)
            self._told.readings += equipment.messages(device_id, self._series[device_id])

    def _place_of(self, device_id: str) -> str:
        """Return the site whose stock a device watches, by its name; empty for a vehicle's."""
        site_id = device_id.partition("-")[2]
        return site_id if self._deps.ledger.stream(registry.site_stream(site_id)) else ""

    def _confirm(self, until: datetime | None) -> None:
        """Put on record the excursions that were over at a moment (None: all)."""
        while self._excursions:
            first = self._excursions[0]
            ended = datetime.fromtimestamp(first.end_ms / 1000, UTC)
            if until is not None and ended > until:
                return
            self._excursions.pop(0)
            stream = cases.excursion_stream(first.device_id, first.start_ms)
            known, _ = versioned(self._deps.ledger, stream, cases.evolve_excursion)
            events: list[Event] = cases.confirm(known, excursion=first)
            if events:
                self._run(self._at(until), stream, lambda _events, new=events: new)


def _documents(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the JSON texts of a file with their lines: the whole of it, or each line."""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        lines = enumerate(content.splitlines(), start=1)
        yield from ((number, text) for number, text in lines if text.strip())
    else:
        yield 1, content


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at.astimezone(UTC)


def _code_of(site_id: str, region: str) -> str:
    """Return a code of class "others" for an organisation whose own the file does not give."""
    digest = int.from_bytes(hashlib.sha256(site_id.encode()).digest()[:8], "big")
    letters = "".join(_ALPHABET[digest // 31**n % 31] for n in range(9))
    first = f"{_NO_CODE}{region}{letters}"
    return first + org_check_character(first)
