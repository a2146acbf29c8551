"""Messages of the MQTT contract v1 and one publisher that waits until each has been answered.

A message is answered on `…/ack/{name}` once it is stored, or on `…/reject/{name}` when it is kept
aside with a reason; `name` is the device, or `scan` under a scanner. What a message holds is
counted here, by its sender, so that the product's own numbers can be checked against it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

# The contract's limit for one message, in readings.
READINGS_MAX = 500
# Messages on their way at once: enough to fill the receiver's transactions.
INFLIGHT_MAX = 500
CONNECT_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0
# One value of a row: degrees Celsius, per cent, or 0/1; None = probe unplugged.
Value = float | int | None


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message and what its sender knows of it.

    `readings` rows or `scans` scans are in it, of which `repeats` were sent before; `refused` is
    the code under which it must be kept aside, empty when it must be stored.
    """

    topic: str
    payload: bytes
    readings: int = 0
    scans: int = 0
    repeats: int = 0
    refused: str = ""

    @property
    def answer_key(self) -> tuple[str, str]:
        """The (prefix, name) under which its acknowledgement or refusal comes back."""
        levels = self.topic.split("/")
        name = "scan" if levels[-1] == "scan" else levels[-1]
        return "/".join(levels[:5]), name


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was kept aside: the product's reason in both languages."""

    message: Message | None
    code: str
    detail_zh: str
    detail_en: str
    quarantine_id: str


@dataclass(slots=True)
class Tally:
    """What was published and what came back; readings are rows, scans are messages."""

    messages: int = 0
    readings: int = 0
    readings_repeated: int = 0
    readings_refused: int = 0
    scans: int = 0
    scans_repeated: int = 0
    scans_refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def published(self, message: Message) -> None:
        """Count one message sent."""
        self.messages += 1
        self.readings += message.readings
        self.scans += message.scans
        if message.scans:
            self.scans_repeated += message.repeats
        else:
            self.readings_repeated += message.repeats

    def refused(self, refusal: Refusal) -> None:
        """Count one message kept aside."""
        self.refusals.append(refusal)
        if refusal.message:
            self.readings_refused += refusal.message.readings - _repeats(
                refusal.message, scan=False
            )
            self.scans_refused += refusal.message.scans - _repeats(refusal.message, scan=True)


def _repeats(message: Message, *, scan: bool) -> int:
    return message.repeats if bool(message.scans) == scan else 0


def prefix(region: str, site: str, sender: str) -> str:
    """Return `cc/v1/{region}/{site}/{sender}`; the sender is a gateway or a scanner."""
    return f"cc/v1/{region}/{site}/{sender}"


def single(
    base: str, device: str, *, boot: int, seq: int, ts_ms: int, values: Mapping[str, Value]
) -> Message:
    """Return one reading as one message."""
    body = {"v": 1, "dev": device, "boot": boot, "seq": seq, "ts": ts_ms, "m": dict(values)}
    return Message(f"{base}/tele/{device}", encode(body), readings=1)


def batch(
    base: str,
    device: str,
    *,
    boot: int,
    seq: int,
    times_ms: Sequence[int],
    columns: Sequence[str],
    rows: Sequence[Sequence[Value]],
    backfill: bool = False,
) -> Message:
    """Return consecutive readings as one message; regular times become a step, others `dts`.

    `times_ms` ascends and is as long as `rows`; more than READINGS_MAX rows are an error.
    """
    if not 0 < len(rows) <= READINGS_MAX:
        raise ValueError(f"a message holds 1 to {READINGS_MAX} readings, not {len(rows)}")
    base_part: dict[str, int] = {"seq": seq, "ts": times_ms[0]}
    body: dict[str, object] = {"v": 1, "dev": device, "boot": boot, "base": base_part}
    gaps = {later - earlier for earlier, later in pairwise(times_ms)}
    if len(gaps) > 1:
        body["dts"] = [ts - times_ms[0] for ts in times_ms]
    else:
        base_part["step"] = gaps.pop() if gaps else 0
    body["cols"] = list(columns)
    body["rows"] = [list(row) for row in rows]
    kind = "backfill" if backfill else "tele"
    return Message(f"{base}/{kind}/{device}", encode(body), readings=len(rows))


