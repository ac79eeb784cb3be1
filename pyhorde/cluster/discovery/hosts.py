"""``dns://name:port`` and ``k8s://service.namespace:port``: every address that a name has."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Final, Self

from pyhorde.cluster.discovery.addresses import join_address
from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.errors import DiscoveryError
from pyhorde.seam import Rng

INTERVAL: Final = 5.0
"""Seconds between two questions, unless the URL has an ``interval``."""
LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What Kubernetes allows as the name of a namespace or a Service."""
_NO_SUCH_NAME: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def interval_of(location: Location) -> float:
    """How often to ask, in seconds."""
    return location.number("interval", INTERVAL, 0.1, 3600.0)


class Hosts:
    """A and AAAA of one name, as the machine itself resolves it."""

    def __init__(
        self, url: str, host: str, port: int, interval: float, rng: Rng, hint: str = ""
    ) -> None:
        self._url = url
        self._host = host
        self._port = port
        self._interval = interval
        self._rng = rng
        self._hint = hint or "is the name spelt right, and does it have A or AAAA records?"

    @classmethod
    def at(cls, location: Location, surroundings: Surroundings) -> Self:
        location.allow("interval")
        host, port = location.host_and_port("dns://horde.example.com:7411")
        return cls(location.url, host, port, interval_of(location), surroundings.world.rng)

    @classmethod
    def of_kubernetes(cls, location: Location, surroundings: Surroundings) -> Self:
        """The addresses behind a headless Service; asked for absolutely, without search domains."""
        location.allow("domain", "interval")
        example = "k8s://horde.default:7411"
        host, port = location.host_and_port(example)
        labels = host.split(".")
        if len(labels) != 2 or not all(LABEL.fullmatch(label) for label in labels):
            raise location.wrong(f"{host!r} is no SERVICE.NAMESPACE", f"for example {example}")
        domain = location.options.get("domain", "cluster.local").strip(".")
        name, _ = location.check(f"{host}.svc.{domain}:{port}").rsplit(":", 1)
        hint = (
            "make a Service with clusterIP: None, and publishNotReadyAddresses: true so that"
            " nodes find each other before they are ready"
        )
        rng = surroundings.world.rng
        return cls(location.url, f"{name}.", port, interval_of(location), rng, hint)

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        while True:
            yield await self._resolve()
            await asyncio.sleep(self._interval * self._rng.uniform(0.9, 1.1))

    async def _resolve(self) -> frozenset[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown = isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME
            problem = f"cannot resolve {self._host}: {getattr(error, 'strerror', None) or error}"
            hint = self._hint if unknown else "does the machine reach its name server?"
            raise DiscoveryError(self._url, problem, hint) from error
        return frozenset(join_address(str(where[0]), self._port) for *_, where in found)
