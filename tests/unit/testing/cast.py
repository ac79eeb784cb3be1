"""Processes and helpers that several tests here share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pyhorde.runtime.process import Process, Resume, call
from pyhorde.testing import SimCluster


class Counter(Process):
    """Counts."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state = 0

    @call
    async def increment(self) -> int:
        self.state += 1
        return int(self.state)

    @call
    async def value(self) -> int:
        return int(self.state)

    async def merge(self, other: Resume) -> None:
        self.state += other.state


class Fleeting(Counter):
    """Is not started again."""

    restart = "temporary"


def play(story: Callable[[SimCluster], Awaitable[Any]], nodes: int = 3, seed: int | str = 1) -> Any:
    """Run a story on a cluster whose nodes are up."""

    async def started(cluster: SimCluster) -> Any:
        await cluster.start_all()
        return await story(cluster)

    return SimCluster.run(started, nodes=nodes, seed=seed, processes=[Counter, Fleeting])
