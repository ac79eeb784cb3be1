"""Which crashes the promise covers: as many machines may be lost as there are further copies.

A replicated process's update is acknowledged once ``replicas`` other nodes have it; a node that
sees fewer others than that acknowledges with what it has. Crashing more machines than there are
copies, before the rest has caught up, loses what no promise covers; plans leave that out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

LOOK_INTERVAL = 0.5


class Losses:
    """What would be lost with a machine."""

    def __init__(self, cluster: SimCluster, replicas: int = 1) -> None:
        self._cluster = cluster
        self._replicas = replicas
        self._open: list[dict[str, int]] = []
        """For each machine lost: what the others knew then, until everybody knows it."""
        self._lonely: dict[str, int] = {}
        """By boot: own events up to which some may be acknowledged without enough copies."""
        cluster.loop.at(cluster.loop.time() + LOOK_INTERVAL, self._look)

    def may_crash(self, name: str) -> bool:
        """Whether killing the machine now breaks no promise by itself."""
        self._update()
        return len(self._open) < self._replicas and self.may_leave(name)

    def may_leave(self, name: str) -> bool:
        """Whether the others have what this machine alone may have acknowledged."""
        self._update()
        nodes = self._cluster.live
        node = nodes.pop(name, None)
        if node is None or not nodes or node.state != "ready":
            return False
        boot = node.view.me.boot
        wanted = self._lonely.get(boot, 0)
        known = max(other._replica.covers.get(boot, 0) for other in nodes.values())  # noqa: SLF001
        return known >= wanted

    def crashed(self, name: str) -> None:
        """The machine is about to be killed."""
        known: dict[str, int] = {}
        for other, node in self._cluster.live.items():
            if other != name:
                for origin, seq in node._replica.covers.items():  # noqa: SLF001
                    known[origin] = max(known.get(origin, 0), seq)
        self._open.append(known)

    def _look(self) -> None:
        self._cluster.loop.at(self._cluster.loop.time() + LOOK_INTERVAL, self._look)
        self._update()

    def _update(self) -> None:
        nodes = self._cluster.live
        replicas = [node._replica for node in nodes.values()]  # noqa: SLF001
        everybody = len(nodes) == len([m for m in self._cluster.machines.values() if m.runs])
        if replicas and everybody:
            self._open = [
                known
                for known in self._open
                if any(r.known(origin) < seq for r in replicas for origin, seq in known.items())
            ]
        for node in nodes.values():
            if len(node.view.others) < self._replicas:
                self._lonely[node.view.me.boot] = node._replica.seq  # noqa: SLF001
