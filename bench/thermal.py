"""How fast the thermal history of a lot and of a code is told over HTTP, an API key checked.

A lot of 10,000 single-dose packs in 100 cartons of 10 boxes goes from its maker by vehicle over
province and city to 250 clinics, 300 places in all, and is used up there over the rest of 90 days;
each place and each of 20 vehicles has a probe that reads every minute. A tenth is still in stock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice

import orjson
import psycopg

from bench import field, history
from bench.asking import Questions, answers, ask
from bench.custody import followed, issue_key, settle
from bench.field import Fact
from bench.options import Options
from bench.processes import Costs
from bench.report import Figures, Report, medians
from bench.rig import Rig
from bench.scans import code
from domain.shared.events import Event
from domain.traceability import events as told
from domain.traceability.model import lot_stream, product_stream, scan_stream
from projections.thermal import follow as exposure
from store.envelope import Envelope, Meta
from store.logs import Ledger

PRODUCT = "8412345"
LOT = f"{PRODUCT}.T00001"
CARTONS, BOXES, PACKS = 100, 10, 10
CITIES, COUNTIES, CLINICS = 9, 40, 250
VEHICLES = 20
PLACES = 1 + CITIES + COUNTIES + CLINICS
PROBES = PLACES + VEHICLES
DAYS, MINUTES_A_DAY = 90, 1_440
LOTS_ASKED, CODES_ASKED, COMPARED = 100, 2_000, 20
CHUNK = 5_000
WAIT_S, STEP_S = 3_600.0, 0.5
BEHIND = "SELECT (SELECT max(notification_id) FROM telemetry_events) > telemetry_id FROM exposed"

Timed = tuple[float, Event]  # days after the beginning


def thermal(options: Options, made: Rig) -> Report:
    """Store readings and facts, wait for the followers, ask; `messages`: readings of a probe."""
    minutes = options.messages or DAYS * MINUTES_A_DAY
    until = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
    began = until - timedelta(minutes=minutes)
    dsn = made.product.dsn
    costs = Costs(made.product.pids, "project")
    stored = history.store(made, minutes * PROBES, until, PROBES)
    facts = (fact for n in range(PROBES) for fact in _place(n, began))
    field.append(dsn, facts, began)
    with Ledger(dsn) as ledger:
        envelopes = _envelopes(began, until)
        while chunk := list(islice(envelopes, CHUNK)):
            ledger.append(chunk)
    followed(made)
    began_s = time.monotonic()
    _caught_up(dsn)
    caught_up_s, cpu_s = time.monotonic() - began_s, sum(costs.cpu_s().values())
    settle(made)
    key = issue_key(made)
    url = str(made.product.instance["api_url"])
    lot = Questions(url, [f"/api/v1/lots/{LOT}/thermal"], key)
    codes = [_pack(k, x, y) for k in range(CARTONS) for x in range(BOXES) for y in range(PACKS)]
    random.Random(7).shuffle(codes)  # noqa: S311 - nothing secret
    single = Questions(url, [f"/api/v1/codes/{c}/thermal" for c in codes[:CODES_ASKED]], key)
    share = min(1.0, minutes / (DAYS * MINUTES_A_DAY))
    runs = [_measured(lot, single, share) for _ in range(options.runs)]
    product = medians(runs) | _compared(lot, url, key)
    setting = {**options.setting, "readings": stored, "probes": PROBES, "runs": options.runs}
    setting |= {"followed_s": round(caught_up_s, 1), "follower_cpu_s": round(cpu_s, 1)}
    return Report(work="thermal", product=product, runs=runs, setting=setting)


def _measured(lot: Questions, single: Questions, share: float) -> Figures:
    found: Figures = {}
    for name, questions, times in (("lot", lot, LOTS_ASKED), ("code", single, CODES_ASKED)):
        asked = max(4, int(times * share))
        ask(questions, 1, max(1, asked // 10))
        alone = ask(questions, 1, asked)
        found |= {f"{name}_{part}": alone[part] for part in ("p50_ms", "p99_ms", "bytes")}
    return found


def _compared(lot: Questions, url: str, key: str) -> Figures:
    """Count codes of which the lot tells something else than is told of them by themselves."""
    of_lot = orjson.loads(answers(lot)[0])
    places = range(0, len(of_lot["codes"]), max(1, len(of_lot["codes"]) // COMPARED))
    paths = [f"/api/v1/codes/{of_lot['codes'][n]}/thermal" for n in places]
    differing = 0
    for n, answer in zip(places, answers(Questions(url, paths, key)), strict=True):
        whole = orjson.loads(answer)["whole"]
        names = ("known_min", "above_min", "below_min", "mkt_c")
        differing += any(abs(whole[name] - of_lot[name][n]) > 1e-5 for name in names)
    return {"codes": len(of_lot["codes"]), "compared": len(paths), "differing": differing}


def _caught_up(dsn: str) -> None:
    until = time.monotonic() + WAIT_S
    with psycopg.connect(dsn, autocommit=True) as conn:
        while conn.execute(BEHIND).fetchone() == (True,):
            if time.monotonic() > until:
                raise SystemExit(f"未能跟上 / the follower did not catch up: {exposure.NAME}")
            time.sleep(STEP_S)


def _place(n: int, at: datetime) -> Iterator[Fact]:
    yield field.unit_fact(_unit(n), field.PROFILE)
    yield from field.device_facts(n, _unit(n), at)


def _unit(n: int) -> str:
    return f"unit-{n:03d}"


def _site(n: int) -> str:
    return f"place-{n:03d}"


def _envelopes(began: datetime, until: datetime) -> Iterator[Envelope]:
    """Yield the facts of the lot in order of their time, as many days as there are."""
    masters: list[tuple[object, Event]] = [
        (
            product_stream(PRODUCT),
            told.ProductRegistered(
                product_id=PRODUCT, name="bench", holder="bench", doses_per_vial=1,
                temperature_c_min=2.0, temperature_c_max=8.0, freeze_sensitive=True,
            ),
        ),
        (
            lot_stream(LOT),
            told.LotReleased(
                lot_id=LOT, product_id=PRODUCT, lot_number="T00001",
                expires_on=(until + timedelta(days=400)).date(),
            ),
        ),
    ]  # fmt: skip
    meta = Meta(occurred_at=began, recorded_at=began, source="bench")
    for stream, event in masters:
        yield Envelope(stream, 1, event, meta)  # type: ignore[arg-type]  # streams are UUIDs
    scale = (until - began) / DAYS
    timed = sorted(
        (fact for k in range(CARTONS) for fact in _carton(k, random.Random(k))),  # noqa: S311
        key=lambda fact: fact[0],
    )
    for days, event in timed:
        at = began + days * scale
        fact_id: str = event.fact_id  # type: ignore[attr-defined]  # all are facts
        yield Envelope(scan_stream(fact_id), 1, event, Meta(occurred_at=at, recorded_at=at))


def _pack(k: int, box: int, number: int) -> str:
    return code(10**9 + k * 1_000 + 100 + box * PACKS + number)


def _carton(k: int, draw: random.Random) -> Iterator[Timed]:
    """Yield the facts of carton `k`, each with its day."""
    whole, boxes = code(10**9 + k * 1_000), [code(10**9 + k * 1_000 + 1 + x) for x in range(BOXES)]
    packs = [[_pack(k, x, y) for y in range(PACKS)] for x in range(BOXES)]
    ids = (f"thermal-{k}-{n}" for n in count())
    inner = tuple(pack for box in packs for pack in box)
    for level, codes in enumerate((inner, tuple(boxes), (whole,)), start=1):
        yield 0.1, told.CodesCommissioned(
            fact_id=next(ids), site_id=_site(0), unit_id=_unit(0), lot_id=LOT, level=level,
            codes=codes,
        )  # fmt: skip
    for box, inside in zip(boxes, packs, strict=True):
        yield 0.2, _packed(next(ids), box, tuple(inside))
    yield 0.3, _packed(next(ids), whole, tuple(boxes))
    city, county = 1 + k % CITIES, 1 + CITIES + k % COUNTIES
    day = 1 + 3 * draw.random()
    for sender, receiver, stays in ((0, city, 10), (city, county, 8)):
        yield from _moved(ids, (sender, receiver), whole, day, k)
        day += stays + draw.random()
    yield (
        day,
        told.PacksDisaggregated(
            fact_id=next(ids), site_id=_site(county), unit_id=_unit(county), parent=whole
        ),
    )
    for x, box in enumerate(boxes):
        clinic = 1 + CITIES + COUNTIES + (k * BOXES + x) % CLINICS
        arrived = day + 1 + 5 * draw.random()
        yield from _moved(ids, (county, clinic), box, arrived, k + x)
        for pack in packs[x]:
            given = arrived + 1 + draw.random() * (DAYS - arrived - 2)
            if draw.random() < 0.9:
                yield (
                    given,
                    told.DoseAdministered(
                        fact_id=next(ids), site_id=_site(clinic), codes=(pack,), parent=box
                    ),
                )


def _packed(fact_id: str, parent: str, codes: tuple[str, ...]) -> Event:
    return told.PacksAggregated(
        fact_id=fact_id, site_id=_site(0), unit_id=_unit(0), parent=parent, codes=codes
    )


def _moved(
    ids: Iterator[str], ends: tuple[int, int], what: str, day: float, n: int
) -> Iterator[Timed]:
    """Yield what a pack's way from one place to another is told by."""
    sender, receiver = ends
    bill, vehicle = next(ids), _unit(PLACES + n % VEHICLES)
    yield day, told.GoodsDispatched(
        fact_id=bill, site_id=_site(sender), to_site_id=_site(receiver), bill_no=bill,
        vehicle_id=vehicle, codes=(what,),
    )  # fmt: skip
    came = {"site_id": _site(receiver), "unit_id": _unit(receiver), "codes": (what,)}
    yield day + 0.3, told.GoodsReceived(fact_id=next(ids), bill_no=bill, **came)  # type: ignore[arg-type]  # as named
