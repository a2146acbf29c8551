"""The broker's side: one thread that alone owns the paho client, its socket and its PUBACKs.

MQTT 3.1.1, QoS 1, a persistent session under a fixed client id, acknowledgements by hand. The
thread stops reading while its lane of the inbox is full or `may_read` says no: the broker then
keeps the messages. A PUBACK names the connection its message came on and is never sent on a later
one, since packet ids are used again; the broker sends such a message once more, which changes
nothing. A session that is silent (pulse.py) is opened again as it is.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from threading import Thread
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from domain.alerting.watch import to_ms
from domain.shared.clock import Clock
from ingest.answers import Answer
from ingest.client import BlockClient, Packet, publication
from ingest.commands import Publication
from ingest.inbox import ENOUGH, Block, Inbox
from ingest.pulse import BEHIND, Pulse
from ingest.sparkplug_nodes import host_state

KEEPALIVE_S = 60
CONNECT_TIMEOUT_S = 5.0
RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
# How long the thread sleeps at most: keep-alive and `may_read` are looked at this often.
TICK_S = 0.5
# Where a block of so many messages was read they flow; then more may gather in the socket for a
# moment: each reading costs as much as some messages, here and at the broker.
FLOWING, GATHER_S = 8, 0.002
FLUSH_S = 2.0  # for the last answers before a stop
HOST_ID = "vaxtrail-ingest-0"
# Filters wanted, filters no longer wanted.
Vendors = tuple[Sequence[str], Sequence[str]]
SILENT_HINT = (
    "已订阅而收不到消息：代理的会话失效，或账号不能向这些主题发布 / subscribed but silent: "
    "the session is broken, or our account may not publish on what it subscribes to"
)
PORTS = {"mqtt": 1883, "mqtts": 8883}
_connections = count(1)  # no two of a process have the same number

log = structlog.get_logger()


class SubscriptionRefused(RuntimeError):
    """The broker does not grant a subscription: messages would be lost in silence."""

    def __init__(self, filters: Sequence[str]) -> None:
        listed = ", ".join(filters)
        super().__init__(f"消息代理拒绝订阅 / the broker refuses to subscribe: {listed}")


class Receiver:
    """The connection to the broker. `start`, read from `inbox`, `answer`, `stop`."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        filters: Sequence[str],
        may_read: Callable[[], bool],
        clock: Clock,
        host_id: str = HOST_ID,
        inbox: Inbox | None = None,
        backfill: bool = False,
    ) -> None:
        """`url` is mqtt[s]://[user:password@]host[:port]; `client_id` has no '.' (NATS).

        Sparkplug gateways know this host by `host_id`, when it is not empty; the client id is told
        to nobody. What it receives goes into the lane for `backfill`, or the other, of `inbox`.
        """
        self.inbox = inbox or Inbox()
        self.failure: Exception | None = None
        self._backfill = backfill
        self._parts = urlsplit(url)
        self._filters = list(filters)
        self._may_read = may_read
        self._answers: deque[Answer] = deque()
        self._publications: deque[Publication] = deque()
        self._vendors: Vendors = ((), ())
        self._vendors_told: Vendors | None = None  # to the broker, on this connection
        self._asked: dict[int | None, Sequence[str]] = {}  # subscriptions, by packet id
        self.connection = 0  # its number
        # Of this connection, by packet id: a hash of the payload that is, or last was, in hand.
        self._in_hand: dict[bytes, int] = {}
        self._answered: dict[bytes, int] = {}
        self._subscribed = False
        self._pulse = Pulse(filters)
        self._delay_s = 0.0
        self._came = 0  # messages in the last block read
        self._stopping = False
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._host_id = host_id
        self._clock = clock
        self._connecting_ms = 0
        self._client = self._make_client(client_id)
        self._thread = Thread(target=self._main, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect and receive; the broker need not be there yet."""
        self._thread.start()

    def stop(self) -> None:
        """Send the last answers, leave the broker, end the thread."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._wake_in.close()
        self._wake_out.close()

    def answer(self, answers: Sequence[Answer]) -> None:
        """Acknowledge committed messages and tell their senders; from any thread."""
        self._answers.extend(answers)
        self._wake()

    @property
    def connected(self) -> bool:
        """Tell whether the broker has let us in, granted our subscriptions and is not silent."""
        return self._subscribed and self._client.is_connected() and not self._pulse.silences

    def publish(self, publications: Sequence[Publication]) -> None:
        """Send messages; when the broker is away those of QoS 1 later, and others not at all."""
        connected = self._client.is_connected()
        self._publications.extend(told for told in publications if told.qos or connected)
        self._wake()

    def take_vendors(self, filters: Sequence[str], dropped: Sequence[str]) -> None:
        """Subscribe to these topics beside our own, and not to those any more."""
        self._vendors = tuple(filters), tuple(dropped)
        self._wake()

    # --- everything below runs in the thread ---

    def _main(self) -> None:
        try:
            while not self._stopping:
                if self._client.socket() is None:
                    self._connect()
                else:
                    full = self.inbox.full(backfill=self._backfill)
                    self._turn(reading=not full and self._may_read())
            self._leave()
        except Exception as error:  # told to the main thread, which ends the process with it
            self.failure = error
            self.inbox.wake()

    def _connect(self) -> None:
        """Try once to connect, later the more often it failed in a row."""
        if self._delay_s:
            self._sleep(self._delay_s)
        self._delay_s = min(max(2 * self._delay_s, RETRY_S_MIN), RETRY_S_MAX)
        host = self._parts.hostname or "127.0.0.1"
        self._connecting_ms = to_ms(self._clock.now())
        if self._host_id:
            self._client.will_set(*self._state(online=False), qos=1, retain=True)
        try:
            self._client.connect(host, port_of(self._parts), KEEPALIVE_S)
        except OSError as error:
            log.warning("broker_away", error=str(error), retry_s=self._delay_s)

    def _turn(self, *, reading: bool) -> None:
        """Wait for the socket or an answer, and do what there is to do."""
        sock: Any = self._client.socket()
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        wanted = [self._wake_in, sock] if reading else [self._wake_in]
        writing = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select(wanted, writing, [], 0 if buffered else TICK_S)
        if self._wake_in in readable:
            self._wake_in.recv(4096)
        if self._client.is_connected():
            self._send_answers()
            self._send_publications()
            self._subscribe_vendors()
        if sock in readable or (buffered and reading):
            self._came = 0
            self._client.loop_read()
            if FLOWING <= self._came < ENOUGH:
                time.sleep(GATHER_S)
        if sock in writable:
            self._client.loop_write()
        self._client.loop_misc()
        if self._subscribed and self._client.is_connected():
            self._feel_pulse(reading=reading)

    def _feel_pulse(self, *, reading: bool) -> None:
        """Look whether the session gives what it should; open it again when it does not.

        What does come is taken all the same, and `connected` says no until the marks are back.
        """
        held = not reading or len(self._in_hand) >= BEHIND
        silent = self._pulse.beat(self._publish_mark, held=held)
        if not silent:
            return
        log.error("session_silent", filters=silent, hint=SILENT_HINT)
        self._subscribed = False
        with suppress(OSError):  # gone already
            cast(socket.socket, self._client.socket()).shutdown(socket.SHUT_RDWR)

    def _publish_mark(self, topic: bytes, payload: bytes) -> int:
        return self._client.publish(topic.decode(), payload, 1).mid

    def _send_answers(self) -> None:
        """Send all that is waiting in one write; a PUBACK only on the connection it belongs to."""
        mids: list[bytes] = []
        publications: list[bytes] = []
        while self._answers:
            answer = self._answers.popleft()
            if answer.connection == self.connection:
                mids += answer.mids
            publications += (
                publication(topic.encode(), payload) for topic, payload in answer.publications
            )
        self._answered.update((mid, self._in_hand.pop(mid)) for mid in mids if mid in self._in_hand)
        self._client.acknowledge(mids, publications)

    def _send_publications(self) -> None:
        while self._publications:
            publication = self._publications.popleft()
            self._client.publish(publication.topic, publication.payload, publication.qos)

    def _subscribe_vendors(self) -> None:
        """Tell the broker which vendors' topics are wanted, where that has changed."""
        if self._vendors == self._vendors_told:
            return
        self._vendors_told = self._vendors
        wanted, dropped = self._vendors
        if dropped:
            self._client.unsubscribe(list(dropped))
        self._subscribe(wanted)

    def _subscribe(self, filters: Sequence[str]) -> None:
        if filters:
            _, mid = self._client.subscribe([(text, 1) for text in filters])
            self._asked[mid] = filters

    def _leave(self) -> None:
        deadline = time.monotonic() + FLUSH_S
        if self._client.is_connected():
            self._send_answers()
            self._tell_state(online=False)
        while self._client.socket() and self._client.want_write() and time.monotonic() < deadline:
            self._turn(reading=False)
        self._client.disconnect()

    def _tell_state(self, *, online: bool) -> None:
        if self._host_id:
            self._client.publish(*self._state(online=online), qos=1, retain=True)

    def _state(self, *, online: bool) -> tuple[str, bytes]:
        return host_state(self._host_id, self._connecting_ms, online=online)

    def _sleep(self, seconds: float) -> None:
        readable, _, _ = select.select([self._wake_in], [], [], seconds)
        if readable:
            self._wake_in.recv(4096)

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            return  # full of wakes already

    def _make_client(self, client_id: str) -> BlockClient:
        client = BlockClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        identify(client, self._parts)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_packets = self._on_packets
        return client

    def _on_socket_open(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:
        self.connection = next(_connections)
        self._in_hand.clear()
        self._answered.clear()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            log.error("broker_refused", reason=str(reason))
            return
        self._delay_s = 0.0
        log.info("broker_connected", connection=self.connection)
        self._asked.clear()
        self._subscribed = False
        self._vendors_told = None
        self._subscribe(self._filters)

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        log.info("broker_disconnected", reason=str(reason))

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: Any, mid: int, reasons: list[Any], _props: Any
    ) -> None:
        asked = self._asked.pop(mid, ())
        pairs = zip(asked, reasons, strict=True)
        refused = [text for text, reason in pairs if reason.is_failure]
        if refused and asked is self._filters:
            raise SubscriptionRefused(refused)
        if asked is self._filters:
            self._subscribed = True
            self._pulse.begin()
            self._tell_state(online=True)
        if refused:  # a foreign broker's rules: our own topics must not wait for its mend
            log.error("vendor_topics_refused", filters=refused)

    def _on_publish(
        self, _client: mqtt.Client, _userdata: Any, mid: int, _reason: Any, _props: Any
    ) -> None:
        self._pulse.taken(mid)

    def _on_packets(self, packets: list[Packet], repeats: list[int]) -> None:
        self._came = len(packets)
        packets, repeats, marks = self._pulse.without_marks(packets, repeats)
        if marks:
            self.answer([Answer(self.connection, marks)])
        if repeats or not self._in_hand.keys().isdisjoint([mid for _, _, mid in packets]):
            packets = self._fresh(packets, set(repeats))
        self._in_hand.update([(mid, hash(payload)) for _, payload, mid in packets if mid])
        if packets:
            self.inbox.put(Block(self.connection, packets), backfill=self._backfill)

    def _fresh(self, packets: list[Packet], repeats: set[int]) -> list[Packet]:
        """Leave out what came again since its commit took long.

        What is in hand will be answered. What was answered on this connection, and comes with the
        same id, the same payload and the mark of a repeat, had crossed its answer on the way.
        """
        fresh: list[Packet] = []
        in_hand = set(self._in_hand)
        for n, packet in enumerate(packets):
            _, payload, mid = packet
            if mid in in_hand or (n in repeats and self._answered.get(mid) == hash(payload)):
                continue
            fresh.append(packet)
            if mid:
                in_hand.add(mid)
        return fresh


def login_refused(url: str, seconds: float) -> str:
    """Log in at the broker and leave; return its reason to refuse, empty when it let us in.

    Nothing is left there (no name, no session). OSError when it cannot be reached or stays silent
    for `seconds`, ValueError for an address that is none.
    """
    parts = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv311)
    client.connect_timeout = seconds
    identify(client, parts)
    reasons: list[ReasonCode] = []
    client.on_connect = lambda _client, _userdata, _flags, reason, _props: reasons.append(reason)
    client.connect(parts.hostname or "", port_of(parts))
    deadline = time.monotonic() + seconds
    while not reasons and time.monotonic() < deadline:
        if client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS and not reasons:
            raise ConnectionError("连接中断 / the connection broke")
    client.disconnect()
    if not reasons:
        raise TimeoutError(f"{seconds:g} 秒无应答 / silent for {seconds:g} s")
    return str(reasons[0]) if reasons[0].is_failure else ""


def identify(client: mqtt.Client, parts: SplitResult) -> None:
    """Give a client the user, password and encryption (query: ca, cert, key) of an address."""
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        files = dict(parse_qsl(parts.query))
        client.tls_set(files.get("ca"), files.get("cert"), files.get("key"))


def port_of(parts: SplitResult) -> int:
    """Return the port of an address. ValueError when it is none of MQTT."""
    if parts.port is None and parts.scheme not in PORTS:
        raise ValueError(f"not mqtt[s]://: {parts.scheme}")
    return parts.port or PORTS[parts.scheme]
