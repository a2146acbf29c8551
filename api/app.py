"""The HTTP application: finds the modules' routes, puts errors, tracing and health around them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

import api.routes
from api import auth, errors, health, public, system
from api.deps import Deps
from api.epcis import problems
from api.fhir import routes as fhir
from api.middleware import Tracing
from api.quick import QuickAnswers
from api.routing import PREFIX, ModuleRoute, SocketRoute
from projections.traceability import chain_asking

TITLE = "Vaxtrail 苗迹"
# What is asked most, by far: the others are looked through after it.
BUSIEST = f"{PREFIX}/scans"


class NotARoute(RuntimeError):
    """A file in `api/routes/` has no `router` of `module_router`."""


def create_app(deps: Deps) -> FastAPI:
    """Return the application.

    NotARoute when a file has no router, TypeError for a route that declares no permission.
    """
    app = FastAPI(
        title=TITLE,
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load scripts from abroad
        redoc_url=None,
        redirect_slashes=False,
        # Nobody's environment shall make it send what it does elsewhere.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.deps = deps
    # Parts of the interface whose refusals a standard shapes.
    app.state.problem_shapes = {problems.PATH: problems.shape, fhir.PATH: fhir.shape}
    app.state.keys = auth.KeyTable(lambda: auth.load_keys(deps.pool))
    app.state.chains = chain_asking(str(deps.pool.conninfo))
    for router in (system.router, *discover()):
        app.router.routes.extend(router.routes)
    app.router.routes.sort(key=lambda route: getattr(route, "path", "") != BUSIEST)
    errors.install(app)
    seconds = health.install(app, deps)
    public.install(app, deps)
    framework = app.build_middleware_stack()
    app.middleware_stack = Tracing(QuickAnswers(framework, app.router.routes), seconds)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


def discover() -> list[APIRouter]:
    """Return the routers of all modules in order of name."""
    found = []
    for module in pkgutil.iter_modules(api.routes.__path__):
        loaded = importlib.import_module(f"api.routes.{module.name}")
        router = getattr(loaded, "router", None)
        if not isinstance(router, APIRouter):
            raise NotARoute(f"api.routes.{module.name}")
        if not all(isinstance(route, ModuleRoute | SocketRoute) for route in router.routes):
            raise NotARoute(f"api.routes.{module.name}: use module_router")
        found.append(router)
    return found


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, routes=app.routes, summary="疫苗冷链与追溯"
        )
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = errors.Problem.model_json_schema()
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
        app.openapi_schema = schema
    return app.openapi_schema
