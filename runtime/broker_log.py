"""What the embedded broker writes about its clients: which gateway, what is wrong, how to mend it.

The broker cuts the connection of a client with an illegal topic or too large a message without an
answer, and a QoS 1 client then sends it for ever; what a client may not publish it acknowledges and
drops. Nobody but its log knows, so the log is followed and what it says is counted by gateway and
cause, kept in `<data>/broker-faults.json`, and told at most once an hour. Names that no account has
may be inventions of anybody's: few are kept, and they never displace a gateway's.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from runtime import broker_access
from runtime.broker_access import SERVER, SHARED
from runtime.folder import write_private
from runtime.process import LOG_SIZE_MAX

log = structlog.get_logger(__name__)

FILE = "broker-faults.json"
TOLD_EVERY_S = 3600.0
FORGOTTEN_S = 86_400.0  # a fault not seen this long is over
APART_S = 600.0  # what must come several times to be a fault comes no further apart
WRITTEN_EVERY_S = 1.0
READ_MAX = 1 << 20  # bytes a look, so that it never keeps its caller long
STRANGERS_MAX = 100  # faults kept of names without an account, the newest
NAMES_MAX = 5  # of them from one address; further ones are counted as the address
CLIENTS_MAX = 10_000  # client ids whose account is remembered
TURNED_AWAY_MAX = 100  # connections ended by a reload whose further lines are awaited
DETAIL_MAX = 200  # characters

# [pid] date time [ERR] address - mid:7 - "client id" - text
_LINE = re.compile(
    r"\[(?:ERR|WRN)\] (?P<connection>(?P<address>\S+):\d+ - mid:\d+) -"
    r'(?: "(?P<client>(?:[^"\\]|\\.)*)" -)? (?P<text>.+)'
)
# A write that failed, on a full disk above all: the broker never tries that file again. Its own
# words, from the beginning of the line: what clients say stands behind their address.
_STORE = re.compile(
    r"\[\d+\] \S+ \S+ \[(ERR|WRN)\] JetStream"
    r" (failed to store a msg|stream .* critical write error)"
)
# Whether the broker took its changed settings, by a reload or a start; again its own words.
_RELOAD = re.compile(
    r"\[\d+\] \S+ \S+ \[(?:ERR|INF)\] (?:Failed to reload server configuration: (?P<error>.*)"
    r"|Reloaded server configuration|Server is ready)"
)
# Consequences of lines already counted, and what every look of a health check leaves.
_ECHO = re.compile(r"unable to connect: |TLS handshake error: (EOF|.*connection reset)")
# While it takes in changed accounts the broker knows no users for a moment, or cannot let in one
# whose login was right, and calls that an authentication error: no fault, the client comes again.
_RELOADING = re.compile(
    'Problem registering with account ".*": connection closed|authentication error$'
)


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
        "shared",
        re.compile('authentication error - User "(gateway)"'),
        "以共用账号登录被拒：该账号缺省关闭；请用 vaxtrail gateway credentials 为每个网关签发账号，"
        "过渡期间可设 VAXTRAIL_MQTT_SHARED_ACCOUNT=true",
        "is refused: the shared account is closed by default; give each gateway an account "
        "(`vaxtrail gateway credentials`), until then set VAXTRAIL_MQTT_SHARED_ACCOUNT=true",
        least=3,
    ),
    Cause(
        "login",
        re.compile('authentication error - User "(.*)"'),
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
NOT_RELOADED = Cause(
    "reload",
    _RELOAD,
    "读不了改动后的设置：账号与证书的更改（含吊销）尚未生效；每 10 秒再试，若一直如此，"
    "请检查磁盘与描述符上限（ulimit -n），再重启 vaxtrail up",
    "cannot read its changed settings: changes of accounts and certificates, revoked ones too, are "
    "not in force. It is tried again every 10 s; if that does not help look at the disk and the "
    "limit of descriptors (`ulimit -n`), then restart `vaxtrail up`",
)
BROKER = "broker"  # whose fault that is
_SUBJECTS = ("forbidden", "subscription")  # their detail is a subject
# What comes before a login has succeeded, so from anybody and under any name.
_BEFORE_LOGIN = ("shared", "login", "certificate", "protocol", "client_id")
_BY_CODE = {cause.code: cause for cause in (*CAUSES, NOT_RELOADED)}


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
    known: bool = False  # the gateway has an account

    @property
    def texts(self) -> tuple[str, str]:
        """The sentence with the mend, in Chinese and in English."""
        cause = _BY_CODE[self.cause]
        detail = f" [{self.detail}]" if self.detail else ""
        who = f"网关 {self.gateway}（{self.address}）", f"gateway {self.gateway} ({self.address})"
        if self.cause == NOT_RELOADED.code:
            who = "代理", "the broker"
        seen = f"{datetime.fromtimestamp(self.last, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"{who[0]}{cause.zh}{detail}；{self.count} 次，最近 {seen}",
            f"{who[1]} {cause.en}{detail}; {self.count} times, last {seen}",
        )


def faults(data: Path, now: float | None = None) -> list[Fault]:
    """Return what is wrong now: first what nobody but a gateway can cause, newest first."""
    try:
        kept = json.loads((data / FILE).read_text())
    except FileNotFoundError:
        return []
    since = (time.time() if now is None else now) - FORGOTTEN_S
    found = [Fault(**each) for each in kept]
    shown = [f for f in found if f.last > since and f.count >= _BY_CODE[f.cause].least]
    return sorted(shown, key=lambda f: (not f.known, f.cause in _BEFORE_LOGIN, -f.last))


def reload_fault(data: Path) -> Fault | None:
    """Return why the broker does not follow its accounts, None while it does."""
    return next((fault for fault in faults(data) if fault.cause == NOT_RELOADED.code), None)


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
        self._turned_away: deque[str] = deque(maxlen=TURNED_AWAY_MAX)  # connections
        self._accounts = {SERVER, SHARED}
        self._accounts_read = 0  # stamp of their file
        self._written = 0.0
        self._changed = False

    @property
    def reload_failed(self) -> bool:
        """Tell whether the broker could not read its settings the last time."""
        return (BROKER, NOT_RELOADED.code) in self._faults

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
        found = _RELOAD.match(line)
        if found is not None:
            self._reloaded(found["error"], now)
            return
        found = _LINE.search(line)
        if found is None or _ECHO.match(found["text"]) or self._came_in_a_reload(found):
            return
        cause, match = next((c, m) for c in CAUSES if (m := c.pattern.match(found["text"])))
        detail = (match[1] or "" if match.re.groups else "")[:DETAIL_MAX]
        client, address = found["client"] or "", found["address"]
        if cause.code in _BEFORE_LOGIN:
            gateway = (detail if cause.code in {"shared", "login"} else "") or client
        else:
            gateway = self._name(client)
        fault = self._fault(gateway or address, address, cause, now)
        fault.detail = _topic(detail) if cause.code in _SUBJECTS else detail
        fault.address = address
        self._count(fault, cause, now)

    def _came_in_a_reload(self, line: re.Match[str]) -> bool:
        """Tell whether this is about a client that was turned away only by a reload."""
        if _RELOADING.match(line["text"]):
            self._turned_away.append(line["connection"])
        return line["connection"] in self._turned_away

    def _reloaded(self, error: str | None, now: float) -> None:
        """Note whether the broker could read its settings; what was wrong is over when it could."""
        key = (BROKER, NOT_RELOADED.code)
        if error is None:
            self._changed = self._faults.pop(key, None) is not None or self._changed
            return
        fault = self._faults.setdefault(key, Fault(*key, "", "", 0, now, now, known=True))
        fault.detail = error[:DETAIL_MAX]
        self._count(fault, NOT_RELOADED, now)

    def _name(self, client: str) -> str:
        """Return the account of a client, asked until the broker knows it; else the client's id."""
        if client and client not in self._names:
            known = self._user_of(client)
            if not known:  # it may have been refused so far
                return client
            if len(self._names) >= CLIENTS_MAX:
                del self._names[next(iter(self._names))]
            self._names[client] = known
        return self._names.get(client, client)

    def _fault(self, gateway: str, address: str, cause: Cause, now: float) -> Fault:
        """Return the fault of this gateway and cause, new where there is none."""
        known = self._is_known(gateway)
        if not known and (gateway, cause.code) not in self._faults:
            gateway = self._room_for(gateway, address)
        new = Fault(gateway, cause.code, "", address, 0, now, now)
        fault = self._faults.setdefault((gateway, cause.code), new)
        fault.known = known
        return fault

    def _room_for(self, name: str, address: str) -> str:
        """Make room for a stranger; return its name, or its address when that had many."""
        strangers = [(key, each) for key, each in self._faults.items() if not each.known]
        if sum(each.address == address for _, each in strangers) >= NAMES_MAX:
            name = address
        if len(strangers) >= STRANGERS_MAX:
            oldest, _ = min(strangers, key=lambda found: found[1].last)
            del self._faults[oldest]
            self._told.pop(oldest, None)
        return name

    def _is_known(self, gateway: str) -> bool:
        """Tell whether there is an account of this name (a certificate's is its subject)."""
        place = broker_access.path(self._data)
        stamp = place.stat().st_mtime_ns if place.exists() else 0
        if stamp != self._accounts_read:
            self._accounts_read = stamp
            try:
                accounts = broker_access.load(self._data).values()
            except ValueError:  # told by whoever gives them to the broker
                return gateway in self._accounts
            names = {name for each in accounts for name in (each.gateway_id, each.subject)}
            self._accounts = names - {""} | {SERVER, SHARED}
        return gateway in self._accounts

    def _count(self, fault: Fault, cause: Cause, now: float) -> None:
        if cause.least > 1 and now - fault.last > APART_S:
            fault.count, fault.first = 0, now
        fault.count += 1
        fault.last = now
        self._changed = True
        key = (fault.gateway, fault.cause)
        if fault.count >= cause.least and now - self._told.get(key, 0.0) >= TOLD_EVERY_S:
            self._told[key] = now
            zh, en = fault.texts
            log.warning("gateway_fault", cause=fault.cause, gateway=fault.gateway, zh=zh, en=en)

    def _write(self, now: float) -> None:
        self._written, self._changed = now, False
        self._faults = {k: f for k, f in self._faults.items() if f.last > now - FORGOTTEN_S}
        self._told = {k: told for k, told in self._told.items() if k in self._faults}
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
