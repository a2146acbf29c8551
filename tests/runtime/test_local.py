"""Our own addresses on this machine, whatever proxy the environment names for the web."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from runtime.broker import BrokerServer
from runtime.main import answers
from tests.conftest import free_port


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give an http address of this machine while the environment names a proxy that is dead."""
    dead = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, dead)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_given_proxy_in_environment_when_readiness_is_asked_then_asked_directly(page: str) -> None:
    assert answers(page + "/readyz")
    assert not answers(page + "/other")
    assert not answers(f"http://127.0.0.1:{free_port()}/readyz")


@pytest.mark.broker
@pytest.mark.usefixtures("page")
def test_given_proxy_in_environment_when_broker_starts_then_seen_to_be_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.broker.START_SECONDS", 10.0)
    server = BrokerServer(tmp_path, sync="interval")
    server.start()
    try:
        assert server.healthy()
    finally:
        server.stop()
