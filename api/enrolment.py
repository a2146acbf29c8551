"""Devices and gateways that nobody registered: seen in quarantine, enrolled by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from api import quarantine
from api.auth import Principal, permission
from api.commands import Call, CallOf, Receipt, state_of
from api.deps import Deps, DepsOf
from api.paging import PageOf
from api.routing import PREFIX, module_router
from api.schemas import Body, Items, Moment, Name, NameOrNone, Region, RegionAsked
from domain.cold_chain import model
from domain.cold_chain.enrolment import Placing, Suggestion, enrol_device, suggested
from domain.registry import model as registry
from domain.shared.decide import decide, fold
from domain.shared.errors import Invalid, NotFound
from domain.shared.roles import Role
from projections import cold_chain as read

router = module_router("cold_chain")

# Messages on a topic that a suggestion is made from: enough to see an interval in single readings.
SAMPLES = 5
# A larger one tells nothing; what of a payload is only shown, in characters of up to 4 bytes.
SAMPLE_BYTES_MAX = 65_536
SHOWN_BYTES_MAX = 4 * quarantine.PAYLOAD_SHOWN_MAX
# Who is listed at once: the messages of each are read.
UNKNOWN_LIMIT_MAX = 50
# Kinds of message under which a device, or in Sparkplug also a gateway, is heard.
OF_READINGS = ("tele", "backfill")
SPARKPLUG_OF_DEVICE = ("DBIRTH", "DDATA", "DDEATH")
SPARKPLUG_OF_GATEWAY = ("NBIRTH", "NDATA", "NDEATH")


class May(StrEnum):
    """Permissions of enrolment."""

    SEE = "cold_chain.see_unknown"
    ENROL = "cold_chain.enrol"


Channel = Annotated[str, Field(pattern=model.CHANNEL_PATTERN, examples=["t1"])]
Channels = Annotated[
    list[Channel],
    Field(min_length=1, max_length=model.CHANNELS_MAX, json_schema_extra={"uniqueItems": True}),
]
Interval = Annotated[int, Field(ge=model.INTERVAL_S_MIN, le=model.INTERVAL_S_MAX)]


class Spot(Body):
    """Where something spoke: the levels of its topic; without a device it is the gateway itself."""

    region_code: Region
    gateway_id: Annotated[Name, Field(examples=["dwk-gw-1"])]
    device_id: Annotated[NameOrNone, Field(examples=["dwk-log-9"])]


class Unknown(Spot):
    """What spoke without being registered, its newest message, and what it seems to be.

    `site_id` is empty where its topic names none (Sparkplug): whoever enrols it knows. `messages`
    of it are kept in quarantine. `site_known`, `gateway_known`: registered there. `interval_s`
    null, `channels` empty: not to be seen in its messages.
    """

    site_id: NameOrNone
    first_seen_at: datetime
    last_seen_at: datetime
    messages: int
    site_known: bool
    gateway_known: bool
    topic: str
    payload: str
    channels: list[str]
    interval_s: int | None


class PlacingIn(Body):
    """From `placed_at` on, what this probe measures belongs to this unit."""

    channel: Channel
    unit_id: Annotated[Name, Field(examples=["dwk-room-1"])]
    placed_at: Moment


class EnrolmentIn(Spot):
    """Who is to be registered; channels and interval left out are those its messages suggest."""

    site_id: Annotated[Name, Field(examples=["dwk-cdc"])]
    channels: Channels | None = None
    interval_s: Interval | None = None
    probes: Annotated[list[PlacingIn], Field(max_length=model.CHANNELS_MAX)] = []  # noqa: RUF012  # pydantic copies it


@router.get("/unknown-devices", response_model=Items[Unknown])
def list_unknown(
    who: Annotated[Principal, permission(May.SEE, *quarantine.WATCHERS)],
    deps: DepsOf,
    page: PageOf,
    region: RegionAsked = None,
) -> Response:
    """List the devices and gateways that spoke without being registered, by place.

    At most 50 of them at a time, whatever the limit.
    """
    page = replace(page, limit=min(page.limit, UNKNOWN_LIMIT_MAX))
    prefix = who.narrowed(region)
    region_code, site_id, gateway_id, device_id = page.after_key(str, str, str, str) or ("",) * 4
    after = (region_code, site_id, gateway_id, device_id)
    with deps.pool.connection() as conn:
        rows = read.unknown(conn, region=prefix, after=after, limit=page.limit + 1)
    samples = _samples(deps, rows[: page.limit])
    shown = [_shown(deps, row, samples) for row in rows]
    return page.answer(
        shown, lambda row: [row[n] for n in ("region_code", "site_id", "gateway_id", "device_id")]
    )


@router.post("/enrolments", status_code=201, response_model=Receipt)
def enrol(
    body: EnrolmentIn,
    who: Annotated[Principal, permission(May.ENROL, Role.CDC, Role.STEWARD)],
    call: CallOf,
) -> Response:
    """Register a device, or a gateway, that spoke; its messages in quarantine are played again.

    The gateway is registered with its device unless it is. Probes may be placed at once.
    """
    who.require_region(body.region_code)
    site = state_of(call.deps.ledger, registry.site_stream(body.site_id), registry.evolve_site)
    if site is None or site.region_code != body.region_code:
        raise Invalid("unknown_site", field="site_id", site_id=body.site_id)
    answer = _enrolled(call, body)
    # Once the registration is stored, so that ingest finds it when it takes them again.
    # The gateway's own go with them: data may mean nothing without its birth (Sparkplug).
    topics = _topics(body) + _topics(body.model_copy(update={"device_id": ""}))
    with call.deps.pool.connection() as conn:
        replay = {"actor_id": who.key_id, "topics": topics}
        conn.execute(quarantine.queries.replay_unknown, replay)
    return answer


def _enrolled(call: Call, body: EnrolmentIn) -> Response:
    ledger = call.deps.ledger
    stream = model.gateway_stream(body.gateway_id)
    gateway = state_of(ledger, stream, model.evolve_gateway)
    place = {"gateway_id": body.gateway_id, "site_id": body.site_id}
    registering = decide(
        model.evolve_gateway, None, model.register_gateway, site_region=body.region_code, **place
    )
    samples = _samples(call.deps, [body])
    if not body.device_id:
        if gateway is None and not samples:
            raise NotFound("nothing_waits", id=body.gateway_id)
        location = f"{PREFIX}/gateways/{body.gateway_id}"
        meta = call.meta(region_code=body.region_code)
        return call.run(stream, registering, location=location, meta=meta)
    # Refuses a gateway of another site; new only where there is none.
    registered = registering([gateway.registered] if gateway else [])
    device_stream = model.device_stream(body.device_id)
    device = state_of(ledger, device_stream, model.evolve_device)
    if device is None and not samples:
        raise NotFound("nothing_waits", id=body.device_id)
    # A known one may have moved since it spoke there: it is its present region's.
    region = call.who.require_region(device.region_code) if device else body.region_code
    return call.run(
        device_stream,
        decide(
            model.evolve_device,
            None,
            enrol_device,
            suggestion=_suggestion(call.deps, body, samples),
            gateway=gateway or fold(model.evolve_gateway, None, registered),
            device_id=body.device_id,
            gateway_id=body.gateway_id,
            channels=body.channels,
            interval_s=body.interval_s,
            placings=_placings(call, body.probes),
            units=_units(call, body.probes),
        ),
        location=f"{PREFIX}/devices/{body.device_id}",
        meta=call.meta(region_code=region),
        claims=[(stream, event) for event in registered],
    )


def _placings(call: Call, probes: Sequence[PlacingIn]) -> list[Placing]:
    now = call.deps.clock.now()
    return [
        Placing(p.channel, p.unit_id, model.checked_past(p.placed_at, now, "placed_at"))
        for p in probes
    ]


def _units(call: Call, probes: Sequence[PlacingIn]) -> dict[str, model.Unit]:
    """Return the units that probes are to stand in, by id, those of the caller's region."""
    found = {}
    for unit_id in {probe.unit_id for probe in probes}:
        unit = state_of(call.deps.ledger, model.unit_stream(unit_id), model.evolve_unit)
        if unit is not None:
            call.who.require_region(unit.region_code)
            found[unit_id] = unit
    return found


