"""How fast facts are captured over HTTP: EPCIS documents of 500 events, and scans one by one.

The documents tell the facts of W4. A scan is one of three of a pack: sent, received, given. All
the while it is watched how far the read models are behind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from threading import Thread
from typing import Any
from uuid import UUID

import orjson
import psycopg

from bench import scans
from bench.asking import Questions, ask
from bench.custody import issue_key
from bench.field import REGION, Fact, append
from bench.live import percentile_ms
from bench.options import Options
from bench.processes import Costs
from bench.report import Figures, Report, medians
from bench.rig import Rig
from domain.registry.events import SiteRegistered
from domain.registry.model import site_stream
from domain.shared.events import Event
from domain.traceability.events import (
    CodesCommissioned,
    DoseAdministered,
    GoodsDispatched,
    GoodsReceived,
    LotReleased,
    PacksAggregated,
    PacksDisaggregated,
    ProductRegistered,
)
from domain.traceability.facts import FactEvent
from domain.traceability.model import lot_stream, product_stream, scan_stream

EVENTS, DOCUMENT = 30_000, 500  # events a run, and of a document
SCANS_SHARE = 0.2  # scans a run, as a share of the events
SENDERS, SCANNERS = 2, 8  # clients that send documents, and that scan
CARTONS, PACKS = 2_000_000, 3_000_000_000  # the numbers from which its cartons and packs begin
WORKING = ("api", "postgres", "project")
BEFORE, HASTE = timedelta(hours=22), 16  # the first event, and how much faster than in W4 all goes
POLL_S, LONGEST_S = 0.02, 600.0
STORE, CLINIC, LOT = "bench-store", "bench-clinic", f"{scans.PRODUCT}.BENCH"
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"vax": "urn:x:vax:"}]
PLACES, CODES = "https://bench.example/org/", "https://bench.example/code/"
PROGRESS = """
SELECT (SELECT coalesce(max(notification_id), 0) FROM ledger_events),
       (SELECT coalesce(min(coalesce(t.notification_id, 0)), 0) FROM follower f
        LEFT JOIN follower_tracking t ON t.application_name = 'ledger.' || f.name)"""
STORED = "SELECT count(*) FROM ledger_events WHERE originator_id = ANY(%s)"


def capture(options: Options, made: Rig) -> Report:
    """Send documents from two clients, then scan from eight; each run has facts of its own."""
    turn = DOCUMENT * SENDERS
    events = -(-(options.messages or EVENTS) // turn) * turn
    packs = max(1, int(events * SCANS_SHARE) // (3 * SCANNERS)) * SCANNERS
    register(made, packs * options.runs)
    url, key = str(made.product.instance["api_url"]), issue_key(made)
    runs: list[Figures] = []
    for run in range(options.runs):
        told = list(_told(events, CARTONS + run * (events // scans.FACTS + 1)))
        documents = Questions(url, ["/epcis/capture"], key, bodies=list(_documents(told)))
        found = _under(made, documents, SENDERS)
        scanned = list(_scans(range(run * packs, (run + 1) * packs)))
        one_by_one = Questions(url, ["/api/v1/scans"], key, bodies=scanned)
        runs.append(
            {
                "events_s": round(found["q_s"] * DOCUMENT),
                **{f"document_{name}": found[name] for name in found if name != "q_s"},
                "lost": events - _stored(made, [scan_stream(_id(e)) for _, e in told]),
            }
            | {f"scan_{name}": each for name, each in _under(made, one_by_one, SCANNERS).items()}
        )
    return Report(
        work="capture",
        product=medians(runs),
        runs=runs,
        setting={
            **options.setting,
            "events": events,
            "a_document": DOCUMENT,
            "senders": SENDERS,
            "scans": packs * 3,
            "scanners": SCANNERS,
            "runs": options.runs,
        },
    )


def _under(made: Rig, questions: Questions, clients: int) -> Figures:
    """Ask all of it; return the figures, and how long the read models were behind meanwhile."""
    made.checkpoint()
    asked = len(questions.bodies)
    costs = Costs({name: made.product.pids[name] for name in WORKING}, "api")
    with Lag(made.product.dsn) as lag:
        found = ask(questions, clients, asked)
    del found["bytes"]
    return found | {
        "cpu_ms": {name: round(1000 * s / asked, 2) for name, s in costs.cpu_s().items()},
        "lag_p50_ms": percentile_ms(lag.delays_s, 50),
        "lag_p99_ms": percentile_ms(lag.delays_s, 99),
    }


class Lag:
    """How long it takes until what is newest in the ledger is in every read model."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._end = threading.Event()
        self._watcher = Thread(target=self._watch, daemon=True)
        self.delays_s: list[float] = []

    def __enter__(self) -> Lag:
        """Begin to watch."""
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all that was captured is followed."""
        self._end.set()
        self._watcher.join(LONGEST_S)

    def _watch(self) -> None:
        waiting: deque[tuple[int, float]] = deque()
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while waiting or not self._end.is_set():
                ((last, shown),) = conn.execute(PROGRESS).fetchall()
                now_s = time.perf_counter()
                while waiting and waiting[0][0] <= shown:
                    self.delays_s.append(now_s - waiting.popleft()[1])
                if last > max(shown, waiting[-1][0] if waiting else 0):
                    waiting.append((last, now_s))
                time.sleep(POLL_S)


def register(made: Rig, packs: int) -> None:
    """Register the places, the product and the lot of what is scanned, and its codes."""
    now = datetime.now(UTC)
    append(made.product.dsn, [*_places(), *_commissioned(packs)], now - timedelta(hours=3))


def _places() -> Iterator[Fact]:
    for n, site_id in enumerate((STORE, CLINIC), start=1):
        named: dict[str, Any] = {"org_code": "", "name": site_id, "kind": "other"}
        site = SiteRegistered(site_id=site_id, site_no=n, region_code=REGION, **named)
        yield site_stream(site_id), 1, site
    product = ProductRegistered(
        product_id=scans.PRODUCT,
        name="bench",
        holder="bench",
        doses_per_vial=1,
        temperature_c_min=2.0,
        temperature_c_max=8.0,
        freeze_sensitive=True,
    )
    yield product_stream(scans.PRODUCT), 1, product
    lot = LotReleased(
        lot_id=LOT, product_id=scans.PRODUCT, lot_number="BENCH", expires_on=date(2099, 1, 1)
    )
    yield lot_stream(LOT), 1, lot


def _commissioned(packs: int) -> Iterator[Fact]:
    numbers = iter(range(packs))
    while codes := tuple(scans.code(PACKS + n) for n in islice(numbers, DOCUMENT)):
        fact_id = f"bench-{codes[0]}"
        fact = CodesCommissioned(fact_id=fact_id, site_id=STORE, lot_id=LOT, level=1, codes=codes)
        yield scan_stream(fact_id), 1, fact


def _scans(numbers: range) -> Iterator[bytes]:
    """Yield the scans of packs, three of each in a row."""
    began = datetime.now(UTC) - timedelta(hours=2)
    for n in numbers:
        code, bill = scans.code(PACKS + n), f"bench-{n}"
        steps: Sequence[dict[str, Any]] = (
            {"site": STORE, "step": "shipping", "to": CLINIC, "bill": bill},
            {"site": CLINIC, "step": "receiving", "from": STORE, "bill": bill, "temp": 5.0},
            {"site": CLINIC, "step": "dispensing", "recipient": f"R{n:08}", "dose": 1},
        )
        for minute, step in enumerate(steps):
            at = (began + timedelta(minutes=10 * minute, milliseconds=n)).isoformat()
            yield orjson.dumps({"at": at, "codes": [code], **step})


def _told(number: int, first: int) -> Iterator[tuple[datetime, FactEvent]]:
    """Yield the facts of W4 as if all of it had happened within the last day: none is told late."""
    began = datetime.now(UTC) - BEFORE
    return ((began + (at - scans.START) / HASTE, event) for at, event in scans.timed(number, first))


def _documents(told: Sequence[tuple[datetime, Any]]) -> Iterator[bytes]:
    for first in range(0, len(told), DOCUMENT):
        yield orjson.dumps(
            {
                "@context": CONTEXT,
                "type": "EPCISDocument",
                "schemaVersion": "2.0",
                "creationDate": told[first][0],
                "epcisBody": {
                    "eventList": [_event(*fact) for fact in told[first : first + DOCUMENT]]
                },
            }
        )


def _event(at: datetime, fact: Any) -> dict[str, Any]:
    """Return a fact as an EPCIS event."""
    packing = isinstance(fact, PacksAggregated | PacksDisaggregated)
    codes = [f"{CODES}{code}" for code in fact.codes]
    about = (
        {"parentID": f"{CODES}{fact.parent}", "childEPCs": codes} if packing else {"epcList": codes}
    )
    return {
        "type": "AggregationEvent" if packing else "ObjectEvent",
        "eventID": _id(fact),
        "eventTime": at,
        "eventTimeZoneOffset": "+00:00",
        "readPoint": {"id": f"{PLACES}{fact.site_id}"},
        **about,
        **_said(fact),
    }


def _id(fact: FactEvent) -> str:
    return f"urn:x:{fact.fact_id}"


def _said(fact: Event) -> dict[str, Any]:
    """Return what an event says of a fact beside its codes, place and time."""
    match fact:
        case CodesCommissioned():
            master = {"cbvmda:lotNumber": fact.lot_id.partition(".")[2]}
            step = {"action": "ADD", "bizStep": "commissioning", "disposition": "active"}
            return {**step, "ilmd": master, "vax:level": fact.level}
        case PacksAggregated():
            return {"action": "ADD", "bizStep": "packing"}
        case PacksDisaggregated():
            return {"action": "DELETE", "bizStep": "unpacking"}
        case GoodsDispatched():
            to = {"type": "possessing_party", "destination": f"{PLACES}{fact.to_site_id}"}
            step = {"action": "OBSERVE", "bizStep": "shipping", "disposition": "in_transit"}
            return {**step, **_bill(fact.bill_no), "destinationList": [to]}
        case GoodsReceived():
            source = {"type": "possessing_party", "source": f"{PLACES}{fact.from_site_id}"}
            step = {"action": "OBSERVE", "bizStep": "receiving", "disposition": "in_progress"}
            return {**step, **_bill(fact.bill_no), "sourceList": [source]} | _sensed()
        case DoseAdministered():
            person = {"vax:recipient": f"R-{fact.fact_id}", "vax:doseNumber": 1}
            return {"action": "OBSERVE", "bizStep": "dispensing", **person}
    raise TypeError(type(fact).__name__)


def _bill(bill_no: str) -> dict[str, Any]:
    transaction = {"type": "desadv", "bizTransaction": f"https://bench.example/bill/{bill_no}"}
    return {"bizTransactionList": [transaction]}


def _sensed() -> dict[str, Any]:
    report = {"type": "Temperature", "value": 5.1, "minValue": 3.9, "maxValue": 6.4, "uom": "CEL"}
    return {"sensorElementList": [{"sensorReport": [report]}]}


def _stored(made: Rig, streams: Sequence[UUID]) -> int:
    with psycopg.connect(made.product.dsn, autocommit=True) as conn:
        return int(conn.execute(STORED, (list(streams),)).fetchall()[0][0])
