"""What the embedded broker writes about its clients: which gateway, what is wrong, how to mend it.

The broker cuts the connection of a client with an illegal topic or too large a message without an
answer, and a QoS 1 client then sends it for ever; what a client may not publish it acknowledges and
drops. Nobody but its log knows, so the log is followed and what it says is counted by gateway and
cause, kept in `<data>/broker-faults.json`, and told at most once an hour.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from runtime.folder import write_private
from runtime.process import LOG_SIZE_MAX

log = structlog.get_logger(__name__)

FILE = "broker-faults.json"
TOLD_EVERY_S = 3600.0
FORGOTTEN_S = 86_400.0  # a fault not seen this long is over
APART_S = 600.0  # what must come several times to be a fault comes no further apart
WRITTEN_EVERY_S = 1.0
READ_MAX = 1 << 20  # bytes a look, so that it never keeps its caller long
FAULTS_MAX = 500  # a client that invents names shall not fill the memory
DETAIL_MAX = 200  # characters

# [pid] date time [ERR] address - mid:7 - "client id" - text
_LINE = re.compile(
    r"\[(?:ERR|WRN)\] (?P<address>\S+):\d+ - mid:\d+ -"
    r'(?: "(?P<client>(?:[^"\\]|\\.)*)" -)? (?P<text>.+)'
)
# A write that failed, on a full disk above all: the broker never tries that file again. Its own
# words, from the beginning of the line: what clients say stands behind their address.
_STORE = re.compile(
    r"\[\d+\] \S+ \S+ \[(ERR|WRN)\] JetStream"
    r" (failed to store a msg|stream .* critical write error)"
)
# Consequences of lines already counted, and what every look of a health check leaves.
_ECHO = re.compile(r"unable to connect: |TLS handshake error: (EOF|.*connection reset)")


class Cause(NamedTuple):
    """One thing the broker complains of: its words, and the mend in both languages.

    `pattern` may have a group, the detail; fewer than `least` times in a row are no fault.
    """

    code: str
    pattern: re.Pattern[str]
    zh: str
    en: str
    least: int = 1


CAUSES = (
    Cause(
        "topic",
        re.compile("character not supported for MQTT topics"),
        "反复断线：主题含空格等不允许的字符；请在设备上改主题（见 docs/how-to/gateways.md）",
        "is cut off again and again: a topic has a space; change the topic on the device",
    ),
    Cause(
        "size",
        re.compile(r"maximum payload exceeded: (\d+) vs \d+"),
        "反复断线：消息超过 256 KiB；请减少每条消息的读数（≤ 500 条，≤ 64 KiB）",
        "is cut off again and again: a message over 256 KiB; send at most 500 readings, 64 KiB",
    ),
    Cause(
        "forbidden",
        re.compile('Publish Violation - Subject "(.*)"'),
        "发布到未授权的主题，消息已丢弃；请改主题，或用 vaxtrail gateway credentials --topic 授权",
        "publishes where it may not, which is dropped: change the topic, or grant it with "
        "`vaxtrail gateway credentials --topic`",
    ),
    Cause(
        "subscription",
        re.compile('Subscription Violation - Subject "([^"]*)"'),
        "订阅未授权的主题，收不到应答；请只订阅自己的 ack/#、reject/#、cmd/#",
        "subscribes where it may not and hears nothing: take its own ack/#, reject/# and cmd/#",
    ),
    Cause(
        "login",
        re.compile(r'authentication error(?: - User "(.*)")?'),
        "登录被拒：口令有误、证书已换发或账号已吊销；请用 vaxtrail gateway credentials 重发",
        "is refused: wrong user or password, a replaced certificate, or revoked; issue anew with "
        "`vaxtrail gateway credentials`",
        least=3,
    ),
    Cause(
        "certificate",
        re.compile("TLS handshake error: (.*)"),
        "加密握手失败；请检查客户端证书、CA 与端口（见 docs/how-to/tls.md）",
        "fails to encrypt: look at its certificate, the CA and the port (docs/how-to/tls.md)",
        least=3,
    ),
    Cause(
        "protocol",
        re.compile("unacceptable protocol version of (.*)"),
        "协议版本不支持；请在设备上选择 MQTT 3.1.1",
        "speaks another version: choose MQTT 3.1.1 on the device",
    ),
    Cause(
        "client_id",
        re.compile('invalid character in client ID "(.*)"'),
        "客户端标识不允许；请去掉其中的 . * > 与空格",
        "has a client id that is not allowed: leave out . * > and spaces",
    ),
    Cause(
        "duplicate",
        re.compile("Replacing old client .* since both have the same client ID"),
        "反复重连：与另一台设备使用同一客户端标识、互相挤下线（请改为各不相同），或网络时断时续",
        "comes back again and again: another device has its client id (make them differ), or the "
        "network is poor",
        least=5,
    ),
    Cause(
        "slow",
        re.compile("JetStream failed .*"),
        "被断开：代理落盘太慢，未能及时应答（设备会重发，不丢失）；请检查磁盘",
        "was cut off since the broker's disk is too slow to answer (it sends again, nothing is "
        "lost): look at the disk",
    ),
    Cause("other", re.compile("(.*)"), "出错，代理的原文见后", "is complained of by the broker"),
)
_SUBJECTS = ("forbidden", "subscription")  # their detail is a subject
_BY_CODE = {cause.code: cause for cause in CAUSES}


@dataclass(slots=True)
class Fault:
    """What is wrong with one gateway; times in epoch seconds."""

    gateway: str  # its account; the client id or the address when that is all that is known
    cause: str
    detail: str
    address: str
    count: int
    first: float
    last: float

    @property
    def texts(self) -> tuple[str, str]:
        """The sentence with the mend, in Chinese and in English."""
        cause = _BY_CODE[self.cause]
        detail = f" [{self.detail}]" if self.detail else ""
        who = f"{self.gateway}（{self.address}）", f"{self.gateway} ({self.address})"
        seen = f"{datetime.fromtimestamp(self.last, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"网关 {who[0]}{cause.zh}{detail}；{self.count} 次，最近 {seen}",
            f"gateway {who[1]} {cause.en}{detail}; {self.count} times, last {seen}",
        )


def faults(data: Path, now: float | None = None) -> list[Fault]:
    """Return what is wrong with gateways now, newest first."""
    try:
        kept = json.loads((data / FILE).read_text())
    except FileNotFoundError:
        return []
    since = (time.time() if now is None else now) - FORGOTTEN_S
    found = [Fault(**each) for each in kept]
    shown = [f for f in found if f.last > since and f.count >= _BY_CODE[f.cause].least]
    return sorted(shown, key=lambda fault: -fault.last)


class BrokerLog:
    """Follows the log from where it ends now; `user_of` gives the account behind a client id."""

    def __init__(self, data: Path, path: Path, user_of: Callable[[str], str]) -> None:
        self._data = data
        self._path = path
        self._user_of = user_of
        self.store_failed = False  # until somebody starts the broker again and says so
        self._position = path.stat().st_size if path.exists() else 0
        self._faults = {(f.gateway, f.cause): f for f in faults(data)}
        self._told: dict[tuple[str, str], float] = {}
        self._names: dict[str, str] = {}  # client id -> account
        self._written = 0.0
        self._changed = False

    def look(self) -> None:
        """Take in what was written since the last look; cheap when nothing was."""
        now = time.time()
        for line in self._new_lines():
            self._take(line, now)
        if self._changed and now - self._written >= WRITTEN_EVERY_S:
            self._write(now)

    def _new_lines(self) -> Iterator[str]:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._position:  # begun anew
            self._position = 0
        if size == self._position:
            if size > LOG_SIZE_MAX:  # a gateway that complains for ever shall not fill the disk
                shutil.copyfile(self._path, self._path.with_suffix(".log.1"))
                self._path.open("w").close()
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            read = file.read(READ_MAX)
        whole = read[: read.rfind(b"\n") + 1] or (read if len(read) == READ_MAX else b"")
        self._position += len(whole)
        yield from whole.decode(errors="replace").splitlines()

    def _take(self, line: str, now: float) -> None:
        self.store_failed = self.store_failed or _STORE.match(line) is not None
        found = _LINE.search(line)
        if found is None or _ECHO.match(found["text"]):
            return
        cause, match = next((c, m) for c in CAUSES if (m := c.pattern.match(found["text"])))
        detail = (match[1] or "" if match.re.groups else "")[:DETAIL_MAX]
        client = found["client"] or ""
        gateway = detail if cause.code == "login" and detail else self._name(client)
        fault = self._counted(gateway or found["address"], cause, now)
        if fault is not None:
            fault.detail = _topic(detail) if cause.code in _SUBJECTS else detail
            fault.address = found["address"]
            self._tell(fault, cause, now)

    def _name(self, client: str) -> str:
        """Return the account of a client, asked until the broker knows it; else the client's id."""
        if client and client not in self._names and len(self._names) < FAULTS_MAX:
            known = self._user_of(client)
            if not known:  # it may have been refused so far
                return client
            self._names[client] = known
        return self._names.get(client, client)

    def _counted(self, gateway: str, cause: Cause, now: float) -> Fault | None:
        key = (gateway, cause.code)
        fault = self._faults.get(key)
        if fault is None:
            if len(self._faults) >= FAULTS_MAX:
                return None
            fault = self._faults[key] = Fault(gateway, cause.code, "", "", 0, now, now)
        if cause.least > 1 and now - fault.last > APART_S:
            fault.count, fault.first = 0, now
        fault.count += 1
        fault.last = now
        self._changed = True
        return fault

    def _tell(self, fault: Fault, cause: Cause, now: float) -> None:
        key = (fault.gateway, fault.cause)
        if fault.count >= cause.least and now - self._told.get(key, 0.0) >= TOLD_EVERY_S:
            self._told[key] = now
            zh, en = fault.texts
            log.warning("gateway_fault", cause=fault.cause, gateway=fault.gateway, zh=zh, en=en)

    def _write(self, now: float) -> None:
        self._written, self._changed = now, False
        self._faults = {k: f for k, f in self._faults.items() if f.last > now - FORGOTTEN_S}
        try:
            text = json.dumps([asdict(fault) for fault in self._faults.values()])
            write_private(self._data / FILE, text)
        except OSError as error:  # a full disk is told elsewhere
            log.warning("gateway_faults_not_written", error=str(error))


def _topic(subject: str) -> str:
    """Return the MQTT topic of which the broker made a subject."""
    words = {"/": "", "*": "+", ">": "#"}
    levels = (words.get(level, level.replace("//", ".")) for level in subject.split("."))
    return "/".join(levels)
