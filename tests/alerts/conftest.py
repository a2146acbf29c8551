"""Real receivers: an SMTP server and an HTTP server that can be told how to answer."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as MailEnvelope
from psycopg_pool import ConnectionPool

from alerts.channels.destinations import Destinations
from alerts.channels.email import Email, Smtp
from alerts.channels.webhook import Webhook
from alerts.outbox import Pool, Sender
from domain.alerting.grouping import Grouping
from domain.cold_chain.events import UnitRegistered
from domain.registry.events import SiteRegistered
from domain.shared.ids import stream_id
from projections.runner import Runner
from store.envelope import Envelope, Meta
from store.logs import Ledger
from tests.conftest import START, Database, ManualClock, free_port

LOOPBACK = Destinations.of(["127.0.0.0/8"])
PUBLIC_URL = "https://vaxtrail.example"
# Nothing waits for anything: what tests of other things want.
AT_ONCE = Grouping(wait=timedelta(0), pause=timedelta(0), storm_max=1_000_000)


class Mailbox:
    """Keeps what arrives; answers what stands in `answers`, then 250."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.refused = ""
        self.port = 0

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: MailEnvelope,
        address: str,
        options: list[str],
    ) -> str:
        """Take one address, but for the one in `refused`."""
        if address == self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: MailEnvelope) -> str:  # noqa: N802 -- aiosmtpd's name
        """Take one mail."""
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(BytesParser(_class=EmailMessage, policy=default).parsebytes(content))
        return "250 accepted"

    def read(self) -> list[tuple[str, str]]:
        """Return (address, subject) of each mail."""
        return [(str(mail["To"]), str(mail["Subject"])) for mail in self.mails]


@dataclass(frozen=True)
class Hit:
    """One request as received."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return orjson.loads(self.body)


@dataclass
class Hook:
    """A subscribed system: what it received, what it answers next (204 by default)."""

    url: str = ""
    hits: list[Hit] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    # Set by a test that wants the next request to stop half way.
    hold: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    # What it sends byte by byte, 20 ms apart, in place of an answer as it should be.
    drip: bytes = b""


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Start an SMTP server in a thread."""
    box = Mailbox()
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Start an HTTP server in a thread."""
    with serving() as state:
        yield state


@pytest.fixture
def other_hook() -> Iterator[Hook]:
    """Start a second one."""
    with serving() as state:
        yield state


@contextmanager
def serving() -> Iterator[Hook]:
    """Start an HTTP server in a thread until the block ends."""
    state = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.hits.append(Hit({k.lower(): v for k, v in self.headers.items()}, body))
            state.reached.set()
            if state.hold is not None:
                state.hold.wait(10)
            if state.drip:
                self.dripped()
                return
            self.send_response(state.answers.pop(0) if state.answers else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def dripped(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                for byte in state.drip:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/alerts"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed; key and certificate in one file."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    asked = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run([program, *asked.split(), *extension, *files], check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


@pytest.fixture
def pool(database: Database) -> Iterator[Pool]:
    """Open connections to an emptied outbox."""
    with ConnectionPool[psycopg.Connection[Any]](
        database.app_dsn, kwargs={"autocommit": True}, min_size=1, max_size=6, open=True
    ) as opened:
        with opened.connection() as conn:
            conn.execute("DELETE FROM delivery")
            conn.execute("DELETE FROM outbox")
            conn.execute("DELETE FROM recipient")
        yield opened


@pytest.fixture(scope="module")
def following(database: Database) -> Iterator[Runner]:
    """Give the follower of the module's database, to be run by hand."""
    made = Runner(database.app_dsn)
    yield made
    made.close()


@pytest.fixture(scope="module")
def places(ledger: Ledger, following: Runner) -> None:
    """Register the site and the unit of the tests, and build the read models."""
    meta = Meta(occurred_at=START, recorded_at=START)
    site = SiteRegistered(
        site_id="s1",
        org_code="12640200MB1234567X",
        site_no=1,
        name="石嘴山市疾控中心",
        name_en="Shizuishan CDC",
        kind="city_cdc",
        region_code="640202",
    )
    unit = UnitRegistered(
        unit_id="u1",
        site_id="s1",
        region_code="640202",
        kind="cold_room",
        name="1号冷库",
        name_en="Cold room 1",
        profile_id="vaccine_2_8",
    )
    for stream, event in ((stream_id("registry.site", "s1"), site), (stream_id("u", "u1"), unit)):
        ledger.append([Envelope(stream, 1, event, meta)])
    following.follow_once()


@pytest.fixture
def sender(pool: Pool, places: None, mailbox: Mailbox, clock: ManualClock) -> Iterator[Sender]:
    """Give a sender that reaches the receivers above."""
    made = make_sender(pool, clock, mailbox)
    yield made
    made.close()


def make_sender(
    pool: Pool, clock: ManualClock, mailbox: Mailbox | None, grouping: Grouping = AT_ONCE
) -> Sender:
    """Return a sender; without a mailbox it has no e-mail."""
    channels: dict[str, Any] = {"webhook": Webhook(LOOPBACK, timeout_s=5)}
    if mailbox is not None:
        channels["email"] = Email(Smtp("127.0.0.1", mailbox.port, sender="alarm@vaxtrail.example"))
    return Sender(pool, channels, now=clock.now, public_url=PUBLIC_URL, grouping=grouping)


def eventually(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    """Wait until something has happened."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def add_recipient(
    pool: Pool,
    recipient_id: str,
    address: str,
    *,
    region_code: str = "640200",
    level: int = 0,
    severity_min: str = "minor",
    site_id: str = "",
) -> None:
    """Put down somebody who wants to be told; an http address makes it a webhook."""
    channel = "webhook" if address.startswith("http") else "email"
    with pool.connection() as conn:
        conn.execute(
            "INSERT INTO recipient (recipient_id, name, channel, address, secret, region_code,"
            " site_id, level, severity_min) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                recipient_id,
                recipient_id,
                channel,
                address,
                "whsec",
                region_code,
                site_id,
                level,
                severity_min,
            ),
        )


def deliveries(pool: Pool) -> list[tuple[str, str, int, datetime | None]]:
    """Return (recipient, state, attempts, sent_at) in order."""
    with pool.connection() as conn:
        return conn.execute(
            "SELECT recipient_id, state, attempts, sent_at FROM delivery ORDER BY id"
        ).fetchall()
