"""How fast the check before an injection answers over HTTP, with a visit and its answers.

Each vial was packed into a box, sent, received and is checked once, for a person of its own: by one
client, then by four at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson

from bench import scans
from bench.asking import Questions, ask, ask_once
from bench.capture import CLINIC, LOT, STORE, register
from bench.custody import followed, issue_key
from bench.field import Fact, append
from bench.options import Options
from bench.report import Figures, Report, medians
from bench.rig import Rig
from domain.shared.events import Event
from domain.shared.roles import Role
from domain.traceability.events import (
    CodesCommissioned,
    GoodsDispatched,
    GoodsReceived,
    PacksAggregated,
)
from domain.traceability.model import scan_stream
from domain.vaccination.events import ConsentDecided, ScreeningAnswered, VisitOpened
from domain.vaccination.model import visit_stream

BOX, CLIENTS = 10, 4
PATH = "/api/v1/vaccination/checks"
FIGURES = ("p50_ms", "p95_ms", "p99_ms", "q_s")


def check(options: Options, made: Rig) -> Report:
    """Check `options.tries` vials a run, half of them one after another."""
    tries = max(CLIENTS, options.tries // (2 * CLIENTS) * CLIENTS)
    register(made, 0)
    url, key = str(made.product.instance["api_url"]), issue_key(made, Role.ADMIN.value)
    runs: list[Figures] = []
    for _ in range(options.runs):
        first = time.time_ns() // 1_000
        bodies = list(_arranged(made, first, 2 * tries + 1))
        followed(made)
        _require_may(Questions(url, [PATH], key, body=bodies.pop()))
        alone = ask(Questions(url, [PATH], key, bodies=bodies[:tries]), 1, tries)
        many = ask(Questions(url, [PATH], key, bodies=bodies[tries:]), CLIENTS, tries)
        found = {name: alone[name] for name in FIGURES}
        runs.append(found | {f"many_{name}": many[name] for name in FIGURES})
    setting = {**options.setting, "checks": tries, "clients": CLIENTS, "runs": options.runs}
    return Report(work="check", product=medians(runs), runs=runs, setting=setting)


def _require_may(question: Questions) -> None:
    told = orjson.loads(ask_once(question).partition(b"\r\n\r\n")[2])
    if not told["may"]:
        raise SystemExit(f"不应被拒 / should be allowed: {told['reasons']}")


def _arranged(made: Rig, first: int, vials: int) -> Iterator[bytes]:
    """Bring vials to the clinic and people to their visits; yield what is asked of each."""
    now = datetime.now(UTC)
    codes = [scans.code(first + n) for n in range(vials)]
    boxes = [codes[n : n + BOX] for n in range(0, vials, BOX)]
    for minutes, facts in (
        (50, [_made(code) for code in codes]),
        (40, [_packed(box) for box in boxes]),
        (30, [_sent(box) for box in boxes]),
        (20, [_received(box) for box in boxes]),
        (5, [fact for code in codes for fact in _visited(code, now)]),
    ):
        append(made.product.dsn, facts, now - timedelta(minutes=minutes))
    for code in codes:
        yield orjson.dumps(
            {"code": code, "site": CLINIC, "recipient": f"R{code}", "visit_id": f"V{code}"}
        )


def _box(codes: list[str]) -> str:
    return scans.code(int(codes[0][7:]) + 10**15)


def _fact(event: Event, fact_id: str) -> Fact:
    return scan_stream(fact_id), 1, event


def _made(code: str) -> Fact:
    fact_id = f"made-{code}"
    return _fact(
        CodesCommissioned(fact_id=fact_id, site_id=STORE, lot_id=LOT, level=1, codes=(code,)),
        fact_id,
    )


def _packed(box: list[str]) -> Fact:
    fact_id = f"packed-{box[0]}"
    packed = PacksAggregated(fact_id=fact_id, site_id=STORE, parent=_box(box), codes=tuple(box))
    return _fact(packed, fact_id)


def _sent(box: list[str]) -> Fact:
    fact_id, bill_no = f"sent-{box[0]}", f"bench-{box[0]}"
    sent = GoodsDispatched(
        fact_id=fact_id, site_id=STORE, to_site_id=CLINIC, bill_no=bill_no, codes=(_box(box),)
    )
    return _fact(sent, fact_id)


def _received(box: list[str]) -> Fact:
    fact_id, bill_no = f"received-{box[0]}", f"bench-{box[0]}"
    came = GoodsReceived(
        fact_id=fact_id, site_id=CLINIC, from_site_id=STORE, bill_no=bill_no, codes=(_box(box),)
    )
    return _fact(came, fact_id)


def _visited(code: str, now: datetime) -> Iterator[Fact]:
    visit_id, stream = f"V{code}", visit_stream(f"V{code}")
    yield (
        stream,
        1,
        VisitOpened(
            visit_id=visit_id,
            site_id=CLINIC,
            recipient=f"R{code}",
            product_id=scans.PRODUCT,
            series_dose=1,
            opened_at=now,
        ),
    )
    yield (
        stream,
        2,
        ConsentDecided(
            visit_id=visit_id, given=True, by="guardian", form_version="1", decided_at=now
        ),
    )
    yield (
        stream,
        3,
        ScreeningAnswered(
            visit_id=visit_id,
            list_id="general",
            list_version=1,
            yes=(),
            stops=(),
            cautions=(),
            answered_at=now,
        ),
    )
