"""The embedded broker starts although another process takes a port of its own between."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import broker, process
from runtime.broker import BrokerServer
from runtime.process import StartFailed
from tests.runtime.instance import open_folder

pytestmark = pytest.mark.broker


@pytest.fixture
def data() -> Iterator[Path]:
    """Give a data folder every account may enter."""
    with open_folder() as folder:
        yield folder / "data"


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port that another process has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


@pytest.mark.parametrize("lost", [0, 1], ids=["mqtt", "monitor"])
def test_given_a_port_that_another_takes_first_when_started_then_on_other_ports(
    data: Path, taken: int, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def free_port(wanted: int | None = None, host: str = "127.0.0.1") -> int:
        """Find a port; before the server has this one, another has it."""
        found.append(taken if len(found) == lost else process.free_port(wanted, host))
        return found[-1]

    monkeypatch.setattr(broker, "free_port", free_port)
    server = BrokerServer(data, sync="interval")
    try:
        server.start()
        assert server.healthy()
        assert server.port != taken
        assert len(found) == 4, "it was started twice, and each time looked for two ports"
    finally:
        server.stop()


def test_given_a_port_that_was_asked_for_when_another_has_it_then_no_other_is_taken(
    data: Path, taken: int
) -> None:
    server = BrokerServer(data, port=taken, sync="interval")
    with pytest.raises(StartFailed, match="address already in use"):
        server.start()
    assert not server.running
    assert server.port == taken
