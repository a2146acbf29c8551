"""Public verification without a key: is this code genuine, used, recalled or unknown.

Whoever holds a vaccine may ask. Told are product, lot and expiry; never where it was or to whom it
was given. The answer takes the same time whatever it is, so that the time tells nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from api import public_page
from api.deps import Deps
from api.errors import domain_status
from api.messages import message
from api.routing import PREFIX, json_answer, problems
from domain.shared.clock import Clock
from domain.shared.errors import Busy, DomainError, Invalid, NotFound
from domain.traceability.codes import canonical
from domain.traceability.custody import State
from domain.traceability.progress import ZONE
from domain.traceability.states import Status
from projections import traceability as read
from store.sql import load_queries

queries = load_queries(Path(__file__).with_name("public.sql"))
log = structlog.get_logger(__name__)

# Questions an address may ask at once, and how many more each second: enough for a family in
# front of a shelf, little for one who tries codes.
BURST, REFILL_PER_S = 20, 0.5
# Addresses remembered; the one that asked longest ago is forgotten first.
ADDRESSES_MAX = 20_000
# Seconds an answer takes, known or not; a slower one takes the next multiple.
ANSWER_S = 0.05
# An 8, the product and the serial number: the check part (4 digits) is printed apart.
_WITHOUT_CHECK = re.compile(r"8[0-9]{15}")
_CHECK = re.compile(r"[0-9]{4}")
_OVER = {Status.USED, Status.WASTED, Status.DESTROYED, Status.SAMPLED}


class Verified(BaseModel):
    """What the public is told of a code; product, lot and expiry are null when it is unknown."""

    model_config = ConfigDict(extra="forbid")

    code: str
    verdict: str
    text_zh: str
    text_en: str
    product: str | None
    product_en: str | None
    holder: str | None
    lot_number: str | None
    expires_on: str | None


class Buckets:
    """A token bucket an address, in memory. Used by one event loop."""

    def __init__(self, *, burst: float = BURST, per_s: float = REFILL_PER_S) -> None:
        self._burst, self._per_s = burst, per_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> bool:
        """Take one token of an address; False when none is left."""
        left, at_s = self._left.pop(address, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        taken = left >= 1
        self._left[address] = (left - taken, now_s)
        if len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)
        return taken


@dataclass(slots=True)
class Public:
    """What the public routes work with."""

    pool: ConnectionPool[Any]
    clock: Clock
    buckets: Buckets

    async def ask(self, request: Request, code: str, check: str) -> dict[str, Any]:
        """Answer in even time; Busy("too_many_questions") for one who asks too often."""
        if not self.buckets.take(asker(request), time.monotonic()):
            raise Busy("too_many_questions")
        began = time.monotonic()
        try:
            return await run_in_threadpool(self._verified, code, check)
        finally:
            await asyncio.sleep(ANSWER_S - (time.monotonic() - began) % ANSWER_S)

    def _verified(self, code: str, check: str) -> dict[str, Any]:
        text, right = whole(code, check)
        today = self.clock.now().astimezone(ZONE).date()
        with self.pool.connection() as conn:
            try:
                state = read.custody_now(conn, text).custody.state
            except NotFound:
                return told(text, "unknown", None)
            with conn.cursor(row_factory=dict_row) as cur:
                row = cur.execute(queries.names, {"lot": state.lot_id}).fetchone()
        if row is None or not right:
            return told(text, "unknown", None)
        expired = row["expires_on"] is not None and row["expires_on"] < today
        return told(text, verdict_of(state, expired=expired), row)


def whole(code: str, check: str) -> tuple[str, bool]:
    """Return the canonical code, and whether the check part given (if any) fits it.

    Invalid("bad_code") for what is no code, Invalid("bad_check_part") for no check part.
    """
    if check and not _CHECK.fullmatch(check):
        raise Invalid("bad_check_part", field="check")
    bare = code.strip()
    if check and _WITHOUT_CHECK.fullmatch(bare):
        return canonical(bare + check), True
    text = canonical(code)
    return text, not check or text.endswith(check)


def verdict_of(state: State, *, expired: bool) -> str:
    """Return the gravest thing that the public must know of a code."""
    if state.recalled:
        return "recalled"
    if state.status in _OVER:
        return "used"
    if state.held or state.condemned or state.status is Status.MISSING:
        return "held"
    return "expired" if expired else "genuine"


def told(code: str, verdict: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the answer about a code; `row`: the names of its product and lot."""
    text_zh, text_en = message(f"public_{verdict}", {})
    names = row or {}
    expires_on = names.get("expires_on")
    return {
        "code": code,
        "verdict": verdict,
        "text_zh": text_zh,
        "text_en": text_en,
        "product": names.get("name"),
        "product_en": names.get("name_en") or None,
        "holder": names.get("holder"),
        "lot_number": names.get("lot_number"),
        "expires_on": None if expires_on is None else expires_on.isoformat(),
    }


def asker(request: Request) -> str:
    """Return whose bucket a request draws on: an address, of IPv6 its network of 64 bits."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def install(app: FastAPI, deps: Deps) -> None:
    """Add the question and the page."""
    public = app.state.public = Public(deps.pool, deps.clock, Buckets())

    @app.get(
        f"{PREFIX}/public/verify/{{code:path}}",
        tags=["public"],
        operation_id="verify_in_public",
        response_model=Verified,
        responses=problems(405, 422, 429, 500, 503),
        openapi_extra={"security": []},
    )
    async def verify(request: Request, code: str, check: str = "") -> Response:
        """Tell anybody whether a code is genuine, used, recalled, held, expired or unknown."""
        return json_answer(await public.ask(request, code, check), headers=public_page.NO_STORE)

    @app.get("/verify", include_in_schema=False)
    async def verify_page(request: Request, code: str = "", check: str = "") -> Response:
        """Show the form, and under it the answer to the code asked for."""
        answer, problem, status = None, ("", ""), 200
        if code.strip():
            try:
                answer = await public.ask(request, code, check.strip())
            except DomainError as error:
                problem = message(error.code, error.facts)
                status = domain_status(error)
        page = public_page.render(code, check, answer, problem)
        return Response(page, status, public_page.HEADERS, media_type="text/html; charset=utf-8")
