"""``multicast://239.255.74.11:7474``: whoever announces itself on the local network. IPv4 only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from typing import Any, Final, Self

from pyhorde.cluster.discovery.announcements import Announcements
from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.config import split_address
from pyhorde.errors import DiscoveryError
from pyhorde.seam import World

LISTEN: Final = 1.5
"""Seconds in which others can answer before the first set is given: more than any answer takes."""
CALM: Final = 0.05
"""Seconds between two looks at what was heard, however much that is."""
_DEFAULT: Final = "239.255.74.11:7474"


class Multicast:
    """One socket that joins the group, announces this node and hears the others."""

    def __init__(
        self, url: str, group: tuple[str, int], interface: str, ttl: int, near: Surroundings
    ) -> None:
        self._url = url
        self._group = group
        self._interface = interface
        self._ttl = ttl
        self._world: World = near.world
        self._near = Announcements(near.address, near.cluster, near.keyring, near.world.rng)

    @classmethod
    def at(cls, location: Location, surroundings: Surroundings) -> Self:
        location.allow("interface", "ttl")
        group, port = split_address(location.check(location.body or _DEFAULT))
        if not _is_ipv4(group) or not IPv4Address(group).is_multicast:
            problem = f"{group} is no IPv4 multicast group"
            raise location.wrong(problem, f"for example multicast://{_DEFAULT}")
        interface = location.options.get("interface", "0.0.0.0")
        if not _is_ipv4(interface):
            hint = "name it by its own IPv4 address"
            raise location.wrong(f"interface = {interface!r} is no IPv4 address", hint)
        ttl = location.integer("ttl", 1, 0, 255)
        return cls(location.url, (group, port), interface, ttl, surroundings)

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        now = self._world.now
        ear = _Ear(lambda packet: self._near.hear(packet, now()))
        given: frozenset[str] | None = None
        async with contextlib.AsyncExitStack() as stack:
            transport = await self._open(ear)
            stack.callback(transport.close)
            self._send(transport, self._near.begin(now()))
            ready = now() + LISTEN
            while True:
                if ear.error is not None:
                    raise self._failed(ear.error)
                if packet := self._near.tick(now()):
                    self._send(transport, packet)
                waiting = now() < ready
                if not waiting and self._near.addresses != given:
                    yield (given := self._near.addresses)
                until = min(self._near.deadline, ready) if waiting else self._near.deadline
                await ear.listen(until - now())

    async def _open(self, ear: _Ear) -> asyncio.DatagramTransport:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._join(made)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: ear, sock=made)
        except BaseException as error:
            made.close()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise
        return transport

    def _join(self, made: socket.socket) -> None:
        """Several nodes of one machine may hear the group, each other included."""
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(self._group)
        group, interface = socket.inet_aton(self._group[0]), socket.inet_aton(self._interface)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + interface)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)

    def _send(self, transport: asyncio.DatagramTransport, packet: bytes) -> None:
        try:
            transport.sendto(packet, self._group)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DiscoveryError:
        problem = f"no multicast with {self._group[0]}: {getattr(error, 'strerror', '') or error}"
        hint = "has the machine a route for multicast? else add ?interface=IP"
        return DiscoveryError(self._url, problem, hint)


class _Ear(asyncio.DatagramProtocol):
    """Passes packets on, and wakes whoever listens when one of them means something new."""

    def __init__(self, hear: Callable[[bytes], bool]) -> None:
        self._hear = hear
        self._woken = asyncio.Event()
        self.error: Exception | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._hear(data):
            self._woken.set()

    def error_received(self, exc: Exception) -> None:
        self.error = exc
        self._woken.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.error_received(exc)

    async def listen(self, timeout: float) -> None:
        """Wait for news, at most ``timeout`` seconds."""
        await asyncio.sleep(CALM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout - CALM)):
                await self._woken.wait()
        self._woken.clear()


def _is_ipv4(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except ValueError:
        return False
