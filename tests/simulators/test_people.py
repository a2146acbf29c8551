"""The demonstration's own mailbox and subscribed system take what a sender sends them."""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import socket
from collections.abc import Iterator
from email.message import EmailMessage

import httpx
import pytest

from simulators.people import Mailbox, System

BODY = b'{"kind":"fired"}'


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    box = Mailbox(port)
    yield box, port
    box.close()


@pytest.fixture
def system() -> Iterator[System]:
    found = System("s3cret")
    yield found
    found.close()


def _signature(secret: str, body: bytes) -> str:
    digest = hmac.new(secret.encode(), b"1788742800." + body, hashlib.sha256).hexdigest()
    return f"t=1788742800,v1={digest}"


def test_given_a_mailbox_when_a_mail_is_sent_then_it_is_kept_for_each_recipient(
    mailbox: tuple[Mailbox, int],
) -> None:
    box, port = mailbox
    mail = EmailMessage()
    mail["Subject"] = "报警：2 号医用冰箱"
    mail["From"] = "vaxtrail@demo.invalid"
    mail.set_content("18.4 ℃\n.\n..")
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as smtp:
        smtp.send_message(mail, to_addrs=["a@demo.invalid", "b@demo.invalid"])
        smtp.send_message(mail, to_addrs=["c@demo.invalid"])
    assert [recipient[0] for recipient, _ in box.received] == ["a", "b", "c"]
    assert {subject for _, subject in box.received} == {"报警：2 号医用冰箱"}


def test_given_a_system_when_an_event_is_signed_then_it_is_taken(system: System) -> None:
    headers = {"X-Signature": _signature("s3cret", BODY)}
    answer = httpx.post(system.address, content=BODY, headers=headers, trust_env=False)
    assert answer.status_code == 204
    assert system.events == [{"kind": "fired"}]


@pytest.mark.parametrize("signature", ["", "t=1,v1=00", _signature("another", BODY)])
def test_given_a_system_when_the_signature_is_wrong_then_the_event_is_refused(
    system: System, signature: str
) -> None:
    headers = {"X-Signature": signature}
    answer = httpx.post(system.address, content=BODY, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert system.events == []
    assert system.wrongly_signed == 1
