"""Gateways replaced and devices moved, over HTTP; the history of both stays."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Response
from pydantic import Field

from api.auth import Principal, permission
from api.commands import CallOf, Receipt, VersionOf, state_of
from api.routing import PREFIX, module_router
from api.schemas import Body, Moment, Name, NameInPath
from domain.cold_chain import model, places
from domain.shared.decide import decide
from domain.shared.errors import NotFound
from domain.shared.roles import Role

router = module_router("cold_chain")


class May(StrEnum):
    """Permissions of this part."""

    REPLACE = "cold_chain.replace_gateway"
    MOVE = "cold_chain.move_device"


class ReplacementIn(Body):
    """The gateway that stands in another's place from `replaced_at` on, new or of the same site."""

    replacement_id: Annotated[Name, Field(examples=["dwk-gw-2"])]
    replaced_at: Moment


class MoveIn(Body):
    """From `moved_at` on, the device reports through this gateway, at this or another site."""

    gateway_id: Annotated[Name, Field(examples=["dwk-gw-2"])]
    moved_at: Moment


@router.post("/gateways/{gateway_id}/replacement", status_code=201, response_model=Receipt)
def replace_gateway(
    gateway_id: NameInPath,
    body: ReplacementIn,
    version: VersionOf,
    who: Annotated[Principal, permission(May.REPLACE, Role.CDC, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Put a gateway in the place of a dead one: the devices behind it report through the new one.

    The new one is registered with it unless it is. What the dead one sent of the time before is
    still taken, however late it comes.
    """
    ledger, stream = call.deps.ledger, model.gateway_stream(gateway_id)
    found = state_of(ledger, stream, model.evolve_gateway)
    if found is None or not who.covers(found.registered.region_code):
        raise NotFound("unknown_gateway", gateway_id=gateway_id)
    replacement_stream = model.gateway_stream(body.replacement_id)
    replacement = state_of(ledger, replacement_stream, model.evolve_gateway)
    registration = places.registered_replacement(found, body.replacement_id)
    return call.run(
        stream,
        decide(
            model.evolve_gateway,
            None,
            places.replace_gateway,
            replacement=replacement,
            now=call.deps.clock.now(),
            **body.model_dump(),
        ),
        location=f"{PREFIX}/gateways/{body.replacement_id}",
        meta=call.meta(region_code=found.registered.region_code),
        expected_version=version,
        claims=[] if replacement else [registration],
    )


@router.post("/devices/{device_id}/moves", status_code=201, response_model=Receipt)
def move_device(
    device_id: NameInPath,
    body: MoveIn,
    version: VersionOf,
    who: Annotated[Principal, permission(May.MOVE, Role.CDC, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Put a device behind another gateway from a moment on. Its probes are placed apart from it."""
    ledger, stream = call.deps.ledger, model.device_stream(device_id)
    found = state_of(ledger, stream, model.evolve_device)
    if found is None or not who.covers(found.region_code):
        raise NotFound("unknown_device", device_id=device_id)
    gateway_stream = model.gateway_stream(body.gateway_id)
    gateway = state_of(ledger, gateway_stream, model.evolve_gateway)
    if gateway is not None:
        who.require_region(gateway.registered.region_code)
    return call.run(
        stream,
        decide(
            model.evolve_device,
            None,
            places.move_device,
            gateway=gateway,
            now=call.deps.clock.now(),
            **body.model_dump(),
        ),
        location=f"{PREFIX}/devices/{device_id}",
        meta=call.meta(region_code=gateway.registered.region_code if gateway else ""),
        expected_version=version,
    )
