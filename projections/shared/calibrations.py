"""Certificates of probes, and what readings count as by them, as the ledger stood at any position.

Rows of readings stay as they were read; whoever counts with them asks here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import psycopg
from psycopg.rows import dict_row

from domain.cold_chain.calibration import Calibration
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from projections.projection import Projection
from store.envelope import Recorded
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "shared_calibrations.sql")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Probe: TypeAlias = tuple[str, str]  # device, channel


def apply(cur: psycopg.Cursor[Any], batch: Sequence[Recorded]) -> None:
    """Take certificates into the table."""
    for position, envelope in batch:
        if isinstance(event := envelope.event, CalibrationRecorded):
            row = asdict(event)
            row["points"] = orjson.dumps(row["points"]).decode()
            more = {"position": position, "recorded_at": envelope.meta.recorded_at}
            cur.execute(queries.put_calibration, row | more)


PROJECTION = Projection(
    name="shared_calibrations",
    version=1,
    topics=(CalibrationRecorded.TOPIC,),
    apply=apply,
    ddl=queries.ddl,
)


@dataclass(frozen=True, slots=True)
class Calibrations:
    """The certificates of all probes that have any."""

    by_probe: Mapping[Probe, Calibration]

    def corrected(self, values: Floats, device_id: str, channel: str, at_ms: Ints) -> Floats:
        """Return what n values (°C) that a probe read at n times (ms since 1970) are counted as."""
        known = self.by_probe.get((device_id, channel))
        return values if known is None else known.corrected(values, at_ms)


def calibrations(
    conn: psycopg.Connection[Any],
    ledger: int | None = None,
    devices: Sequence[str] | None = None,
) -> Calibrations:
    """Return the certificates as the ledger stood at a position (None: as far as followed).

    Of the probes of some devices, or of all.
    """
    asked = {"ledger": ledger, "devices": None if devices is None else list(devices)}
    recorded: dict[Probe, list[CalibrationRecorded]] = {}
    with conn.cursor(row_factory=dict_row) as cur:
        for row in cur.execute(queries.known, asked):
            points = tuple(CalibrationPoint(**point) for point in row["points"])
            event = CalibrationRecorded(**row | {"points": points})
            recorded.setdefault((event.device_id, event.channel), []).append(event)
    return Calibrations({probe: Calibration.of(told) for probe, told in recorded.items()})


def recorded_after(
    conn: psycopg.Connection[Any], after: int, upto: int
) -> list[tuple[int, str, str, datetime]]:
    """Return at which positions of the ledger, between two, certificates of probes were recorded.

    In order, each with the moment from which its readings may count otherwise.
    """
    return conn.execute(queries.recorded_after, (after, upto)).fetchall()
