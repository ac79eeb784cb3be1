"""``dns+srv://_service._proto.name``: hosts with their ports, from SRV records.

Needs dnspython, which is not installed by default: ``pip install 'pyhorde[dns]'``.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

from pyhorde.cluster.discovery.addresses import join_address
from pyhorde.cluster.discovery.hosts import interval_of
from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.config import split_address
from pyhorde.errors import DiscoveryError
from pyhorde.seam import Rng

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.resolver import Answer

LIFETIME: Final = 5.0
"""Seconds one question may take, all attempts included."""


class Srv:
    """The targets of one SRV name; priorities and weights mean nothing here.

    A target whose address the answer brings along is named by it, for the machine itself may not be
    able to resolve names of that name server; any other target by its name.
    """

    def __init__(self, url: str, name: str, server: str, interval: float, rng: Rng) -> None:
        self._url = url
        self._name = name
        self._server = server
        self._interval = interval
        self._rng = rng

    @classmethod
    def at(cls, location: Location, surroundings: Surroundings) -> Self:
        location.allow("interval", "nameserver")
        labels = location.body.split(".")
        if len(labels) < 3 or not all(label.startswith("_") for label in labels[:2]):
            raise location.wrong(
                f"{location.body!r} is no _SERVICE._PROTO.NAME",
                "for example dns+srv://_pyhorde._tcp.example.com",
            )
        try:
            importlib.import_module("dns.asyncresolver")
        except ImportError:
            problem = "SRV records need the package dnspython"
            raise location.wrong(problem, "pip install 'pyhorde[dns]'") from None
        rng = surroundings.world.rng
        server = _server(location)
        return cls(location.url, location.body, server, interval_of(location), rng)

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        resolver = self._resolver()
        while True:
            yield await self._resolve(resolver)
            await asyncio.sleep(self._interval * self._rng.uniform(0.9, 1.1))

    def _resolver(self) -> Resolver:
        from dns.asyncresolver import Resolver  # noqa: PLC0415 - an extra
        from dns.exception import DNSException  # noqa: PLC0415

        try:
            resolver = Resolver(configure=not self._server)
        except (DNSException, OSError) as error:
            hint = "add ?nameserver=IP:PORT"
            raise DiscoveryError(self._url, f"no name server is known: {error}", hint) from error
        if self._server:
            host, port = split_address(self._server)
            resolver.nameservers, resolver.port = [host], port
        return resolver

    async def _resolve(self, resolver: Resolver) -> frozenset[str]:
        from dns.exception import DNSException, Timeout  # noqa: PLC0415 - an extra

        try:
            answer = await resolver.resolve(self._name, "SRV", lifetime=LIFETIME, search=False)
        except Timeout as error:  # whose text is another one each time
            problem = f"no answer about {self._name} within {LIFETIME:g} s"
            raise DiscoveryError(self._url, problem, "is the name server up?") from error
        except (DNSException, OSError) as error:
            problem = f"cannot resolve {self._name}: {error}"
            hint = "is the name spelt right, and does it have SRV records?"
            raise DiscoveryError(self._url, problem, hint) from error
        return frozenset(_targets(answer))


def _server(location: Location) -> str:
    """The name server that the URL wants asked, as ``IP:PORT``; empty for the machine's own."""
    text = location.options.get("nameserver", "")
    if not text:
        return ""
    try:
        address = text if ":" in text.rpartition("]")[2] else f"{text}:53"
        ip_address(split_address(location.check(address))[0])
    except ValueError:
        hint = "for example nameserver=127.0.0.1:8600"
        raise location.wrong(f"nameserver = {text!r} is no IP:PORT", hint) from None
    return address


def _targets(answer: Answer) -> list[str]:
    from dns.rdatatype import RdataType  # noqa: PLC0415 - an extra

    known: dict[str, list[str]] = {}
    for rrset in answer.response.additional:
        if rrset.rdtype in (RdataType.A, RdataType.AAAA):
            known.setdefault(rrset.name.to_text(), []).extend(each.address for each in rrset)
    found = []
    for record in answer:
        target = record.target.to_text()
        if target != ".":
            hosts = known.get(target) or [target.rstrip(".")]
            found += [join_address(host, record.port) for host in hosts]
    return found
