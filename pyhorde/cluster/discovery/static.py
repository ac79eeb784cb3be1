"""``static://HOST:PORT,HOST:PORT``: a list that never changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.source import Surroundings


class Static:
    """The addresses as they stand in the URL."""

    def __init__(self, addresses: frozenset[str]) -> None:
        self._addresses = addresses

    @classmethod
    def at(cls, location: Location, _: Surroundings) -> Self:
        location.allow()
        words = [word.strip() for word in location.body.split(",")]
        addresses = frozenset(location.check(word) for word in words if word)
        if not addresses:
            raise location.wrong("it names no address", "for example static://10.0.0.5:7411")
        return cls(addresses)

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        yield self._addresses
