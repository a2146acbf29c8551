"""`/livez`, `/readyz` and `/metrics`: for supervisors and Prometheus, without a key."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest

from alerts import floor
from api.deps import Deps
from api.routing import json_answer
from domain.alerting.duty import PEOPLE_MIN

# Seconds: a custody question takes about one millisecond, a large list some hundred.
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Seconds for which what warns is not looked for again.
WARNED_S = 600.0


def install(app: FastAPI, deps: Deps) -> Histogram:
    """Add the three pages and return the histogram of answers, which the middleware feeds."""
    registry = CollectorRegistry()
    seconds = Histogram(
        "vaxtrail_http_request_seconds",
        "Time to the first byte of an answer",
        ["method", "route", "status"],
        buckets=BUCKETS_S,
        registry=registry,
    )

    for collector in deps.collectors:
        registry.register(collector)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return json_answer({"live": True})

    warnings = _warnings(deps)

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        problems = dict(deps.readiness())
        if problems:
            return json_answer({"ready": False, "problems": problems}, 503)
        return json_answer({"ready": True, "problems": {}, "warnings": warnings()})

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return seconds


def _warnings(deps: Deps) -> Callable[[], dict[str, str]]:
    """Return what tells, looking every ten minutes at most, what is amiss and stops no work."""
    told: dict[str, str] = {}
    again = 0.0

    def warnings() -> dict[str, str]:
        nonlocal told, again
        if time.monotonic() >= again:
            told, again = _understaffed(deps), time.monotonic() + WARNED_S
        return told

    return warnings


def _understaffed(deps: Deps) -> dict[str, str]:
    now = deps.clock.now()
    try:
        with deps.pool.connection() as conn:
            found = floor.staff(conn, now, until=now)
    except psycopg.Error:  # away, or without read models: `readiness` tells of it
        return {}
    short = sum(one.people < PEOPLE_MIN for one in found)
    if not short:
        return {}
    said = (
        f"{short} 个站点的告警不足三人接收（GET /api/v1/alert-floor）"
        f" / alerts of {short} sites reach fewer than three people"
    )
    return {"alert_floor": said}
