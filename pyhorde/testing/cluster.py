"""A simulated cluster: real nodes, simulated machines.

>>> class Counter(Process): ...
>>> async def story(cluster):
...     await cluster.start_all()
...     ref = await cluster.node("a").start_child(Counter, "visits")
...     cluster.crash("a")
...     await cluster.settle()
>>> SimCluster.run(story, nodes=3, seed=7, processes=[Counter])
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Self

from pyhorde.config import MembershipConfig, NodeConfig, ReplicationConfig, RuntimeConfig
from pyhorde.node import Node
from pyhorde.runtime.process import Process
from pyhorde.testing.loop import SimLoop
from pyhorde.testing.network import MachineNetwork, SimNetwork

EPOCH_START = 1_700_000_000.0
PORT = 7411
START_LIMIT = 120.0
"""A node that is not ready after so many (virtual) seconds never will be."""


class SimWorld:
    """A :class:`~pyhorde.seam.World` of one boot of one machine."""

    def __init__(self, cluster: SimCluster, machine: str, boot: int) -> None:
        self._cluster = cluster
        self._machine = machine
        self.key = f"{machine}#{boot}"
        self.rng = Random(f"{cluster.seed}/{self.key}")
        self.network = MachineNetwork(cluster.network, machine, self.key)

    def now(self) -> float:
        return self._cluster.loop.time()

    def wall(self) -> float:
        offset = self._cluster.clock_offsets.get(self._machine, 0.0)
        return EPOCH_START + self._cluster.loop.time() + offset

    def token(self) -> str:
        return f"{self.rng.randrange(2**128):032x}"


@dataclass(slots=True)
class _Machine:
    name: str
    boots: int = 0
    node: Node | None = None
    key: str = ""
    """The loop's name for the machine's current boot: handlers of an older one never run."""


class SimCluster:
    """Machines ``a``, ``b``, ``c`` ... with one node each."""

    def __init__(
        self,
        nodes: int | Sequence[str] = 3,
        seed: int = 0,
        processes: Iterable[type[Process]] = (),
        *,
        membership: MembershipConfig | None = None,
        replication: ReplicationConfig | None = None,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        self.seed = seed
        self.loop = SimLoop(seed)  # type: ignore[abstract] # the rest is set to refuse
        self.network = SimNetwork(self.loop, seed)
        self.clock_offsets: dict[str, float] = {}
        self._processes = tuple(processes)
        self._settings = (membership, replication, runtime)
        names = [chr(ord("a") + i) for i in range(nodes)] if isinstance(nodes, int) else nodes
        self.machines = {name: _Machine(name) for name in names}

    @classmethod
    def run(cls, story: Callable[[Self], Awaitable[Any]], **settings: Any) -> Any:
        """Run a story on a new cluster and return its result."""
        cluster = cls(**settings)
        try:
            return cluster.loop.run_until_complete(_run(story, cluster))
        finally:
            cluster.loop.close()

    # ---- what can be done to it --------------------------------------------------------------

    async def start(self, name: str) -> Node:
        """Boot a machine's node and wait until it is ready."""
        machine = self.machines[name]
        machine.boots += 1
        world = SimWorld(self, name, machine.boots)
        membership, replication, runtime = self._settings
        config = NodeConfig(
            name=name,
            bind=f"{name}:{PORT}",
            insecure=True,
            peers=tuple(f"{other}:{PORT}" for other in self.machines),
            membership=membership or MembershipConfig(),
            replication=replication or ReplicationConfig(),
            runtime=runtime or RuntimeConfig(),
        )
        node = Node(config=config, processes=self._processes, world=world)
        machine.node, machine.key = node, world.key
        self.network.power(name)
        async with asyncio.timeout(START_LIMIT):
            await self.loop.run_as(machine.key, node.start())
        return node

    async def start_all(self) -> None:
        """Boot all machines at once."""
        await asyncio.gather(*(self.start(name) for name in self.machines))

    def node(self, name: str) -> Node:
        """The node that runs on a machine."""
        node = self.machines[name].node
        if node is None:
            raise LookupError(f"no node runs on {name!r}")
        return node

    @property
    def live(self) -> dict[str, Node]:
        """The nodes that run now, by machine."""
        return {m.name: m.node for m in self.machines.values() if m.node is not None}

    async def on(self, name: str, work: Any) -> Any:
        """Run a coroutine on a machine, as its own code would."""
        return await self.loop.run_as(self.machines[name].key, work)

    def crash(self, name: str, *, silent: bool = False) -> None:
        """Kill the node: nothing of it runs again. ``silent``: the whole machine goes dark."""
        machine = self.machines[name]
        machine.node = None
        self.loop.note("crash", name, silent)
        self.loop.kill(machine.key)
        if silent:
            self.network.silence(name)
        self.network.process_killed(name)

    async def restart(self, name: str) -> Node:
        """Boot a crashed machine again."""
        return await self.start(name)

    async def drain(self, name: str) -> Any:
        """Stop a node in an orderly way."""
        machine = self.machines[name]
        result = await self.loop.run_as(machine.key, self.node(name).drain())
        machine.node = None
        return result

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every connection between machines of different groups."""
        sides = [set(group) for group in groups]
        for side in sides:
            for other in sides:
                if side is not other:
                    for one in sorted(side):
                        for two in sorted(other):
                            self.network.cut(one, two)
        self.loop.note("partition", *(sorted(side) for side in sides))

    def heal(self) -> None:
        """End every partition."""
        self.loop.note("heal")
        self.network.heal()

    def stall(self, name: str, seconds: float) -> None:
        """The machine's OS process stands still."""
        self.loop.note("stall", name, seconds)
        self.loop.stall(self.machines[name].key, seconds)

    # ---- what can be asked -------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Wait (in virtual time) until the condition holds; False when it does not in time."""
        end = self.loop.time() + timeout
        while not condition():
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(0.05)
        return True

    async def settle(self, timeout: float = 60.0) -> None:
        """Wait until the cluster is quiet; raises ``AssertionError`` saying what is not."""
        if not await self.until(lambda: not self.unrest(), timeout):
            raise AssertionError(f"not quiet after {timeout:g} s: " + "; ".join(self.unrest()))

    def running(self) -> dict[str, list[str]]:
        """Where each process really runs: name to machines."""
        found: dict[str, list[str]] = {}
        for machine, node in self.live.items():
            for cell in node.supervisor.local():
                found.setdefault(cell.name, []).append(machine)
        return found

    def unrest(self) -> list[str]:
        """What is not as it should be once all is quiet; empty when it is."""
        problems = self._membership_unrest()
        running = self.running()
        specs = {name for node in self.live.values() for name in node.names.processes()}
        for name in sorted(specs | running.keys()):
            places = running.get(name, [])
            if len(places) != 1 or name not in specs:
                problems.append(f"{name!r} runs on {places or 'no node'}")
        snapshots = {node._replica.snapshot() == self._first() for node in self.live.values()}  # noqa: SLF001
        if snapshots == {False} or len(snapshots) > 1:
            problems.append("the registries differ")
        return problems

    def apart(self) -> list[str]:
        """Pairs of live nodes without a link."""
        return [
            f"{name}-{other.name}"
            for name, node in self.live.items()
            for other in self.live.values()
            if other is not node and other.view.me.boot not in node.cluster_parts.links.boots
        ]

    def _first(self) -> Any:
        return next(iter(self.live.values()))._replica.snapshot()  # noqa: SLF001

    def _membership_unrest(self) -> list[str]:
        truth = {(name, node.view.me.boot) for name, node in self.live.items()}
        problems = []
        for name, node in self.live.items():
            seen = {(m.name, m.boot) for m in node.view.present}
            if seen != truth:
                problems.append(f"{name} sees {sorted(n for n, _ in seen)} alive")
        return problems


async def _run(story: Callable[[Any], Awaitable[Any]], cluster: SimCluster) -> Any:
    return await story(cluster)