def _topics(spot: EnrolmentIn | read.Unknown) -> list[str]:
    """Return the topics on which a device, or a gateway, is heard."""
    return _topics_of_readings(spot) + _other_topics(spot)


def _topics_of_readings(spot: EnrolmentIn | read.Unknown) -> list[str]:
    if not (spot.site_id and spot.device_id):
        return []
    base = f"cc/v1/{spot.region_code}/{spot.site_id}/{spot.gateway_id}"
    return [f"{base}/{kind}/{spot.device_id}" for kind in OF_READINGS]


def _other_topics(spot: EnrolmentIn | read.Unknown) -> list[str]:
    place = f"cc/v1/{spot.region_code}/{spot.site_id}/{spot.gateway_id}"
    region = f"spBv1.0/{spot.region_code}"
    if spot.device_id:
        sender = f"{spot.gateway_id}/{spot.device_id}"
        sparkplug = [f"{region}/{kind}/{sender}" for kind in SPARKPLUG_OF_DEVICE]
        return [f"{place}/event/{spot.device_id}", *sparkplug]
    return [
        f"{place}/status",
        *(f"{region}/{kind}/{spot.gateway_id}" for kind in SPARKPLUG_OF_GATEWAY),
    ]


def _samples(deps: Deps, spots: Sequence[EnrolmentIn | read.Unknown]) -> dict[str, list[bytes]]:
    """Return the newest messages on each topic of unknown senders, newest first.

    Of readings, which suggestions are made from, several and whole; else one, as it is shown.
    """
    readings = [topic for spot in spots for topic in _topics_of_readings(spot)]
    others = [topic for spot in spots for topic in _other_topics(spot)]
    found: dict[str, list[bytes]] = {}
    with deps.pool.connection() as conn:
        kept = read.unknown_samples(conn, readings, SAMPLES, SAMPLE_BYTES_MAX)
        kept += read.unknown_samples(conn, others, 1, SHOWN_BYTES_MAX)
    for topic, payload in kept:
        found.setdefault(topic, []).append(bytes(payload))
    return found


def _suggestion(
    deps: Deps, spot: EnrolmentIn | read.Unknown, samples: Mapping[str, Sequence[bytes]]
) -> Suggestion:
    now_ms = int(deps.clock.now().timestamp() * 1000)
    read_ones = (
        deps.read_sample(spot.device_id, payload, now_ms)
        for topic in _topics_of_readings(spot)
        for payload in samples.get(topic, ())
    )
    return suggested(sample for sample in read_ones if sample is not None)


def _shown(deps: Deps, row: read.Unknown, samples: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
    heard = [(topic, samples[topic][0]) for topic in _topics(row) if topic in samples]
    topic, payload = heard[0] if heard else ("", b"")
    return {
        **asdict(row),
        "topic": topic,
        "payload": payload.decode(errors="replace")[: quarantine.PAYLOAD_SHOWN_MAX],
        **asdict(_suggestion(deps, row, samples)),
    }
