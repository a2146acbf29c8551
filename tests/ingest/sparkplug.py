"""Sparkplug B messages of the field's gateway for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ingest import sparkplug_payload
from ingest.batch import Received
from ingest.sparkplug_payload import Metric, Payload, serialized
from tests.ingest.field import GATEWAY, NOW_MS, REGION

FLOAT, DOUBLE, BOOLEAN, TEXT = 9, 10, 11, 12


def metric(
    value: object = None,
    *,
    name: str = "",
    alias: int | None = None,
    ts_ms: int | None = NOW_MS,
    datatype: int | None = None,
    **flags: bool,
) -> Metric:
    """Return a metric whose value stands in the field of its own type."""
    fields = {bool: "boolean_value", int: "int_value", float: "double_value", str: "string_value"}
    known: Any = value
    return Metric(
        name, alias, ts_ms, datatype, field=fields.get(type(value), ""), value=known, **flags
    )


SITE_ROOT = f"spBv1.0/{REGION}"
BIRTH_METRICS = [
    metric(5.0, name="t1", alias=1, datatype=DOUBLE),
    metric(61, name="rh", alias=2, datatype=3),
    metric("X1", name="Properties/Model", alias=3, datatype=TEXT),
]


def sent(
    kind: str, seq: int | None, *metrics: Metric, device: str = "", ts_ms: int = NOW_MS
) -> Received:
    topic = f"{SITE_ROOT}/{kind}/{GATEWAY}" + (f"/{device}" if device else "")
    return Received(topic, serialized(Payload(ts_ms, seq, metrics)))


def compressed(message: Received, pack: Callable[[bytes], bytes], *algorithm: str) -> Received:
    """Return a message whose payload lies packed in another one's body."""
    outer = sparkplug_payload._Payload(uuid="SPBV1.0_COMPRESSED", body=pack(message.payload))
    for name in algorithm:
        outer.metrics.add(name="algorithm", datatype=TEXT, string_value=name)
    return replace(message, payload=outer.SerializeToString())


def nbirth(bd_seq: int, seq: int = 0, *metrics: Metric, ts_ms: int = NOW_MS - 1000) -> Received:
    born = replace(metric(bd_seq, name="bdSeq", datatype=8), field="long_value")
    return sent("NBIRTH", seq, born, *metrics, ts_ms=ts_ms)


def ndeath(bd_seq: int) -> Received:
    return sent(
        "NDEATH", None, replace(metric(bd_seq, name="bdSeq", datatype=8), field="long_value")
    )


def session(device: str, bd_seq: int = 0) -> list[Received]:
    """Return the births of the gateway and of a device."""
    return [nbirth(bd_seq), sent("DBIRTH", 1, *BIRTH_METRICS, device=device)]
