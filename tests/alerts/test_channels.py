"""The channels alone: what they refuse, what they retry, how they keep a password."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from alerts.channels.channel import Message, Permanent, Transient
from alerts.channels.destinations import allowed
from alerts.channels.email import Email, Smtp
from alerts.channels.webhook import Webhook, signature
from tests.alerts.conftest import LOOPBACK, Hook, Mailbox
from tests.conftest import free_port

AT = datetime(2026, 3, 2, tzinfo=UTC)


def message(address: str) -> Message:
    return Message(
        key="k",
        thread="a",
        address=address,
        secret="s",
        subject="主题",
        text="正文\n",
        event={"id": "k"},
        at=AT,
        sent_at=AT,
    )


@pytest.mark.parametrize(
    "address",
    [
        "ftp://h/x",
        "file:///etc/passwd",
        "http://",
        "http://u:p@h/",
        "gopher://h",
        "//h/x",
        "http://[",
        "http://[::1",
        "http://[nonsense]/x",
        "http://hooks..example/x",
        "http://.example/x",
        f"http://{'a' * 64}.example/x",
        f"http://{'a.' * 127}example/x",
        "http://two words/x",
        "http://半..例/x",
        "",
    ],
)
def test_given_address_that_is_no_plain_http_when_called_then_refused_for_good(
    address: str,
) -> None:
    assert not allowed(address)
    hook = Webhook(LOOPBACK)
    with pytest.raises(Permanent):
        hook.send(message(address))
    hook.close()


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.example/x?y=1",
        "http://hook_1.example.:8080",
        "http://127.0.0.1:80",
        "http://[::1]:80/",
        "http://疾控.例子/x",
    ],
)
def test_given_address_of_a_named_host_when_asked_then_allowed(address: str) -> None:
    assert allowed(address)


def test_given_answer_whose_body_never_ends_when_sent_then_its_status_is_enough(
    hook: Hook,
) -> None:
    hook.drip = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500
    channel = Webhook(LOOPBACK)
    started = time.monotonic()
    assert channel.send(message(hook.url)) == {"status": "200"}
    assert time.monotonic() - started < 4
    channel.close()


@pytest.mark.parametrize(
    "drip", [b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200, b"HTTP/1.1 200 " + b"x" * 200]
)
def test_given_answer_that_comes_byte_by_byte_when_time_is_up_then_tried_again_later(
    hook: Hook, drip: bytes
) -> None:
    hook.drip = drip
    channel = Webhook(LOOPBACK, timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(Transient, match="no answer within"):
        channel.send(message(hook.url))
    assert time.monotonic() - started < 2
    channel.close()


@pytest.mark.parametrize("status", [301, 408, 425, 429, 500, 503])
def test_given_webhook_answers_so_when_sent_then_tried_again_later(hook: Hook, status: int) -> None:
    hook.answers = [status]
    channel = Webhook(LOOPBACK)
    with pytest.raises(Transient, match=f"HTTP {status}"):
        channel.send(message(hook.url))
    channel.close()


def test_given_names_that_nobody_looks_up_when_another_is_called_then_it_is_called(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: str, *args: Any, **more: Any) -> Any:
        if host.startswith("silent"):
            answered.wait(5)
        return look_up("127.0.0.1", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    channel = Webhook(LOOPBACK)
    port = hook.url.split(":")[2]
    silent = [channel.begin(message(f"http://silent{n}.example:{port}")) for n in range(16)]
    started = time.monotonic()
    assert channel.send(message(f"http://swift.example:{port}")) == {"status": "204"}
    assert time.monotonic() - started < 2
    answered.set()
    for one in silent:
        one.result()
    channel.close()


def test_given_known_body_when_signed_then_signature_is_the_published_one() -> None:
    expected = hmac.new(b"s", b"1772409600.{}", hashlib.sha256).hexdigest()
    assert signature("s", AT, b"{}") == f"t=1772409600,v1={expected}"


def test_given_server_without_tls_when_password_is_set_then_it_is_not_sent(
    mailbox: Mailbox,
) -> None:
    channel = Email(Smtp("127.0.0.1", mailbox.port, username="u", password="p"))
    with pytest.raises(Transient, match="no TLS"):
        channel.send(message("a@x.example"))


def test_given_no_mail_server_when_sent_then_tried_again_later() -> None:
    channel = Email(Smtp("127.0.0.1", free_port(), timeout_s=1))
    with pytest.raises(Transient, match="Refused"):
        channel.send(message("a@x.example"))
    channel.close()


@pytest.mark.parametrize("address", ["gone@x.example", "a@x.example\r\nBcc: b@x.example"])
def test_given_address_that_cannot_be_when_sent_then_failed_for_good(
    mailbox: Mailbox, address: str
) -> None:
    mailbox.refused = "gone@x.example"
    with pytest.raises(Permanent):
        Email(Smtp("127.0.0.1", mailbox.port)).send(message(address))
    assert mailbox.mails == []


def test_given_a_server_that_repeats_the_address_when_refused_then_it_is_masked(
    mailbox: Mailbox,
) -> None:
    mailbox.answers = ["550 <Zhang.San@x.example>: unknown"]
    email = Email(Smtp("127.0.0.1", mailbox.port))
    with pytest.raises(Permanent, match=r"^550 <z\*\*\*@x.example>: unknown$"):
        email.send(message("zhang.san@x.example"))


def test_given_url_when_read_then_parts_of_the_mail_server_are_known() -> None:
    smtp = Smtp.from_url("smtps://u%40x:p%2F@mail.example", sender="a@x.example")
    assert smtp == Smtp("mail.example", 465, "u@x", "p/", "a@x.example", tls=True)
    assert Smtp.from_url("smtp://127.0.0.1:2525").port == 2525
    assert "p/" not in repr(smtp)
    with pytest.raises(ValueError, match="SMTP URL"):
        Smtp.from_url("http://mail.example")


@pytest.fixture
def secure_mailbox(certificate: Path) -> Iterator[Mailbox]:
    """Start an SMTP server that takes nothing before STARTTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    box = Mailbox()
    box.port = free_port()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=context,
        require_starttls=True,
        authenticator=lambda *given: AuthResult(
            success=given[-1].password == b"right", handled=False
        ),
    )
    controller.start()
    yield box
    controller.stop()


