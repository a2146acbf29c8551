"""The application on a real server, with the follower beside it, and keys of some roles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg_pool import ConnectionPool

from alerts.channels.destinations import Destinations
from alerts.channels.email import Smtp
from alerts.channels.offered import Offer
from alerts.channels.push import Vapid
from alerts.channels.sms import Account
from api.app import create_app
from api.asof import followed
from api.auth import KEYS_RETRY_S, digest
from api.deps import Deps
from domain.accounts import model as accounts
from domain.shared.decide import decide
from domain.shared.roles import Role
from ingest.samples import read_sample
from projections import runner
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger, Telemetry
from tests.conftest import START, Database, ManualClock

COUNTRY = "000000"
SIGNING_KEY = Ed25519PrivateKey.generate()
# Every channel of alerts; nothing is sent by the API.
OFFER = Offer(
    smtp=Smtp("127.0.0.1", 9),
    shape="aliyun",
    account=Account("http://127.0.0.1:9", "key", "secret", "疾控", "SMS_1"),
    robots=dict.fromkeys(("wecom", "dingtalk", "feishu"), "http://127.0.0.1:9"),
    vapid=Vapid.of("A" * 42 + "E", "mailto:ops@cdc.example"),
)


class TickingClock(ManualClock):
    """A clock whose timers are handled at once, as there are none here."""

    def set(self, now: datetime) -> None:
        """Move forward, and tick."""
        super().set(now)
        self.ticked(now)


@dataclass(frozen=True)
class Api:
    """A running application of a test module's own."""

    url: str
    deps: Deps
    clock: ManualClock
    app: object

    def key(self, role: Role = Role.ADMIN, region: str = COUNTRY) -> str:
        """Return a key of a role in a region, made when it is first asked for."""
        key = f"test-{role.value}-{region}"
        decision = decide(
            accounts.evolve,
            None,
            accounts.issue_key,
            key_id=f"{role.value}-{region}",
            digest=digest(key),
            role=role.value,
            region_code=region,
        )
        now = self.clock.now()
        stream = accounts.api_key_stream(f"{role.value}-{region}")
        meta = Meta(occurred_at=now, recorded_at=now)
        made = execute(self.deps.ledger, Command(stream, decision, meta))
        if made.events:
            self.followed(made.position)
            time.sleep(KEYS_RETRY_S)  # a key that was just missed is looked for again after this
        return key

    def followed(self, position: int) -> None:
        """Wait until the read models have a ledger position."""
        until = time.monotonic() + 10
        while followed(self.deps) < position:
            assert time.monotonic() < until, "the follower does not follow"
            time.sleep(0.005)

    def client(self, role: Role = Role.ADMIN, region: str = COUNTRY) -> httpx.Client:
        """Return a client with a key of a role in a region."""
        headers = {"Authorization": f"Bearer {self.key(role, region)}", "Prefer": "wait=5"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def api(database: Database, ledger: Ledger, telemetry: Telemetry) -> Iterator[Api]:
    """Serve the application on loopback, with the follower running."""
    stop = threading.Event()
    following = threading.Thread(
        target=runner.run, kwargs={"app_dsn": database.app_dsn, "stop": stop}
    )
    following.start()
    clock = TickingClock(START)
    with ConnectionPool(
        database.app_dsn, min_size=4, max_size=8, kwargs={"autocommit": True}
    ) as pool:
        deps = Deps(
            ledger,
            telemetry,
            pool,
            clock,
            dict,
            read_sample=read_sample,
            signing_key=lambda: SIGNING_KEY,
            destinations=Destinations.of(["127.0.0.0/8"]),
            offer=OFFER,
        )
        app = create_app(deps)
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        serving = threading.Thread(target=server.run)
        serving.start()
        while not server.started:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Api(f"http://127.0.0.1:{port}", deps, clock, app)
        server.should_exit = True
        serving.join()
    stop.set()
    following.join()


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    """Give a client of the administrator of the whole country."""
    with api.client() as client:
        yield client