def scan(
    base: str,
    *,
    boot: int,
    seq: int,
    ts_ms: int,
    step: str,
    codes: Sequence[str],
    fields: Mapping[str, object],
) -> Message:
    """Return one scan of one step (a business step of CBV) with the fields of that step."""
    body = {"v": 1, "boot": boot, "seq": seq, "ts": ts_ms, "step": step, "codes": list(codes)}
    return Message(f"{base}/scan", encode({**body, **fields}), scans=1)


def encode(body: object) -> bytes:
    """Return compact UTF-8 JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


class Unanswered(RuntimeError):
    """Messages were neither acknowledged nor refused in time."""


class Publisher:
    """A gateway's connection: QoS 1, every PUBACK and every answer awaited."""

    def __init__(self, url: str, client_id: str) -> None:
        """`url` is mqtt://user:password@host:port."""
        parts = urlsplit(url)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311
        )
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        self._client.max_inflight_messages_set(INFLIGHT_MAX)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._ready = threading.Event()
        self._changed = threading.Condition()
        self._waiting: dict[tuple[str, str], list[Message]] = {}
        self._acks: list[dict[str, int]] = []
        self._problem = ""
        self.tally = Tally()
        self._client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
        self._client.loop_start()
        if not self._ready.wait(CONNECT_TIMEOUT_S):
            self.close()
            raise Unanswered(
                f"无法连接消息代理 / no connection to the broker {self._problem}".rstrip()
            )

    def close(self) -> None:
        """Disconnect; nothing is waited for."""
        self._client.disconnect()
        self._client.loop_stop()

    def send(
        self, messages: Iterable[Message], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> list[dict[str, int]]:
        """Publish in order and return the acknowledgements once every message is answered.

        Refusals are added to `tally`. Unanswered when an answer is missing after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        sent = list(messages)
        with self._changed:
            self._acks = []
            for message in sent:
                self._waiting.setdefault(message.answer_key, []).append(message)
        infos = [self._client.publish(m.topic, m.payload, qos=1) for m in sent]
        for message, info in zip(sent, infos, strict=True):
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                raise Unanswered(f"{message.topic}: {mqtt.error_string(info.rc)}")
            self.tally.published(message)
        for message, info in zip(sent, infos, strict=True):
            info.wait_for_publish(max(0.0, deadline - time.monotonic()))
            if not info.is_published():
                raise Unanswered(f"未收到 PUBACK / no PUBACK: {message.topic}")
        with self._changed:
            if not self._changed.wait_for(
                lambda: not self._waiting, max(0.0, deadline - time.monotonic())
            ):
                raise Unanswered(f"未收到应答 / no answer: {self._unanswered()}")
            return self._acks

    def _unanswered(self) -> str:
        keys = Counter({key: len(left) for key, left in self._waiting.items()})
        shown = ", ".join(f"{base}/{name} ×{n}" for (base, name), n in keys.most_common(5))
        return f"{shown} ({sum(keys.values())})"

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._problem = f"({reason})"
            return
        client.subscribe([("cc/v1/+/+/+/ack/+", 1), ("cc/v1/+/+/+/reject/+", 1)])

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._problem = f"({', '.join(map(str, reasons))})"
            return
        self._ready.set()

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        levels = message.topic.split("/")
        key = ("/".join(levels[:5]), levels[6])
        body = json.loads(message.payload)
        with self._changed:
            waiting = self._waiting.get(key)
            answered = None
            for _ in range(body.get("of", 1)):  # messages of one device may share an answer
                if waiting:
                    answered = waiting.pop(_answered(waiting, levels[5], body))
            if waiting is not None and not waiting:
                del self._waiting[key]
            if levels[5] == "reject":
                self.tally.refused(_refusal(answered, body))
            else:
                self._acks.append(body)
            if not self._waiting:
                self._changed.notify_all()


def _answered(waiting: Sequence[Message], kind: str, body: Mapping[str, object]) -> int:
    """Return which waiting message of one sender an answer belongs to: the oldest that fits."""
    for index, message in enumerate(waiting):
        fits = message.refused == body.get("code") if kind == "reject" else not message.refused
        if fits:
            return index
    return 0


def _refusal(message: Message | None, body: Mapping[str, object]) -> Refusal:
    return Refusal(
        message=message,
        code=str(body.get("code", "")),
        detail_zh=str(body.get("detail_zh", "")),
        detail_en=str(body.get("detail_en", "")),
        quarantine_id=str(body.get("id", "")),
    )
