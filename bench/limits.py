"""What the machine gives without any ingest: the broker alone, COPY alone, the disk alone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from bench.load import Load, Plan
from bench.rig import Rig, mosquitto_program
from bench.shape import DEVICES, PRODUCT_TOPIC, Shape

SUBSCRIBE_S = 1.0  # until mosquitto_sub has subscribed
SUBSCRIBER_END_S = 60.0
SYNC_BYTES, SYNC_TIMES = 8_192, 500
COPY = """COPY reading (device_no, ts, boot, seq, batch, backfill, t1, rh)
          FROM STDIN (FORMAT binary)"""
COPY_HEADER, COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
# A row in COPY's binary form: each value behind its length, big-endian.
_FIELDS = {"device_no": "i4", "ts": "i8", "boot": "i4", "seq": "i8", "batch": "i8"} | {
    "backfill": "i1",
    "t1": "f8",
    "rh": "f8",
}
ROW = np.dtype(
    [("fields", ">i2")]
    + [
        part
        for name, kind in _FIELDS.items()
        for part in ((f"{name}_length", ">i4"), (name, f">{kind}"))
    ]
)
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
COPY_DAY_BACK = 3  # a day of its own, emptied before every run


def subscriber(rig: Rig, messages: int, batch: int) -> float:
    """Return the messages a second that a subscriber written in C gets, QoS 1, doing nothing."""
    shape = Shape(PRODUCT_TOPIC.replace("/tele/", "/limit/"), time.time() - 86_400, batch)
    command = subscribing(rig, shape.topic, "-C", str(messages), "-F", "%%")
    with Load(Plan(url=rig.gateway_url, shape=shape, messages=messages)) as load:
        load.prepare()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(SUBSCRIBE_S)
            load.start()
            process.wait(load.plan.seconds)
            seconds: float = time.perf_counter() - load.told.first_s.value
        finally:
            process.kill()
            process.wait()
    return messages / seconds


def subscribing(rig: Rig, topic: str, *options: str) -> list[str]:
    """Return the command of a subscriber written in C to a topic of any gateway and device."""
    parts = urlsplit(rig.server_url)
    login = ["-u", unquote(parts.username or ""), "-P", unquote(parts.password or "")]
    return [
        mosquitto_program("mosquitto_sub"),
        *("-h", parts.hostname or "", "-p", str(parts.port), *(login if parts.username else [])),
        *("-q", "1", "-t", topic.format(gateway="+", device="+"), *options),
    ]


def copy(rig: Rig, rows: int, commit_rows: int) -> float:
    """Return the rows a second of COPY alone into the product's table of readings.

    One connection; the rows are encoded by numpy while the clock runs.
    """
    day = (datetime.now(UTC) - timedelta(days=COPY_DAY_BACK)).date()
    partition = sql.Identifier(f"reading_{day:%Y%m%d}")
    dsn = rig.product.dsn
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SELECT ensure_reading_partitions(%s, %s)", (day, day))
    with psycopg.connect(rig.product.superuser_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("TRUNCATE {}").format(partition))
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        rig.checkpoint()
        with psycopg.connect(dsn) as conn:
            began_s = time.perf_counter()
            for first in range(0, rows, commit_rows):
                with conn.transaction(), conn.cursor() as cur, cur.copy(COPY) as into:
                    into.write(encoded(start, first, min(rows, first + commit_rows)))
            seconds = time.perf_counter() - began_s
        admin.execute(sql.SQL("TRUNCATE {}").format(partition))
    return rows / seconds


def encoded(start: datetime, first: int, end: int) -> bytes:
    """Return rows `first` to `end`: 1,000 devices in turn, each a second after its last one."""
    number = np.arange(first, end)
    turn, device = np.divmod(number, DEVICES)
    return binary(
        device_no=device + 1,
        ts=microseconds(start) + turn * 1_000_000,
        seq=turn,
        t1=np.round(2.5 + number * 0.37 % 5, 2),
        rh=np.round(40 + number * 0.7 % 30, 1),
    )


def binary(**columns: npt.ArrayLike) -> bytes:
    """Return rows as COPY takes them; a column that is not given is 0. `seq` has one value a row.

    ts: microseconds since 2000.
    """
    table = np.zeros(np.shape(columns["seq"]), dtype=ROW)
    table["fields"] = len(_FIELDS)
    for name, kind in _FIELDS.items():
        table[f"{name}_length"] = np.dtype(kind).itemsize
        table[name] = columns.get(name, 0)
    return COPY_HEADER + table.tobytes() + COPY_END


def microseconds(moment: datetime) -> int:
    """Return a moment as PostgreSQL counts."""
    return (moment - POSTGRES_EPOCH) // timedelta(microseconds=1)


def fdatasync_ms(at: Path) -> float:
    """Return the median milliseconds of appending 8 KiB and having it on disk."""
    path = at / "sync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SYNC_BYTES * SYNC_TIMES)
        os.fsync(descriptor)
        return 1000 * median(_synced(descriptor))
    finally:
        os.close(descriptor)
        path.unlink()


def _synced(descriptor: int) -> Iterator[float]:
    for n in range(SYNC_TIMES):
        began_s = time.perf_counter()
        os.pwrite(descriptor, b"x" * SYNC_BYTES, n * SYNC_BYTES)
        os.fdatasync(descriptor)
        yield time.perf_counter() - began_s
