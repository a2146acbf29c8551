"""W3: from a reading over its limit to the webhook of a subscribed system, with other traffic.

Every try has a device of its own, which told two good temperatures before and then one that a
critical rule raises at once. The time runs from the publish to the request at the webhook; by then
the reading is durable.
"""

from __future__ import annotations

import http.server
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import psycopg

from alerts import recipients
from bench import contest, field
from bench.contest import Contender, PeerContender, ProductContender
from bench.live import drain, percentile_ms
from bench.load import connect
from bench.options import Options
from bench.report import Figures, Report, medians, ratio
from bench.rig import Rig
from bench.shape import DEVICES, PACKET_IDS, Shape, device_name, publish_packet, reading
from bench.throughput import W1, Meter
from domain.alerting.events import RuleSetPublished
from domain.alerting.model import rule_set_stream
from domain.alerting.rules import SHIPPED, ThresholdRule

BACKGROUND, SHARE_OF_W1 = 500.0, 0.3  # messages a second; and of the product's own W1
FIRST = 10_000  # the devices of the tries begin here
TRIED = "SELECT count(*) FROM device_no WHERE device_id >= %s"
UNIT, PROFILE, RECIPIENT = "room-at-once", "bench_at_once", "bench-system"
AT_ONCE = ThresholdRule(
    rule_id="high_8_at_once", side="high", limit_c=8.0, raise_after_min=0.0, severity="critical"
)
GOOD_C, BAD_C = 5.0, 9.5
ANSWER_S = 10.0
SETTLE_S, PAUSE_S = 0.8, 0.02
TRY_S, MORE_S = 0.1, 15.0  # how long a try takes at most on average, and all around the tries
DEVICE = re.compile(rb"dev\d{5}")


