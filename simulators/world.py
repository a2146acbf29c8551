"""The running city: all units, loggers, scanners and plans, moved from one time to the next.

`World.until(ms)` returns every message of the time since the last call, faults among them, in the
order in which it is sent. Same city, start, seed and steps: same messages to the byte.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from simulators import goods, wire
from simulators.city import City, Unit
from simulators.clinic import Clinic
from simulators.cold_store import MINUTE_MS, ColdUnit, Logger, Trouble
from simulators.faults import Faults
from simulators.scanner import Act, Scanner
from simulators.vehicle import open_doors
from simulators.wire import Message

# 2020-01-01T00:00Z; a start counted in minutes from here is the boot number of every device, so a
# second run on one store is another session and not a repetition.
BOOT_EPOCH_MS = 1_577_836_800_000
SENT_ROWS_KEPT = 8
UNPLUGGED_AFTER_MS, UNPLUGGED_MS = 26 * 60 * MINUTE_MS, 90 * MINUTE_MS
POWER_CUT_AFTER_MS, POWER_CUT_MS = 31 * 60 * MINUTE_MS, 75 * MINUTE_MS


class World:
    """Everything that moves. Times are UTC milliseconds."""

    def __init__(self, city: City, *, start_ms: int, end_ms: int, seed: int) -> None:
        """Plan the days from `start_ms` to `end_ms`."""
        self.city = city
        self.now_ms = start_ms
        self._seed = f"{seed}:{start_ms}"
        boot = (start_ms - BOOT_EPOCH_MS) // MINUTE_MS % (1 << 22)
        self.units = {
            unit.unit_id: ColdUnit(
                unit.kind, seed=f"{self._seed}:{unit.unit_id}", start_ms=start_ms
            )
            for unit in city.units
        }
        self.loggers = [logger for unit in city.units for logger in self._loggers(unit, boot)]
        self._scanners = {
            site.site_id: Scanner(site.region, site.site_id, site.scanner_id, boot)
            for site in city.sites
        }
        self._faults = Faults(random.Random(f"faults:{self._seed}"))
        self.plan = goods.plan(city, start_ms=start_ms, seed=self._seed)
        self.clinics: dict[str, Clinic] = {}
        self._acts = self._planned(end_ms)
        for vehicle in (unit for unit in city.units if unit.plate):
            legs = [leg for leg in self.plan.legs if leg.vehicle_id == vehicle.unit_id]
            open_doors(self.units[vehicle.unit_id], legs)
        self._small_troubles(start_ms)

    def until(self, ms: int) -> list[Message]:
        """Let time pass until `ms` and return what was sent meanwhile."""
        while self.now_ms < ms:
            self.now_ms += MINUTE_MS
            for unit in self.units.values():
                unit.minute()
            for logger in self.loggers:
                logger.sample()
        messages = [m for logger in self.loggers for m in self._readings(logger)]
        messages += self._scans()
        return list(self._faults.spoil(messages, ms))

    def trouble(self, unit_id: str, trouble: Trouble) -> None:
        """Let something happen to a unit."""
        self.units[unit_id].troubles.append(trouble)

    def hold(self, unit: Unit, reason: str) -> list[Message]:
        """Return the scan by which a clinic holds back now what is left in one of its units."""
        clinic = self.clinics.get(unit.site.site_id)
        codes = clinic.left_in(unit.unit_id) if clinic else ()
        if not codes:
            return []
        scanner = self._scanners[unit.site.site_id]
        return [scanner.scan(self.now_ms, "holding", codes, {"reason": reason})]

    def _loggers(self, unit: Unit, boot: int) -> Iterator[Logger]:
        for device_id, channels in zip(unit.device_ids(), unit.devices, strict=True):
            cold = self.units[unit.unit_id]
            yield Logger(device_id, unit.base, cold, channels, unit.interval_s, boot)

    def _planned(self, end_ms: int) -> list[Act]:
        acts = list(self.plan.acts)
        for site_id, (from_ms, packs) in self.plan.delivered.items():
            rng = random.Random(f"clinic:{self._seed}:{site_id}")
            clinic = Clinic(self.city, self.city.site(site_id), list(packs), rng)
            acts += clinic.acts(from_ms=from_ms, to_ms=end_ms)
            self.clinics[site_id] = clinic
        return sorted((act for act in acts if act.at_ms <= end_ms), key=lambda act: -act.at_ms)

    def _small_troubles(self, start_ms: int) -> None:
        """Unplug one probe for a while; cut the power of one refrigerator at a county CDC."""
        rng = random.Random(f"troubles:{self._seed}")
        two_probes = [lg for lg in self.loggers if "t2" in lg.channels]
        from_ms = start_ms + UNPLUGGED_AFTER_MS
        rng.choice(two_probes).unplugged = (Trouble(from_ms, from_ms + UNPLUGGED_MS),)
        county = rng.choice(self.city.of_kind("county_cdc"))
        fridge = rng.choice(self.city.units_at(county.site_id, "refrigerator"))
        from_ms = start_ms + POWER_CUT_AFTER_MS
        self.trouble(fridge.unit_id, Trouble(from_ms, from_ms + POWER_CUT_MS))

    def _readings(self, logger: Logger) -> Iterator[Message]:
        if not logger.pending:
            return
        again = self._faults.recut_rows(logger)
        rows = logger.sent[len(logger.sent) - again :]
        rows += [(logger.seq + n, ts, row) for n, (ts, row) in enumerate(logger.pending)]
        logger.seq += len(logger.pending)
        logger.pending = []
        logger.sent = rows[-SENT_ROWS_KEPT:]
        yield replace(_message(logger, rows), repeats=again)

    def _scans(self) -> Iterator[Message]:
        while self._acts and self._acts[-1].at_ms <= self.now_ms:
            act = self._acts.pop()
            yield self._scanners[act.site_id].scan(
                act.at_ms, act.step, act.codes, self._fields(act)
            )
            if act.step == "dispensing":
                yield from self._faults.bad_scans(self._scanners[act.site_id], act.at_ms)

    def _fields(self, act: Act) -> dict[str, object]:
        """Return an act's fields with the temperatures that people write down with it."""
        fields = dict(act.fields)
        if not act.unit_seen:
            return fields
        unit = self.units[act.unit_seen]
        if act.step in {"shipping", "receiving"}:
            fields["temp"] = unit.temperature_at(act.at_ms)
        if act.since_ms is not None:
            fields["tmin"], fields["tmax"] = unit.extremes(act.since_ms, act.at_ms)
        return fields


def _message(logger: Logger, rows: list[tuple[int, int, tuple[wire.Value, ...]]]) -> Message:
    seq, ts_ms, values = rows[0]
    if len(rows) == 1:
        named = dict(zip(logger.channels, values, strict=True))
        return wire.single(
            logger.base, logger.device_id, boot=logger.boot, seq=seq, ts_ms=ts_ms, values=named
        )
    return wire.batch(
        logger.base,
        logger.device_id,
        boot=logger.boot,
        seq=seq,
        times_ms=[ts for _, ts, _ in rows],
        columns=logger.channels,
        rows=[row for _, _, row in rows],
    )
