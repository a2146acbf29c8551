"""What may be called: judged by its address, however that is written or comes about."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import closing, suppress
from typing import Any

import pytest

from alerts.channels.channel import Transient
from alerts.channels.destinations import Destinations
from alerts.channels.webhook import Webhook
from tests.alerts.conftest import LOOPBACK, Hook

BODY: tuple[bytes, dict[str, str]] = (b"{}", {"Content-Type": "application/json"})
NOT_ALLOWED = "may not be called"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "017700000001",
        "0x7f.0.0.1",
        "127.0.0.1.",
        "LOCALHOST.",
        "a.localhost",
        "１２７.0.0.1",
        "127。0。0。1",
        "0",
        "0.0.0.0",  # noqa: S104 -- nothing is bound to it
        "169.254.169.254",
        "169.254.1",
        "0xa9fea9fe",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[fd00:ec2::254]",
    ],
)
def test_given_an_address_of_this_machine_or_of_none_when_put_down_then_refused(host: str) -> None:
    assert not Destinations().may_call(f"http://{host}/x")
    assert not Destinations().may_call(f"https://{host}:8443/x")


@pytest.mark.parametrize(
    "host",
    [
        *("city.example", "疾控.例子", "8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]"),
        *("10.1.2.3", "172.31.0.1", "192.168.1", "[fd00::1]"),
    ],
)
def test_given_an_address_of_the_internet_or_of_an_organisation_when_put_down_then_taken(
    host: str,
) -> None:
    assert Destinations().may_call(f"http://{host}/x")


def test_given_networks_when_named_then_these_alone_beside_the_internet() -> None:
    strict = Destinations.of([])
    assert not strict.may_call("http://10.1.2.3/")
    assert not strict.may_call("http://[fd00::1]/")
    assert strict.may_call("http://8.8.8.8/")
    everything = Destinations.of(["0.0.0.0/0", "::/0"])
    assert everything.may_call("http://127.0.0.1/")
    assert not everything.may_call("http://169.254.169.254/")
    assert not everything.may_call("http://100.100.100.200/")
    assert not everything.may_call("http://0.0.0.0/")


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let a name service answer so for every name."""

    def answer(_host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def port_of(hook: Hook) -> str:
    return hook.url.rpartition(":")[2].partition("/")[0]


def test_given_a_name_when_it_leads_to_this_machine_then_nothing_is_sent_unless_allowed(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://hook.example:{port_of(hook)}/alerts"
    assert Destinations().may_call(address)
    resolving(monkeypatch, "127.0.0.1")
    with closing(Webhook(Destinations())) as careful, pytest.raises(Transient, match=NOT_ALLOWED):
        careful.post(address, *BODY)
    assert hook.hits == []
    with closing(Webhook(LOOPBACK)) as told:
        assert told.post(address, *BODY) == 204
        # What it stood for a moment ago says nothing of now.
        resolving(monkeypatch, "169.254.169.254")
        with pytest.raises(Transient, match=NOT_ALLOWED):
            told.post(address, *BODY)
    assert [hit.headers["host"] for hit in hook.hits] == [f"hook.example:{port_of(hook)}"]


def test_given_a_name_with_several_addresses_when_called_then_one_that_may_and_answers(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "169.254.169.254", "127.0.0.2", "127.0.0.1")
    with closing(Webhook(LOOPBACK)) as channel:
        assert channel.post(f"http://hook.example:{port_of(hook)}/", *BODY) == 204


def test_given_a_redirect_when_answered_then_it_is_not_followed(hook: Hook) -> None:
    hook.answers = [302]
    with closing(Webhook(LOOPBACK)) as channel:
        assert channel.post(hook.url, *BODY) == 302
    assert len(hook.hits) == 1


def test_given_https_when_called_then_the_certificate_asked_for_is_that_of_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        serving = threading.Thread(target=serve)
        serving.start()
        resolving(monkeypatch, "127.0.0.1")
        address = f"https://hook.example:{listening.getsockname()[1]}/"
        with closing(Webhook(LOOPBACK)) as channel, pytest.raises(Transient):
            channel.post(address, *BODY)
        serving.join()
    assert asked == ["hook.example"]
