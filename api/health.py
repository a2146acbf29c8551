"""`/livez`, `/readyz` and `/metrics`: for supervisors and Prometheus, without a key."""

from __future__ import annotations

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest

from api.deps import Deps
from api.routing import json_answer

# Seconds: a custody question takes about one millisecond, a large list some hundred.
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


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

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        problems = dict(deps.readiness())
        return json_answer({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return seconds
