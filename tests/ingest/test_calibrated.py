"""Calibrated probes: judged by what their readings count as, from the certificate's date on."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from domain.cold_chain.calibration import CHINA, calibration_stream
from domain.cold_chain.calibration_events import CalibrationPoint, CalibrationRecorded
from ingest.retold import retold
from ingest.worker import Worker
from projections.runner import Runner
from store.logs import Ledger
from tests.conftest import Database
from tests.ingest import field
from tests.ingest.test_shifts import ORIGIN_MS, STEP_MS, at, readings, told

pytestmark = pytest.mark.database


def certified(ledger: Ledger, device: str, step: int, deviation_c: float, version: int = 1) -> None:
    """Let a certificate be recorded that counts from a step on."""
    point = CalibrationPoint(reference_c=5.0, deviation_c=deviation_c, uncertainty_c=0.1)
    event = CalibrationRecorded(
        device_id=device,
        channel="t1",
        certificate_no=f"RZ-{version}",
        laboratory="示例计量院",
        calibrated_on=at(step).astimezone(CHINA).date(),
        since=at(step),
        valid_until=(at(step) + timedelta(days=365)).date(),
        points=(point,),
    )
    field.append(ledger, [(calibration_stream(device, "t1"), version, event)])


def starts(database: Database, device: str) -> list[int]:
    """Return the steps at which alerts begin that stand."""
    return sorted((one[2] - ORIGIN_MS) // STEP_MS for one in told(database, device))


def test_given_a_certificate_when_readings_come_then_judged_corrected_and_stored_as_read(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    device = field.new_device(ledger)
    worker.take([readings(device, 0, *[5.0] * 10)])
    certified(ledger, device, 10, 0.5)
    worker.take([readings(device, 10, *[8.4] * 10)])
    assert starts(database, device) == [], "8.4 counts as 7.9"
    worker.take([readings(device, 20, *[8.6] * 10)])
    assert starts(database, device) == [20]
    ((peak,),) = database.query(
        "SELECT peak_c FROM episode JOIN device_no USING (device_no) WHERE device_id = %s", device
    )
    assert peak == 8.1, "what people are told is what it counts as"
    values = database.query(
        "SELECT DISTINCT t1 FROM reading JOIN device_no USING (device_no)"
        " WHERE device_id = %s ORDER BY 1",
        device,
    )
    assert [value for (value,) in values] == [5.0, 8.4, 8.6]


def test_given_judged_readings_when_a_certificate_comes_late_then_alerts_are_told_otherwise(
    worker: Worker, ledger: Ledger, database: Database
) -> None:
    device = field.new_device(ledger)
    cold, warm = [7.0] * 6, [8.2] * 6
    worker.take([readings(device, 0, *cold, *warm, *cold, *[7.9] * 6, *cold)])
    assert starts(database, device) == [6]
    certified(ledger, device, 12, -0.3)
    worker.settle()
    assert starts(database, device) == [6, 18], "7.9 counts as 8.2 from step 12 on"
    certified(ledger, device, 0, 0.5, version=2)
    worker.settle()
    assert starts(database, device) == [18], "8.2 counted as 7.7 before"
    withdrawn = database.query(
        "SELECT count(*) FROM episode JOIN device_no USING (device_no)"
        " WHERE device_id = %s AND withdrawn",
        device,
    )
    assert withdrawn == [(1,)]
    worker.flush()
    with closing(Runner(database.app_dsn)) as following:
        following.follow_once()
        alerts = database.query(
            "SELECT alert_id::text FROM episode JOIN device_no USING (device_no)"
            " WHERE device_id = %s",
            device,
        )
        for (alert_id,) in alerts:
            found = retold(following.conn, ledger, alert_id)
            assert found is not None
            assert found[0] == found[1], "worked out again from readings as they count"