def test_given_server_offers_tls_when_its_certificate_is_trusted_then_mail_goes_encrypted(
    secure_mailbox: Mailbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    evidence = Email(Smtp("127.0.0.1", secure_mailbox.port)).send(message("a@x.example"))
    assert secure_mailbox.mails[0]["Message-ID"] == evidence["message_id"]


def test_given_server_offers_tls_when_its_certificate_is_unknown_then_nothing_is_sent(
    secure_mailbox: Mailbox,
) -> None:
    with pytest.raises(Transient, match="certificate"):
        Email(Smtp("127.0.0.1", secure_mailbox.port)).send(message("a@x.example"))
    assert secure_mailbox.mails == []


def test_given_server_asks_who_when_password_is_right_then_sent_and_when_wrong_then_later(
    secure_mailbox: Mailbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    smtp = Smtp("127.0.0.1", secure_mailbox.port, username="u", password="right")
    Email(smtp).send(message("a@x.example"))
    with pytest.raises(Transient, match="sign-in refused"):
        Email(replace(smtp, password="wrong")).send(message("a@x.example"))
    assert len(secure_mailbox.mails) == 1


def test_given_smtps_when_sent_then_encrypted_from_the_first_byte(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    box = Mailbox()
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port, ssl_context=context)
    controller.start()
    Email(Smtp("127.0.0.1", box.port, tls=True)).send(message("a@x.example"))
    controller.stop()
    assert len(box.mails) == 1
