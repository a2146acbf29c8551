"""The payload of Sparkplug B 3.0: protobuf, in the fields that matter here; others are skipped.

    Payload   timestamp 1, metrics 2, seq 3, uuid 4, body 5
    Metric    name 1, alias 2, timestamp 3, datatype 4, is_historical 5, is_transient 6, is_null 7,
              value: int 10, long 11, float 12, double 13, boolean 14, string 15

A payload of uuid SPBV1.0_COMPRESSED has another one in its body, packed by what its metric
`algorithm` names: DEFLATE (in a zlib frame; also where none is named) or GZIP.

Signed integers are two's complement in the unsigned fields, as wide as their datatype says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ingest.refusals import Refused
from ingest.wire import inflated

# One message has no more: a birth names every metric of a gateway or device.
METRICS_MAX = 2_000
SEQ_END = 256
COMPRESSED = "SPBV1.0_COMPRESSED"
ALGORITHMS = frozenset({"DEFLATE", "GZIP"})


class Datatype(IntEnum):
    """The datatypes of numbers, and the one above which the standard names none."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    LAST = 34


# Bits of the integers, and which of them are signed.
_BITS = {
    Datatype.INT8: 8,
    Datatype.INT16: 16,
    Datatype.INT32: 32,
    Datatype.INT64: 64,
    Datatype.UINT8: 8,
    Datatype.UINT16: 16,
    Datatype.UINT32: 32,
    Datatype.UINT64: 64,
}
_SIGNED = {Datatype.INT8, Datatype.INT16, Datatype.INT32, Datatype.INT64}
_PLAIN_FIELDS = {
    "float_value": Datatype.FLOAT,
    "double_value": Datatype.DOUBLE,
    "boolean_value": Datatype.BOOLEAN,
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it came: `name` or `alias` or both; `value` is a number, a text or nothing.

    `field`: the field of the payload in which the value stood, empty when in none of those known.
    """

    name: str = ""
    alias: int | None = None
    ts_ms: int | None = None
    datatype: int | None = None
    historical: bool = False
    transient: bool = False
    null: bool = False
    field: str = ""
    value: int | float | bool | str | None = None

    def number(self, declared: int | None) -> float | bool | None:
        """Return the value as a number, by its own datatype or the one it was born with.

        None for a null, and for NaN, which drivers write for no value. Refused("bad_metric") when
        it is no number of that type.
        """
        datatype = declared if self.datatype is None else self.datatype
        value = self.value
        if self.null or (isinstance(value, float) and math.isnan(value)):
            return None
        if datatype in {None, _PLAIN_FIELDS.get(self.field)}:
            if isinstance(value, bool) or self.field == "double_value":
                return value  # type: ignore[return-value]  # by the field
            if self.field == "float_value":
                return float(f"{value:.7g}")  # 24 bits: 5.3, not 5.300000190734863
        bits = _BITS.get(datatype or 0)  # type: ignore[call-overload]  # an int finds its member
        if bits is None or self.field not in {"int_value", "long_value"}:
            raise Refused("bad_metric", name=self.name or self.alias, type=datatype)
        cut = int(value or 0) & ((1 << bits) - 1)
        return float(cut - (1 << bits) if datatype in _SIGNED and cut >> (bits - 1) else cut)


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload: when it was sent, the number of the message (0–255), and what it tells."""

    ts_ms: int | None
    seq: int | None
    metrics: Sequence[Metric]

    def metric(self, name: str) -> Metric | None:
        """Return the metric of this name, None when there is none."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def parse(body: bytes) -> Payload:
    """Return the payload in bytes, unpacked where it is compressed. Refused when it is none."""
    payload = _parsed(body)
    if payload.uuid == COMPRESSED:
        payload = _parsed(_unpacked(payload))
        if payload.uuid == COMPRESSED:
            raise Refused("bad_compression", algorithm=COMPRESSED)
    metrics = [_metric(metric) for metric in payload.metrics[: METRICS_MAX + 1]]
    if len(metrics) > METRICS_MAX:
        raise Refused("too_many", n=len(payload.metrics), limit=METRICS_MAX)
    seq = payload.seq if payload.HasField("seq") else None
    if seq is not None and seq >= SEQ_END:
        raise Refused("bad_field", text=f"seq {seq}")
    return Payload(payload.timestamp if payload.HasField("timestamp") else None, seq, metrics)


def _unpacked(payload: Any) -> bytes:
    for metric in payload.metrics:
        if metric.name == "algorithm" and metric.string_value not in ALGORITHMS:
            raise Refused("bad_compression", algorithm=metric.string_value)
    return inflated(payload.body)


def _parsed(body: bytes) -> Any:
    payload = _Payload()
    try:
        payload.ParseFromString(body)
    except DecodeError as error:
        raise Refused("bad_protobuf", text=error) from error
    return payload


def serialized(payload: Payload) -> bytes:
    """Return the bytes of a payload."""
    message = _Payload()
    if payload.ts_ms is not None:
        message.timestamp = payload.ts_ms
    if payload.seq is not None:
        message.seq = payload.seq
    for metric in payload.metrics:
        added = message.metrics.add()
        for name, value in (
            ("name", metric.name or None),
            ("alias", metric.alias),
            ("timestamp", metric.ts_ms),
            ("datatype", metric.datatype),
            ("is_historical", metric.historical or None),
            ("is_transient", metric.transient or None),
            ("is_null", metric.null or None),
            (metric.field, metric.value if metric.field else None),
        ):
            if value is not None:
                setattr(added, name, value)
    return bytes(message.SerializeToString())


def _metric(metric: Any) -> Metric:
    field = metric.WhichOneof("value") or ""
    if not isinstance(metric.name, str):  # the library's way of saying that it is not UTF-8
        raise Refused("bad_protobuf", text=metric.name)
    return Metric(
        name=metric.name,
        alias=metric.alias if metric.HasField("alias") else None,
        ts_ms=metric.timestamp if metric.HasField("timestamp") else None,
        datatype=metric.datatype if metric.HasField("datatype") else None,
        historical=metric.is_historical,
        transient=metric.is_transient,
        null=metric.is_null,
        field=field,
        value=getattr(metric, field) if field else None,
    )


# --- the messages, described to the protobuf library ---

_Kind = descriptor_pb2.FieldDescriptorProto

_METRIC_FIELDS = (
    ("name", 1, _Kind.TYPE_STRING),
    ("alias", 2, _Kind.TYPE_UINT64),
    ("timestamp", 3, _Kind.TYPE_UINT64),
    ("datatype", 4, _Kind.TYPE_UINT32),
    ("is_historical", 5, _Kind.TYPE_BOOL),
    ("is_transient", 6, _Kind.TYPE_BOOL),
    ("is_null", 7, _Kind.TYPE_BOOL),
)
_VALUE_FIELDS = (
    ("int_value", 10, _Kind.TYPE_UINT32),
    ("long_value", 11, _Kind.TYPE_UINT64),
    ("float_value", 12, _Kind.TYPE_FLOAT),
    ("double_value", 13, _Kind.TYPE_DOUBLE),
    ("boolean_value", 14, _Kind.TYPE_BOOL),
    ("string_value", 15, _Kind.TYPE_STRING),
)
_PAYLOAD_FIELDS = (
    ("timestamp", 1, _Kind.TYPE_UINT64),
    ("seq", 3, _Kind.TYPE_UINT64),
    ("uuid", 4, _Kind.TYPE_STRING),
    ("body", 5, _Kind.TYPE_BYTES),
)


def _add_fields(
    message: descriptor_pb2.DescriptorProto, fields: Iterable[tuple[str, int, int]], **options: int
) -> None:
    for name, number, kind in fields:
        message.field.add(
            name=name, number=number, type=kind, label=_Kind.LABEL_OPTIONAL, **options
        )


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="payload", package="spb", syntax="proto2")
    metric, payload = file.message_type.add(name="Metric"), file.message_type.add(name="Payload")
    metric.oneof_decl.add(name="value")
    _add_fields(metric, _METRIC_FIELDS)
    _add_fields(metric, _VALUE_FIELDS, oneof_index=0)
    _add_fields(payload, _PAYLOAD_FIELDS)
    payload.field.add(
        name="metrics",
        number=2,
        type=_Kind.TYPE_MESSAGE,
        type_name=".spb.Metric",
        label=_Kind.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spb.Payload"))


_Payload = _payload_class()
