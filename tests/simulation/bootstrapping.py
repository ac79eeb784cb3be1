"""Nodes that start at once and are told by and by where the others may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

from pyhorde.errors import NameTaken
from pyhorde.testing import SimCluster
from pyhorde.testing.wiring import PORT, Wiring
from tests.simulation.stories import Notes

SHARED = ("one", "two", "three")
"""Names that every node starts as soon as it is ready."""


class Fickle:
    """A source that knows a random part of the addresses at each look, a second or so apart."""

    def __init__(self, addresses: list[str], rng: Random) -> None:
        self._addresses = addresses
        self._rng = rng

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        while True:
            count = self._rng.randint(0, len(self._addresses))
            yield frozenset(self._rng.sample(self._addresses, count))
            await asyncio.sleep(self._rng.uniform(0.5, 1.5))


def fickle(seed: int, machines: list[str]) -> Wiring:
    """Nobody is told of anybody, but what such a source says."""
    addresses = [f"{machine}:{PORT}" for machine in machines]
    return Wiring(peers={}, discovery=lambda me: [Fickle(addresses, Random(f"{seed}/{me}"))])


@dataclass(frozen=True)
class Bootstrap:
    """How one start of a cluster went; virtual seconds since the first node began."""

    seed: int
    ready: float
    """The last node was ready."""
    one: float
    """All had linked up, agreed, and ran each name once."""
    doubled: int
    """So many names were started more than once meanwhile, and became one again."""


async def boot(cluster: SimCluster, machine: str, doubles: list[str]) -> None:
    """Start the node and, as soon as it is ready, a name of its own and the shared ones."""
    await cluster.start(machine)
    for name in (f"only-{machine}", *SHARED):
        try:
            await cluster.outside.start_through(machine, Notes, name)
        except NameTaken:
            continue
        doubles.append(name)


def bootstrap(seed: int, machines: list[str]) -> Bootstrap:
    """Start all machines at once. Raises ``AssertionError`` unless they become one cluster."""

    async def story(cluster: SimCluster) -> Bootstrap:
        begun, started = cluster.loop.time(), list[str]()
        await asyncio.gather(*(boot(cluster, machine, started) for machine in machines))
        ready = cluster.loop.time() - begun
        expected = {*SHARED, *(f"only-{machine}" for machine in machines)}
        assert expected == set(started)
        await cluster.settle()
        one = cluster.loop.time() - begun
        assert not cluster.apart()
        running = cluster.running()
        assert running.keys() == expected, running
        return Bootstrap(seed, ready, one, len(started) - len(expected))

    return SimCluster.run(
        story, nodes=machines, seed=seed, processes=[Notes], wiring=fickle(seed, machines)
    )