def w3(options: Options, made: Rig) -> Report:
    """Measure under 500 messages a second, and the product under 30 % of its W1 as well."""
    tries = max(1, options.tries // options.runs)
    work = replace(W1, messages=options.messages) if options.messages else W1
    found: dict[str, list[Figures]] = defaultdict(list)
    field.register(made.product.dsn, range(DEVICES))
    with webhook() as (url, heard), ProductContender(made) as product:
        subscribe(made, url)
        first = register(made, product, tries * options.runs * 2)
        trial = Trial(product, heard, tries, first)
        meter = Meter(product, work)
        meter.warm()
        high = options.rate or SHARE_OF_W1 * meter.run().messages_s
        for _ in range(options.runs):
            for name, rate in (("product", BACKGROUND), (f"product, {high:,.0f} msg/s", high)):
                found[name].append(trial.run(meter, rate))
            for peer in contest.peers(options.node_red, embedded=options.broker == "embedded"):
                with PeerContender(peer, made, url) as contender:
                    of_peer = Meter(contender, work)
                    of_peer.ready()
                    beside = Trial(contender, heard, tries)
                    found[peer.name].append(beside.run(of_peer, BACKGROUND))
    return _report(options, found)


def product_alone(options: Options, made: Rig) -> Figures:
    """Measure the registered product once, under 500 messages a second, without peers."""
    with webhook() as (url, heard), ProductContender(made) as product:
        subscribe(made, url)
        first = register(made, product, options.tries)
        trial = Trial(product, heard, options.tries, first)
        return trial.run(Meter(product, W1), BACKGROUND)


def register(made: Rig, product: ProductContender, tries: int) -> int:
    """Register a device for every try, in a cold room with the shipped rules and one at once.

    Return the number of the first; none has told anything yet.
    """
    first = FIRST + product.ask(TRIED, device_name(FIRST))
    at = datetime.now(UTC) - field.PLACED_BEFORE
    rules = (*SHIPPED[field.PROFILE].rules, AT_ONCE)
    published = RuleSetPublished(profile_id=PROFILE, version=1, effective_from=at, rules=rules)
    facts = [(rule_set_stream(PROFILE), 1, published), field.unit_fact(UNIT, PROFILE)]
    for device in range(first, first + tries):
        facts += field.device_facts(device, UNIT, at)
    field.append(made.product.dsn, facts, at)
    return first


def subscribe(made: Rig, url: str) -> None:
    """Have the product tell `url` of critical alerts."""
    system = recipients.Recipient(
        recipient_id=RECIPIENT,
        name=RECIPIENT,
        channel="webhook",
        address=url,
        region_code=field.REGION,
        site_id="",
        level=0,
        severity_min="critical",
    )
    with psycopg.connect(made.product.dsn, autocommit=True) as conn:
        recipients.remove(conn, RECIPIENT)
        recipients.add(conn, system, secret=secrets.token_hex(16))


@contextmanager
def webhook() -> Iterator[tuple[str, Heard]]:
    """Run a subscribed system; give its address and what it heard."""
    heard = Heard()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            heard.take(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alert", heard
    finally:
        server.shutdown()
        server.server_close()


class Heard:
    """When each device was first named at the webhook (time.perf_counter())."""

    def __init__(self) -> None:
        self._at_s: dict[str, float] = {}
        self._news = threading.Condition()

    def forget(self) -> None:
        """Begin anew: the same devices are tried at another contender."""
        with self._news:
            self._at_s.clear()

    def take(self, body: bytes) -> None:
        """Note what a request tells."""
        now_s = time.perf_counter()
        with self._news:
            for name in DEVICE.findall(body):
                self._at_s.setdefault(name.decode(), now_s)
            self._news.notify_all()

    def wait(self, device: str) -> float | None:
        """Return when the device was named; None when it is not for ten seconds."""
        with self._news:
            self._news.wait_for(lambda: device in self._at_s, ANSWER_S)
            return self._at_s.get(device)


class Trial:
    """Tries at one contender, each with a device of its own."""

    def __init__(self, contender: Contender, heard: Heard, tries: int, first: int = FIRST) -> None:
        self._contender = contender
        self._heard = heard
        self._tries = tries
        self._next = first

    def run(self, meter: Meter, rate: float) -> Figures:
        """Try, while `meter` sends `rate` messages a second; times in milliseconds."""
        devices = range(self._next, self._next + self._tries)
        self._next = devices.stop
        shape = Shape(self._contender.topic, 0.0)
        self._heard.forget()
        with (
            meter.load(rate * (MORE_S + TRY_S * self._tries), rate) as load,
            Sender(self._contender.publish_url, shape) as sender,
        ):
            load.prepare()
            self._contender.rig.checkpoint()
            for device in devices:
                for seq, before_s in enumerate((120.0, 60.0)):
                    sender.send(device, seq, time.time() - before_s, GOOD_C)
            time.sleep(SETTLE_S)
            load.start()
            time.sleep(SETTLE_S)
            delays_s = [d for d in (self._try(sender, n) for n in devices) if d is not None]
            held = load.running
        return {
            "background_s": round(rate),
            "tries": self._tries,
            "missed": self._tries - len(delays_s),
            "p50_ms": percentile_ms(delays_s, 50),
            "p99_ms": percentile_ms(delays_s, 99),
            "max_ms": percentile_ms(delays_s, 100),
            "background_held": held,
        }

    def _try(self, sender: Sender, device: int) -> float | None:
        sent_s = sender.send(device, 2, time.time(), BAD_C)
        heard_s = self._heard.wait(device_name(device))
        time.sleep(PAUSE_S * (0.5 + device * 7_919 % 10 / 10))  # in no step with anything
        return None if heard_s is None else heard_s - sent_s


class Sender:
    """A connection that sends single readings."""

    def __init__(self, url: str, shape: Shape) -> None:
        self._shape = shape
        self._sock = connect(url, "bench-tries")
        self._packet_id = 0
        Thread(target=drain, args=(self._sock,), daemon=True).start()

    def send(self, device: int, seq: int, at_s: float, temperature_c: float) -> float:
        """Publish a reading and return when (time.perf_counter())."""
        body = reading(at_s, temperature_c, 60.0, seq).encode()
        self._packet_id = self._packet_id % PACKET_IDS + 1
        packet = publish_packet(self._shape.topic_of(device), body, self._packet_id)
        now_s = time.perf_counter()
        self._sock.sendall(packet)
        return now_s

    def __enter__(self) -> Sender:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._sock.close()


def _report(options: Options, found: dict[str, list[Figures]]) -> Report:
    figures = {
        who: medians(runs) | {"missed": sum(run["missed"] for run in runs)}
        for who, runs in found.items()
    }
    product = figures.pop("product")
    best_ms = min((f["p99_ms"] for f in figures.values() if not f["missed"]), default=0.0)
    return Report(
        work="W3",
        product=product,
        peers=figures,
        ratio_best_peer=ratio(best_ms, product["p99_ms"]),
        runs=[{"who": who, **run} for who, runs in found.items() for run in runs],
        setting={**options.setting, "runs": options.runs},
        notes=contest.left_out(options.node_red),
    )
