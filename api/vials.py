"""What is known of codes before an injection, gathered from custody, products, lots and alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg

from api.commands import state_of
from api.deps import Deps
from domain.alerting.policy import GRAVE
from domain.shared.decide import fold
from domain.traceability import model as goods
from domain.traceability.codes import code_key, product_of
from domain.traceability.custody import Book, Product
from domain.traceability.facts import Step
from domain.traceability.progress import Entry
from domain.traceability.thermal import Whereabouts, whereabouts
from domain.vaccination.checks import Vial
from projections import alerting
from projections import traceability as read
from projections.shared.placements import Span
from projections.traceability.outside import left_limits
from store.envelope import Envelope

Streams = Mapping[UUID, Sequence[Envelope]]


def vials(
    deps: Deps, conn: psycopg.Connection[Any], codes: Sequence[str], at: datetime
) -> list[Vial]:
    """Return what is known of canonical codes at a moment, in their order."""
    streams = {goods.product_stream(product_of(code)) for code in codes}
    return vials_of(deps, conn, codes, at, deps.ledger.streams(streams))


def vials_of(
    deps: Deps,
    conn: psycopg.Connection[Any],
    codes: Sequence[str],
    at: datetime,
    streams: Streams,
) -> list[Vial]:
    """Return the same; `streams` holds those of the codes' products."""
    by_product: dict[str, list[str]] = defaultdict(list)
    for code in codes:
        by_product[product_of(code)].append(code)
    found: dict[str, Vial] = {}
    for product_id, named in by_product.items():
        history = streams[goods.product_stream(product_id)]
        product = fold(goods.evolve_product, None, (e.event for e in history))
        looking = _Looking(deps, conn, product, at)
        book = read.book_of(conn, named, looking.limits)
        found |= {code: looking.vial(book, code) for code in named}
    return [found[code] for code in codes]


class _Looking:
    """A look at codes of one product."""

    def __init__(
        self,
        deps: Deps,
        conn: psycopg.Connection[Any],
        product: goods.Product | None,
        at: datetime,
    ) -> None:
        self._deps, self._conn, self._at = deps, conn, at
        self._product = product
        self._expiries: dict[str, date | None] = {}

    @property
    def limits(self) -> Product:
        """What the fold needs of the product."""
        known = self._product
        if known is None:
            return Product()
        return Product(doses_per_vial=known.doses_per_vial, opened_limit_min=known.opened_limit_min)

    def vial(self, book: Book, code: str) -> Vial:
        """Return what is known of one code."""
        key, product = code_key(code), self._product
        if not book.mentions(key):
            return Vial(code=code, product_id=product_of(code))
        state, chain = book.state(key), book.chain(key)
        return Vial(
            code=code,
            known=True,
            product_id=product_of(code),
            product_known=product is not None,
            level=book.progress(key).level or 1,
            lot_id=state.lot_id,
            expires_on=self._expiry(state.lot_id) or _printed(chain),
            status=state.status.value,
            site_id=state.site_id,
            doses_per_vial=product.doses_per_vial if product else 1,
            doses_given=state.doses_given,
            doses_wasted=state.doses_wasted,
            opened_at=None if state.opened_ms is None else _time(state.opened_ms),
            opened_limit_min=product.opened_limit_min if product else None,
            held=state.held,
            recalled=state.recalled,
            condemned=state.condemned,
            excursion=_excursion(self._conn, chain, product, self._at),
        )

    def _expiry(self, lot_id: str) -> date | None:
        if lot_id not in self._expiries:
            lot = state_of(self._deps.ledger, goods.lot_stream(lot_id), goods.evolve_lot)
            self._expiries[lot_id] = lot.expires_on if lot else None
        return self._expiries[lot_id]


def _printed(chain: Iterable[Entry]) -> date | None:
    """Return the expiry printed on the packs, for a lot that nobody released."""
    for entry in chain:
        if entry.fact.step is Step.COMMISSIONING and entry.fact.more.get("expires_on"):
            return date.fromisoformat(entry.fact.more["expires_on"])
    return None


def _excursion(
    conn: psycopg.Connection[Any],
    chain: Sequence[Entry],
    product: goods.Product | None,
    at: datetime,
) -> str:
    """Return the gravest excursion of the stays: none, minor or grave.

    Those on record are grave, among them major and critical alerts; a minor one is minor, and one
    of level info passed no limit. What had ended when a quality decision released the code (or its
    lot) is settled by it.
    """
    settled = max((e.fact.t_ms for e in chain if e.fact.step is Step.RELEASING), default=0)
    stays = whereabouts(chain, product.doses_per_vial if product else None)
    if product is not None and any(_hurt(e, product, settled) for e in chain):
        return "grave"
    if any(excursion.end_ms > settled for excursion in read.exposures(conn, stays)):
        return "grave"
    if product is not None and _outside_its_limits(conn, stays, product, settled, at):
        return "grave"
    found, now = "none", _ms(at)
    units = sorted({stay.unit_id for stay in stays if stay.unit_id})
    for unit_id, severity, began, ended in alerting.excursions(conn, units):
        t0, t1 = _ms(began), now if ended is None else _ms(ended)
        if severity == "info" or (ended is not None and t1 <= settled):
            continue
        if any(_meets(s, unit_id, t0, t1) for s in stays):
            found = "grave" if severity in GRAVE or found == "grave" else "minor"
    return found


def _outside_its_limits(
    conn: psycopg.Connection[Any],
    stays: Iterable[Whereabouts],
    product: goods.Product,
    settled: int,
    at: datetime,
) -> bool:
    """Tell whether probes of the units it was in read what the product must not have."""
    spans = [
        Span(
            s.unit_id, _time(max(s.start_ms, settled)), at if s.end_ms is None else _time(s.end_ms)
        )
        for s in stays
        if s.unit_id
    ]
    return left_limits(conn, spans, (product.temperature_c_min, product.temperature_c_max))


def _meets(stay: Whereabouts, unit_id: str, t0: int, t1: int) -> bool:
    until = stay.end_ms
    return unit_id == stay.unit_id and stay.start_ms < t1 and (until is None or t0 < until)


def _hurt(entry: Entry, product: goods.Product, settled: int) -> bool:
    """Tell whether the transport that a receipt tells of left the product's limits."""
    fact = entry.fact
    if fact.t_ms <= settled:
        return False
    cold, warm = fact.transport_c_min, fact.transport_c_max
    too_cold = cold is not None and cold < product.temperature_c_min
    return too_cold or (warm is not None and warm > product.temperature_c_max)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
