"""E-mail by SMTP: one connection a message, STARTTLS whenever the server offers it.

The Message-ID follows from the delivery key: a message repeated after a crash between sending and
recording carries the same one, and mailbox servers that drop doubles by it do so.
"""

from __future__ import annotations

import hashlib
import re
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Self
from urllib.parse import unquote, urlsplit

from alerts.channels.channel import Message, Permanent, Transient
from alerts.recipients import masked

# Seconds for connecting and for each answer; beyond it the attempt is transient.
TIMEOUT_S = 10.0
PORTS = {"smtp": 25, "smtps": 465}
SENDER_DEFAULT = "vaxtrail@localhost"


@dataclass(frozen=True, slots=True)
class Smtp:
    """Where mail is handed in. `tls` = encrypted from the first byte (smtps)."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    sender: str = SENDER_DEFAULT
    tls: bool = False
    timeout_s: float = TIMEOUT_S

    @classmethod
    def from_url(cls, url: str, *, sender: str = "") -> Self:
        """Read `smtp[s]://[user:password@]host[:port]`. ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("an SMTP URL reads smtp://[user:password@]host[:port] or smtps://…")
        return cls(
            host=parts.hostname,
            port=parts.port or PORTS[parts.scheme],
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            sender=sender or SENDER_DEFAULT,
            tls=parts.scheme == "smtps",
        )


class Email:
    """Sends to one address a message. A password never leaves over a connection without TLS."""

    def __init__(self, smtp: Smtp) -> None:
        self._smtp = smtp
        self._tls = ssl.create_default_context()

    def send(self, message: Message) -> dict[str, str]:
        """Hand one message in; the evidence is its Message-ID and the server's last answer."""
        try:
            mail = self._composed(message)
        except ValueError as error:
            raise Permanent(f"not an address: {error}") from error
        try:
            with self._connected() as server:
                server.send_message(mail, self._smtp.sender, [message.address])
        except smtplib.SMTPRecipientsRefused as error:
            code, answer = error.recipients[message.address]
            raise _refused(code, answer, message.address) from error
        except smtplib.SMTPAuthenticationError as error:
            # The operator's mistake, not this message's: it can go once that is mended.
            raise Transient(f"sign-in refused: {error.smtp_code}") from error
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, error.smtp_error, message.address) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Permanent(str(error)) from error
        except (smtplib.SMTPException, OSError) as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        return {"message_id": mail["Message-ID"], "accepted_by": self._smtp.host}

    def close(self) -> None:
        """Keep nothing open between messages."""

    def _connected(self) -> smtplib.SMTP:
        smtp = self._smtp
        server: smtplib.SMTP
        if smtp.tls:
            server = smtplib.SMTP_SSL(
                smtp.host, smtp.port, timeout=smtp.timeout_s, context=self._tls
            )
        else:
            server = smtplib.SMTP(smtp.host, smtp.port, timeout=smtp.timeout_s)
        try:
            self._sign_in(server)
        except BaseException:
            server.close()
            raise
        return server

    def _sign_in(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        encrypted = self._smtp.tls
        if not encrypted and server.has_extn("starttls"):
            server.starttls(context=self._tls)
            server.ehlo()
            encrypted = True
        if not self._smtp.username:
            return
        if not encrypted:
            raise Transient("the server offers no TLS: the password was not sent")
        server.login(self._smtp.username, self._smtp.password)

    def _composed(self, message: Message) -> EmailMessage:
        domain = self._smtp.sender.rpartition("@")[2] or "localhost"
        mail = EmailMessage()
        mail["From"] = self._smtp.sender
        mail["To"] = message.address
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{_digest(message.key)}@{domain}>"
        mail["References"] = f"<{_digest(message.thread)}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text, cte="base64")
        return mail


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _refused(code: int, answer: bytes | str, address: str) -> Permanent | Transient:
    """Return the error of an SMTP answer: 5yz stays, 4yz may pass (RFC 5321 §4.2.1).

    Servers repeat the address that they refuse; here it is as others may see it.
    """
    said = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    said = re.sub(re.escape(address), lambda _: masked(address), said, flags=re.IGNORECASE)
    return (Permanent if code >= 500 else Transient)(f"{code} {said}")
