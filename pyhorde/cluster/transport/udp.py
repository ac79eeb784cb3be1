"""Packets: one UDP socket on the node's address, and where each peer's name points to."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

from pyhorde.cluster.tasks import Tasks
from pyhorde.config import split_address
from pyhorde.errors import ConfigError

MAX_PACKET_BYTES: Final = 1_400
"""What fits into one Ethernet frame, tunnels allowed for. Larger ones would travel in pieces, and
the loss of one piece is the loss of all."""
RECEIVE_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Packets that the kernel keeps while the event loop is busy; it may grant less."""
MAX_ADDRESSES: Final = 4_096
MAX_LOOKUPS: Final = 4
"""Names being looked up at a time. The threads that do it also serve whoever dials."""
REFRESH: Final = 30.0
"""Seconds after which a name is looked up again; the former answer serves meanwhile."""
RETRY: Final = 5.0
"""Seconds after which a name that could not be looked up is tried again."""

Target = tuple[Any, ...]
"""An address as sockets take it."""
Lookup = Callable[[str, int], Awaitable[Target]]

log = logging.getLogger("pyhorde.udp")


class _Entry:
    __slots__ = ("due", "target")

    def __init__(self) -> None:
        self.target: Target | None = None
        self.due = -inf
        """When to look it up; infinite while that goes on, and of what needs no looking up."""


class Addresses:
    """From ``HOST:PORT`` to what sockets of one family take. Never waits, looks up meanwhile."""

    def __init__(self, family: int, lookup: Lookup, now: Callable[[], float]) -> None:
        self._family = family
        self._lookup = lookup
        self._now = now
        self._known: dict[str, _Entry] = {}
        self._lookups = Tasks()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, address: str) -> Target | None:
        """Where to send to; None while that is not known."""
        entry = self._known.get(address)
        if entry is None:
            entry = self._learn(address)
        if entry.due < inf and entry.due <= self._now() and len(self._lookups) < MAX_LOOKUPS:
            entry.due = inf
            _ = self._lookups.spawn(self._refresh(address, entry), f"look up {address}")
        return entry.target

    async def aclose(self) -> None:
        await self._lookups.aclose()

    def _learn(self, address: str) -> _Entry:
        if len(self._known) >= MAX_ADDRESSES:
            del self._known[next(iter(self._known))]
        entry = self._known[address] = _Entry()
        try:
            host, port = split_address(address)
        except ConfigError:
            entry.due = inf
            return entry
        for family in (socket.AF_INET, socket.AF_INET6):
            if _is_numeric(family, host):
                entry.due = inf
                entry.target = (host, port) if family == self._family else None
        return entry

    async def _refresh(self, address: str, entry: _Entry) -> None:
        host, port = split_address(address)
        pause = RETRY
        try:
            entry.target = await self._lookup(host, port)
            pause = REFRESH
        except (OSError, UnicodeError):  # no such name, or no such name is possible
            pass
        finally:
            entry.due = self._now() + pause


class UdpEndpoint(asyncio.DatagramProtocol):
    """A :class:`~pyhorde.seam.Datagrams` over one UDP socket. What it cannot do is counted."""

    def __init__(self, family: int, received: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.sent = 0
        self.received = 0
        self.dropped = 0
        """Packets that were not sent, or not taken in: too large, no address known, no room."""
        self.failed = 0
        """What the operating system said it could not send or receive."""
        self._family = family
        self._received = received
        self._addresses = Addresses(family, self._lookup, loop.time)
        self._is_full = False
        self._is_closed = False
        self._lost: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.DatagramTransport

    def send(self, address: str, data: bytes) -> None:
        target = None
        if not (self._is_closed or self._is_full or len(data) > MAX_PACKET_BYTES):
            target = self._addresses.find(address)
        if target is None:
            self.dropped += 1
            return
        self.sent += 1
        self._transport.sendto(data, target)

    async def close(self) -> None:
        self._is_closed = True
        await self._addresses.aclose()
        self._transport.close()
        await asyncio.wait([self._lost])

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def error_received(self, exc: Exception) -> None:
        self.failed += 1

    def datagram_received(self, data: bytes, addr: Target) -> None:
        if self._is_closed or len(data) > MAX_PACKET_BYTES:
            self.dropped += 1
            return
        self.received += 1
        self._received(data)

    async def _lookup(self, host: str, port: int) -> Target:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=self._family, type=socket.SOCK_DGRAM
        )
        return found[0][4]


async def bind(address: str, received: Callable[[bytes], None]) -> UdpEndpoint | None:
    """Send and receive on ``HOST:PORT``; None, and a warning, where it cannot be bound."""
    loop = asyncio.get_running_loop()
    host, port = split_address(address, "bind")
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, _, _, _, target = found[0]
        sock = _bound(family, target)
        _, endpoint = await loop.create_datagram_endpoint(
            lambda: UdpEndpoint(family, received), sock=sock
        )
    except (OSError, UnicodeError) as error:
        fields = {
            "address": address,
            "reason": getattr(error, "strerror", None) or str(error),
            "next": "probes go over streams",
        }
        log.warning("datagrams_unavailable", extra={"fields": fields})
        return None
    return endpoint


def _bound(family: int, target: Target) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:  # as the listener's: IPv4 has an address of its own
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return sock


def _is_numeric(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True
