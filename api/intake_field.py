"""The equipment that a file of readings speaks of: registered where nobody has, and its messages.

A device named `STORE-<site>` or `FRIDGE-<site>` stands in a unit of that site; any other rides in a
vehicle of the site that its name names first. No rules are published for these units: what was
outside the limits of the products is put on record as excursions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from api.commands import state_of
from api.deps import Deps
from domain.cold_chain import model
from domain.cold_chain.model import INTERVAL_S_MAX, INTERVAL_S_MIN, UnitKind
from domain.registry import model as registry
from domain.shared.decide import decide
from domain.shared.errors import Invalid

CHANNEL = "t1"
_STANDING = {"STORE": UnitKind.COLD_ROOM, "FRIDGE": UnitKind.REFRIGERATOR}
# Readings in one message: the contract's 500 would be more than its 64 KiB.
READINGS_MAX = 400

Limits = tuple[float, float]
Run = Callable[..., None]


class Row(NamedTuple):
    """A line of the file: ms since 1970, °C, and relative humidity where it is told."""

    t_ms: int
    celsius: float
    humidity_pct: float | None


class Field:
    """Registers equipment by `run(deps, stream, decision)`, for products of these limits."""

    def __init__(self, deps: Deps, run: Run, limits: Limits) -> None:
        self._deps, self._run, self._limits = deps, run, limits

    def messages(self, device_id: str, rows: Sequence[Row]) -> Iterator[tuple[str, bytes]]:
        """Yield the messages (topic, payload) of a device that is known by now.

        Invalid("unknown_site") where its name names none.
        """
        rows = sorted(rows)
        known = self._device(device_id) or self._registered(device_id, rows)
        said = known.registered
        topic = (
            f"cc/v1/{said.region_code}/{said.site_id}/{said.gateway_id}/backfill/{said.device_id}"
        )
        for n in range(0, len(rows), READINGS_MAX):
            yield topic, orjson.dumps([_flat(row) for row in rows[n : n + READINGS_MAX]])

    def _device(self, device_id: str) -> Any:
        return state_of(self._deps.ledger, model.device_stream(device_id), model.evolve_device)

    def _registered(self, device_id: str, rows: Sequence[Row]) -> Any:
        site_id, kind = self._site(device_id)
        site = state_of(self._deps.ledger, registry.site_stream(site_id), registry.evolve_site)
        region = site.region_code if site else None
        gateway_id, unit_id = f"file-{site_id}", device_id
        gateway = decide(
            model.evolve_gateway,
            None,
            model.register_gateway,
            site_region=region,
            gateway_id=gateway_id,
            site_id=site_id,
        )
        self._run(self._deps, model.gateway_stream(gateway_id), gateway)
        self._unit(unit_id, site_id, region, kind)
        known = state_of(self._deps.ledger, model.gateway_stream(gateway_id), model.evolve_gateway)
        device = decide(
            model.evolve_device,
            None,
            model.register_device,
            gateway=known,
            device_id=device_id,
            gateway_id=gateway_id,
            channels=(CHANNEL, "rh"),
            interval_s=_interval_s(rows),
        )
        self._run(self._deps, model.device_stream(device_id), device)
        self._place(device_id, unit_id, rows)
        return self._device(device_id)

    def _site(self, device_id: str) -> tuple[str, UnitKind]:
        """Return the site of a device, and in what it stands there or rides."""
        kind, _, named = device_id.partition("-")
        if kind in _STANDING and self._known(named):
            return named, _STANDING[kind]
        for part in named.split("-"):
            if self._known(part):
                return part, UnitKind.REFRIGERATED_VEHICLE
        raise Invalid("unknown_site", field="device", value=device_id)

    def _known(self, site_id: str) -> bool:
        return bool(self._deps.ledger.stream(registry.site_stream(site_id)))

    def _unit(self, unit_id: str, site_id: str, region: str | None, kind: UnitKind) -> None:
        low, high = self._limits
        profile_id = f"products_{low:g}_{high:g}".replace(".", "p")
        profile = decide(
            model.evolve_profile,
            None,
            model.define_profile,
            profile_id=profile_id,
            name=f"产品储存范围 {low:g}–{high:g} ℃",
            name_en=f"Limits of products, {low:g} to {high:g} °C",
            temperature_c_min=low,
            temperature_c_max=high,
            source="产品说明书 / labels of the products",
        )
        stream = model.profile_stream(profile_id)
        self._run(self._deps, stream, profile)
        unit = decide(
            model.evolve_unit,
            None,
            model.register_unit,
            site_region=region,
            profile=state_of(self._deps.ledger, stream, model.evolve_profile),
            unit_id=unit_id,
            site_id=site_id,
            kind=kind,
            name=unit_id,
            profile_id=profile_id,
        )
        self._run(self._deps, model.unit_stream(unit_id), unit)

    def _place(self, device_id: str, unit_id: str, rows: Sequence[Row]) -> None:
        placing = decide(
            model.evolve_device,
            None,
            model.place_probe,
            unit=state_of(self._deps.ledger, model.unit_stream(unit_id), model.evolve_unit),
            channel=CHANNEL,
            unit_id=unit_id,
            placed_at=datetime.fromtimestamp(rows[0].t_ms / 1000, UTC),
        )
        self._run(self._deps, model.device_stream(device_id), placing)


def _interval_s(rows: Sequence[Row]) -> int:
    """Return the seconds between two readings at least, as the device is registered with."""
    gaps = [(b.t_ms - a.t_ms) // 1000 for a, b in pairwise(rows) if b.t_ms > a.t_ms]
    return min(max(min(gaps, default=INTERVAL_S_MIN), INTERVAL_S_MIN), INTERVAL_S_MAX)


def _flat(row: Row) -> dict[str, float | int]:
    told = {"ts": row.t_ms, "temperature": row.celsius}
    return told if row.humidity_pct is None else told | {"humidity": row.humidity_pct}
