"""A simulated cluster: real nodes on simulated machines.

>>> async with SimCluster(nodes=3, seed=7, processes=[Counter]) as cluster:
...     visits = await cluster.start_child(Counter, "visits")
...     assert await visits.increment() == 1
...     cluster.crash(cluster.owner("visits"))
...     assert await visits.increment() == 2
...     await cluster.settle()

Inside ``async with`` time is virtual, whatever loop runs outside: an hour takes a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from pyhorde.config import MembershipConfig, NodeConfig, ReplicationConfig, RuntimeConfig
from pyhorde.node import Node
from pyhorde.runtime.process import Process
from pyhorde.runtime.ref import Ref
from pyhorde.testing.borrowing import Borrowing
from pyhorde.testing.cables import Cables
from pyhorde.testing.faults import Player
from pyhorde.testing.invariants import Invariants, Violation
from pyhorde.testing.loop import SimLoop
from pyhorde.testing.machines import Machine, SimWorld
from pyhorde.testing.network import SimNetwork
from pyhorde.testing.outside import Outside
from pyhorde.testing.plans import ROUND, Drawing, machine_names
from pyhorde.testing.wiring import PORT, Wiring

T = TypeVar("T")
S = TypeVar("S", bound=Process)

START_LIMIT = 120.0
"""A node that is not ready after so many (virtual) seconds never will be."""
QUIET_LIMIT = 60.0
"""Seconds after the last fault within which a cluster has to come to rest."""
SLOW_AFTERMATH = 5.0
"""Seconds for which a machine may still be behind after it was slow."""


class SimCluster(Cables):
    """Machines ``a``, ``b``, ``c`` ... with one node each."""

    def __init__(
        self,
        nodes: int | Sequence[str] = 3,
        seed: int | str = 0,
        processes: Iterable[type[Process]] = (),
        *,
        membership: MembershipConfig | None = None,
        replication: ReplicationConfig | None = None,
        runtime: RuntimeConfig | None = None,
        datagrams: bool | None = None,
        wiring: Wiring | None = None,
    ) -> None:
        self.seed = seed
        self.loop = SimLoop(seed)  # type: ignore[abstract] # the rest is set to refuse
        self.network = SimNetwork(self.loop, seed, datagrams=datagrams)
        self._processes = tuple(processes)
        self._settings = (membership, replication, runtime)
        self._wiring = wiring or Wiring()
        names = machine_names(nodes) if isinstance(nodes, int) else nodes
        if len(set(names)) != len(names):
            raise ValueError(f"each machine has a name of its own: {nodes!r}")
        self.machines = {name: Machine(name, self.loop.create_future()) for name in names}
        self.invariants = Invariants(self)
        self.outside = Outside(self)
        self.history: list[str] = []
        """What was done to machines and paths, and when; a line each."""
        self._armed: dict[str, tuple[int, Callable[[], None]]] = {}
        self._hindered: dict[str, float] = {}
        self._slow: set[str] = set()
        self._borrowing: Borrowing | None = None
        self._days = 0
        self._player: Player | None = None

    @classmethod
    def run(cls, story: Callable[[Self], Awaitable[T]], **settings: Any) -> T:
        """Run a story on a new cluster, whose nodes the story starts; returns its result."""
        cluster = cls(**settings)
        try:
            result: T = cluster.loop.run_until_complete(_run(story, cluster))
        finally:
            cluster.loop.close()
        return result

    async def __aenter__(self) -> Self:
        if self.loop.is_closed():
            raise RuntimeError("a simulated cluster can be used once; make another one")
        if asyncio.get_running_loop() is not self.loop:
            self._borrowing = Borrowing(self.loop)
            await self._borrowing
        try:
            await self.start_all()
        except BaseException:  # without this, the coroutine would never come back
            await self._give_back()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.invariants.check_test()
                self.check_always()
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        if self._borrowing is not None:
            await self._borrowing.back()
            self.loop.close()

    # ---- machines ----------------------------------------------------------------------------

    async def start(self, name: str, port: int = PORT) -> Node:
        """Boot a machine's node and wait until it is ready."""
        self.check_inside()
        machine = self._machine(name)
        if machine.runs:
            raise RuntimeError(f"a node runs on {name!r} already")
        self.invariants.watch()
        machine.boots += 1
        machine.key = f"{name}#{machine.boots}"
        machine.joining, machine.gone = True, self.loop.create_future()
        gone = machine.gone
        membership, replication, runtime = self._settings
        config = NodeConfig(
            name=name,
            bind=f"{name}:{port}",
            insecure=True,
            membership=membership or MembershipConfig(),
            replication=replication or ReplicationConfig(),
            runtime=runtime or RuntimeConfig(),
            **self._wiring.settings(name, self.machines),
        )
        world = SimWorld(self.loop, self.network, machine)
        node = Node(config=config, processes=self._processes, world=world)
        self.network.power(name)
        clear = self.is_clear
        starting: asyncio.Future[None] = self.loop.run_as(machine.key, node.start())
        await asyncio.wait([starting, gone], timeout=START_LIMIT, return_when="FIRST_COMPLETED")
        if gone.done():
            raise ConnectionResetError(f"{name!r} was crashed before it was ready")
        machine.joining = False
        self.happened("start", name)
        if not starting.done():
            raise TimeoutError(f"{name!r} was not ready within {START_LIMIT:g} s")
        starting.result()
        machine.node = node
        node.cluster_parts.on_changed.append(partial(self.invariants.changed, name))
        if clear and self.is_clear:
            self.outside.informed(machine.key)
        return node

    async def start_all(self) -> None:
        """Boot all machines at once."""
        await asyncio.gather(*(self.start(name) for name in self.machines))

    async def restart(self, name: str, port: int = PORT) -> Node:
        """Boot a crashed or drained machine again, under the same name (and address)."""
        return await self.start(name, port)

    def crash(self, name: str, *, silent: bool = False) -> None:
        """Kill the node: nothing of it runs again, no ``finally`` either.

        ``silent``: the machine loses power, so that not even its operating system answers.
        """
        machine = self._machine(name)
        self.happened("power failure" if silent else "crash", name)
        if self.live.keys() <= {name}:
            self.outside.promised.clear()  # state lives in memory: with the last node all is gone
        machine.node, machine.joining = None, False
        self.loop.kill(machine.key)
        if silent:
            self.network.silence(name)
        self.network.process_killed(name)
        if not machine.gone.done():
            machine.gone.set_result(None)

    def arm(self, name: str, steps: int, strike: Callable[[], None] | None = None) -> None:
        """Crash the machine ``steps`` callbacks after its next request has come in.

        So it dies between two awaits in the middle of doing something. ``strike``: do this instead.
        """
        self._machine(name)
        self._armed[name] = (steps, strike or (lambda: self.crash(name)))

    def disarm(self, name: str | None = None) -> None:
        """Take back what ``arm`` prepared, for one machine or all."""
        for one in [name] if name is not None else list(self.machines):
            self._armed.pop(one, None)
            self.loop.after_steps(self._machine(one).key, 0, None)

    async def drain(self, name: str) -> Any:
        """Stop a node in an orderly way: hand everything over, leave, stop.

        Returns what ``Node.drain`` does; None when the machine was crashed meanwhile.
        """
        machine, node = self._machine(name), self.node(name)
        boot = node.view.me.boot
        clear = self.is_clear and all(n.view.is_present(boot) for n in self.live.values())
        here = [cell.name for cell in node.supervisor.local()]
        draining: asyncio.Future[Any] = self.loop.run_as(machine.key, node.drain())
        await asyncio.wait([draining, machine.gone], return_when="FIRST_COMPLETED")
        if machine.node is not node:
            return None
        machine.node = None
        machine.gone.set_result(None)
        self.happened("drained", name)
        if clear and self.is_clear:
            machine.drained.append(boot)
            self.invariants.handed_over(name, here)
        if not self.was_hindered(name, self.loop.time()):
            self.invariants.stopped(machine.key)
        return draining.result()

    def stall(self, name: str, seconds: float) -> None:
        """The machine's OS process stands still for so long, as in a long garbage collection."""
        self.happened("stall", name, f"{seconds:g} s")
        self.loop.stall(self._machine(name).key, seconds)
        self._hinder(name, seconds)

    def slow(self, name: str, seconds: float) -> None:
        """A slow CPU: each callback takes so long, from now on; 0 ends it."""
        self.loop.slow(self._machine(name).key, seconds)
        self._slow.add(name) if seconds else self._slow.discard(name)
        self._hinder(name, SLOW_AFTERMATH)

    def _hinder(self, name: str, seconds: float) -> None:
        self._hindered[name] = max(self._hindered.get(name, 0.0), self.loop.time() + seconds)

    def was_hindered(self, name: str, since: float) -> bool:
        """Whether the machine stood still or was slow at some time since then."""
        return name in self._slow or self._hindered.get(name, -1.0) >= since

    def jump_clock(self, name: str, seconds: float) -> None:
        """The machine's wall clock jumps ahead, or back."""
        self._machine(name).clock_offset += seconds

    def drift_clock(self, name: str, rate: float) -> None:
        """The machine's wall clock gains ``rate`` seconds per second."""
        self._machine(name).clock_drift = rate

    def node(self, name: str) -> Node:
        """The node that runs on a machine."""
        node = self._machine(name).node
        if node is None:
            raise LookupError(f"no node runs on {name!r}")
        return node

    @property
    def live(self) -> dict[str, Node]:
        """The nodes that run now and are ready, by machine."""
        return {m.name: m.node for m in self.machines.values() if m.node is not None}

    async def on(self, name: str, work: Any) -> Any:
        """Run a coroutine on a machine, as its own code would.

        Raises ``ConnectionResetError`` when the machine crashes before it is done.
        """
        self.check_inside()
        machine = self._machine(name)
        gone = machine.gone
        if name in self._armed:
            self.loop.after_steps(machine.key, *self._armed.pop(name))
        doing: asyncio.Future[Any] = self.loop.run_as(machine.key, work)
        try:
            await asyncio.wait([doing, gone], return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            doing.cancel()
            raise
        if not doing.done():
            doing.add_done_callback(_heard)  # nobody is left to hear how it ends
            raise ConnectionResetError(f"{name!r} crashed")
        return doing.result()

    def _machine(self, name: str) -> Machine:
        machine = self.machines.get(name)
        if machine is None:
            raise LookupError(f"no machine {name!r}; there are {', '.join(self.machines)}")
        return machine

    async def bad_day(self, seconds: float = 60.0, kinds: Sequence[str] = ()) -> None:
        """Play faults drawn from the seed, for so long, and end them all.

        ``kinds``: only these; ``python -m pyhorde.testing --list`` shows which there are.
        """
        self._days += 1
        self._player = self._player or Player(self)  # one for all days: it knows what was lost
        drawing = Drawing(Random(f"{self.seed}/day/{self._days}"), list(self.machines), kinds)
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > 0:
            length = left if left < 1.5 * ROUND else ROUND
            begun = self.loop.time()
            await self._player.play(drawing.round(length))
            await asyncio.sleep(max(0.0, begun + length - self.loop.time()))

    def happened(self, *what: object) -> None:
        """Keep it for whoever wants to know what the day was like."""
        self.loop.note(*what)
        self.history.append(f"{self.loop.time() - 1000:9.2f} s  {' '.join(map(str, what))}")

    def check_inside(self) -> None:
        """Raise ``RuntimeError`` unless this runs in the cluster's virtual time."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(
                "this happens in the cluster's virtual time: do it inside `async with cluster`"
            )

    @property
    def is_clear(self) -> bool:
        """Whether all machines reach each other well, and none is stalled or slow."""
        names, now = list(self.machines), self.loop.time()
        return self.network.is_clear and not any(self.was_hindered(name, now) for name in names)

    # ---- processes, from outside -------------------------------------------------------------

    async def start_child(self, cls: type[S], name: str, *args: Any, **kwargs: Any) -> Ref[S]:
        """Start a process through any live node; the ref works whichever node dies."""
        await self.outside.start(cls, name, args, kwargs)
        return self.ref(name, cls)

    async def stop(self, name: str) -> None:
        """End a process for good, through any live node."""
        await self.outside.stop(name)

    def ref(self, name: str, cls: type[S] | None = None) -> Ref[S]:
        """A handle as a client outside of the cluster has it.

        Each call goes through some live node. When that node dies, or knows no answer, it is sent
        again through another one with the same request id.
        """
        return Ref(name, self.outside, cls)

    def owner(self, name: str) -> str:
        """The machine on which the process really runs. Raises ``LookupError`` if not just one."""
        machines = self.running().get(name, [])
        if len(machines) != 1:
            raise LookupError(f"{name!r} runs on {machines or 'no machine'}")
        return machines[0]

    def running(self) -> dict[str, list[str]]:
        """Where each process really runs: name to machines."""
        found: dict[str, list[str]] = {}
        for machine, node in self.live.items():
            for cell in node._supervisor.local():  # noqa: SLF001 - not what it believes: what is
                found.setdefault(cell.name, []).append(machine)
        return found

    # ---- waiting and checking ----------------------------------------------------------------

    async def until(self, condition: Callable[[], Any], timeout: float = QUIET_LIMIT) -> bool:
        """Wait (in virtual time) until the condition holds; False when it does not in time."""
        self.check_inside()
        end = self.loop.time() + timeout
        while not (answer := condition()):
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(0.05)
        if isinstance(answer, Awaitable):
            raise TypeError("the condition is a plain function: what it returns is not awaited")
        return True

    async def settle(self, timeout: float = QUIET_LIMIT) -> None:
        """Wait until the cluster is quiet, then check everything that must hold.

        Quiet: every live node sees just the live nodes, each name runs exactly once, and all
        registries are equal. Raises :class:`Violation` with what is not after ``timeout`` seconds.
        """
        self._check_over()
        await self.until(lambda: self.invariants.found or not self.unrest(), timeout)
        self.check_always()
        problems = self.unrest()
        if problems:
            raise Violation("not quiet", f"{timeout:g} s after", problems)
        self.outside.known_everywhere()
        self.check_always()

    def check(self) -> None:
        """Check everything that must hold when the cluster is quiet. Raises ``Violation``."""
        self._check_over()
        self.invariants.at_rest()
        self.check_always()

    def _check_over(self) -> None:
        """Nothing can be at rest while a fault lasts."""
        machines = self.machines.values()
        stalled = [m.name for m in machines if m.runs and self.loop.is_stalled(m.key)]
        if stalled:
            raise RuntimeError(f"{', '.join(stalled)} stands still: let it go on first")
        if self.network.is_cut:
            raise RuntimeError("the network is cut: heal() it first")

    def check_always(self) -> None:
        """Raise ``Violation`` for what should never have been at any time so far."""
        self.invariants.so_far()

    def unrest(self) -> list[str]:
        """What is not as it should be once all is quiet; empty when it is."""
        return self.invariants.unrest()

    def apart(self) -> list[str]:
        """Pairs of live nodes without a link."""
        return [
            f"{name}-{other.name}"
            for name, node in self.live.items()
            for other in self.live.values()
            if other is not node and other.view.me.boot not in node.cluster_parts.links.boots
        ]


async def _run(story: Callable[[Any], Awaitable[T]], cluster: SimCluster) -> T:
    return await story(cluster)


def _heard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
