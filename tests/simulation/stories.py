"""What the stories of simulated clusters share: a process that remembers, and a witness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyhorde.cluster.member import DOUBTED, Status
from pyhorde.cluster.membership.effects import Changed
from pyhorde.runtime.process import Process, call
from pyhorde.testing import SimCluster


class Notes(Process):
    """A set of entries; a merge keeps what either side had."""

    durability = "replicated"

    def __init__(self, *entries: str) -> None:
        self.state: set[str] = set(entries)

    @call
    async def keep(self, entry: str) -> list[str]:
        self.state.add(entry)
        return sorted(self.state)

    @call
    async def kept(self) -> list[str]:
        return sorted(self.state)

    async def merge(self, other: Any) -> None:
        self.state |= other.state


@dataclass(frozen=True)
class Sighting:
    """What a node began to believe of a member."""

    at: float
    """Seconds since the story began."""
    by: str
    of: str
    boot: str
    status: Status
    cause: str


class Witness:
    """Writes down what every node that runs when this is made believes of the others from then on.

    Its ``repr`` is the trace of a day, for whoever looks for the cause of a failure.
    """

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._since = cluster.loop.time()
        self.sightings: list[Sighting] = []
        for name in cluster.live:
            self.follow(name)

    def follow(self, name: str) -> None:
        """Listen to this machine's present boot, too."""
        node = self._cluster.node(name)
        node.cluster_parts.on_changed.append(partial(self._changed, name))

    @property
    def now(self) -> float:
        return self._cluster.loop.time() - self._since

    def of(self, name: str, *statuses: Status) -> Iterator[Sighting]:
        """What others began to believe of this member: anything, or only these."""
        for seen in self.sightings:
            if seen.of == name and seen.by != name and seen.status in (statuses or tuple(Status)):
                yield seen

    def doubts(self, *, but: str = "") -> list[Sighting]:
        """Who was ever suspect, stalled or dead to whom, one member left out."""
        bad = (*DOUBTED, Status.DEAD)
        return [seen for seen in self.sightings if seen.status in bad and seen.of != but]

    def _changed(self, by: str, change: Changed) -> None:
        before, after = change.before, change.after
        if before is not None and (before.boot, before.status) == (after.boot, after.status):
            return
        self.sightings.append(
            Sighting(self.now, by, after.name, after.boot, after.status, change.cause)
        )

    def __repr__(self) -> str:
        return "\n".join(
            f"{seen.at:8.3f} s  {seen.by} sees {seen.of} ({seen.boot[:4]}) {seen.status}:"
            f" {seen.cause}"
            for seen in self.sightings
        )


async def ask(cluster: SimCluster, machine: str, name: str, method: str, *args: Any) -> Any:
    """One call through the node on this machine."""
    router = cluster.node(machine).router
    return await cluster.on(machine, router.call(name, method, list(args), {}))


async def begin(cluster: SimCluster, machine: str, name: str, *args: Any) -> None:
    """Start ``Notes`` of this name through the node on this machine."""
    await cluster.on(machine, cluster.node(machine).start_child(Notes, name, *args))


async def places(cluster: SimCluster, count: int) -> dict[str, str]:
    """Start so many ``Notes``; where each runs, by name."""
    for number in range(count):
        await cluster.start_child(Notes, f"n{number}")
    return {f"n{number}": cluster.owner(f"n{number}") for number in range(count)}


def statuses(cluster: SimCluster, of: str) -> dict[str, Status]:
    """What each other live node believes of this one now."""
    return {name: node.view.by_name[of].status for name, node in cluster.live.items() if name != of}


def epochs(cluster: SimCluster, but: str = "") -> dict[str, int]:
    """The epoch at which each process really runs, one machine left out."""
    nodes = [node for name, node in cluster.live.items() if name != but]
    return {cell.name: cell.epoch for node in nodes for cell in node.supervisor.local()}
