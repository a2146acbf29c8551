"""Where this machine may be told to call.

Whoever puts down a webhook or a subscription names a host, but it is an address that is called: so
an address is judged, however it is written, and a name by what it resolves to, at every call. What
was judged is what is connected to.

Addresses of the internet may be called, and those of the networks that the operator names: private
ones unless told otherwise, as most receivers stand on premises. Never called are link-local
addresses and the services that give a virtual machine its credentials.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self
from urllib.parse import urlsplit

import httpx

from alerts.channels.channel import Transient

SCHEMES = ("http", "https")
# A host name: labels of up to 63 characters, 253 in all (RFC 1035 §2.3.4); "_" is in use.
LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
HOST_MAX = 253
# RFC 1918 and RFC 4193: the networks of organisations.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# Metadata services of clouds that do not stand at a link-local address.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
# All that is given out of IPv6 so far (RFC 4291 §2.4), and what holds an IPv4 address in itself.
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Destinations:
    """The networks that may be called beside the internet."""

    networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, PRIVATE))

    @classmethod
    def of(cls, networks: Iterable[str]) -> Self:
        """Return those that name these networks; ValueError for what is none."""
        return cls(tuple(map(ipaddress.ip_network, networks)))

    def may_call(self, address: str) -> bool:
        """Tell whether a web address may be put down: names are looked up when they are called."""
        try:
            # The host as the client will call it, whatever dots or case it is written with.
            literal = _literal(httpx.URL(address).raw_host.decode())
        except httpx.InvalidURL:
            return False
        return allowed(address) and (literal is None or self.permits(literal))

    def permits(self, address: Address) -> bool:
        """Tell whether an address may be connected to."""
        inner = _within(address)
        if inner is not None:
            return self.permits(inner)
        if address in _METADATA or address.is_link_local:
            return False
        if address.is_multicast or address.is_unspecified:
            return False
        ours = any(address in network for network in self.networks)
        return ours or (address.is_global and not address.is_reserved and _given_out(address))

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be called, at least one; Transient for none.

        What a name stands for can be mended, and so can the networks that may be called.
        """
        literal = _literal(host)
        found = [literal] if literal is not None else await _looked_up(host, port)
        may = [str(address) for address in found if self.permits(address)]
        if not may:
            raise Transient("the host stands in a network that may not be called")
        return may


async def _looked_up(host: str, port: int) -> list[Address]:
    """Return what a name stands for now, in the order to try."""
    loop = asyncio.get_running_loop()
    try:
        told = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Transient("the host is not known") from error
    return list(dict.fromkeys(_address(one[4][0]) for one in told))


def allowed(address: str) -> bool:
    """Tell whether an address can be one: http(s) to a named host, no credentials in it."""
    try:
        parts = urlsplit(address)
        named = _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        return False
    return parts.scheme in SCHEMES and named and parts.username is None


def _is_host(host: str) -> bool:
    """Tell whether a host is an IPv6 address or labels as names have. ValueError: neither."""
    if ":" in host:
        return bool(ipaddress.IPv6Address(host))
    name = host.encode("idna").decode().removesuffix(".")
    return len(name) <= HOST_MAX and all(LABEL.fullmatch(label) for label in name.split("."))


def _literal(host: str) -> Address | None:
    """Return the address that a host is, in any form that a connection takes; None for a name."""
    host = host.removesuffix(".")
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return _address(host)
    except ValueError:
        pass
    try:
        # The short, decimal, octal and hexadecimal forms.
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def _address(text: object) -> Address:
    return ipaddress.ip_address(str(text).partition("%")[0])


def _within(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to: mapped, 6to4 or NAT64."""
    if not isinstance(address, IPv6Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _given_out(address: Address) -> bool:
    return isinstance(address, IPv4Address) or address in _UNICAST
