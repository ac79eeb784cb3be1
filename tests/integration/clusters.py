"""Real nodes on loopback, all in this OS process, and what can be done to them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations, product
from typing import Any, Self

from pyhorde import Node, Process
from pyhorde.cluster.real import RealWorld
from pyhorde.cluster.transport.http import HttpNetwork
from pyhorde.config import MembershipConfig
from pyhorde.errors import PeerUnreachable
from pyhorde.seam import Datagrams, Listener, Stream, StreamOwner
from tests.integration import processes

DEADLINE = 30.0
POLL = 0.01
QUICK = MembershipConfig(probe_interval=0.3, probe_timeout=0.15, redial_max=0.5, join_timeout=1.0)
"""Silence is noticed within about two seconds."""


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until the condition (a function, or a coroutine function) holds."""
    end = time.monotonic() + DEADLINE
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return
        assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(POLL)


class Horde:
    """The nodes of one test. Leaving the context stops every one of them at once."""

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {"membership": QUICK, **options}
        self.nodes: dict[str, Node] = {}
        self._made: list[Node] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(node.aclose() for node in self._made))

    def make(self, name: str, **options: Any) -> Node:
        """A node that is not started yet."""
        given = {"bind": "127.0.0.1:0", "processes": processes.ALL, **self.options, **options}
        node = Node(name=name, **given)
        self._made.append(node)
        return node

    async def start(self, name: str, **options: Any) -> Node:
        """A node that has joined: by default through all nodes that are there."""
        options.setdefault("peers", [each.config.bind for each in self.live])
        node = self.make(name, **options)
        await node.start()
        self.nodes[name] = node
        return node

    async def up(self, *names: str, **options: Any) -> tuple[Node, ...]:
        """Nodes of these names that all see each other alive."""
        nodes = tuple([await self.start(name, **options) for name in names])
        await self.all_see(dict.fromkeys(names, "alive"))
        return nodes

    @property
    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.state == "ready"]

    def owner(self, name: str) -> Node:
        """The node that runs the process, as the first live node sees it."""
        child = self.live[0].supervisor.child(name)
        assert child is not None and child.node is not None, f"{name} has no owner"
        return self.nodes[child.node]

    def others(self, node: Node) -> list[Node]:
        return [each for each in self.live if each is not node]

    async def crash(self, node: Node) -> None:
        """Cut its links and close its address, with no word to anybody; then clean up."""
        del self.nodes[node.name]
        await node.cluster_parts.aclose()
        assert node._listener is not None
        await node._listener.close()
        await node.aclose()

    async def all_see(self, states: dict[str, str]) -> None:
        """Wait until every live node believes this of its members."""

        def agreed() -> bool:
            return all(states.items() <= states_in(node).items() for node in self.live)

        await until(agreed, f"every node sees {states}")

    async def converged(self) -> None:
        """Wait until all registries are equal, byte by byte."""

        def equal() -> bool:
            return len({repr(node._replica.snapshot()) for node in self.live}) == 1

        await until(equal, "all registries are equal")

    def running(self) -> Counter[str]:
        """How many processes of each name really run."""
        return Counter(cell.name for node in self.live for cell in node.supervisor.local())


def states_in(node: Node) -> dict[str, str]:
    return {member.name: member.state for member in node.cluster.members()}


def name_at(home: Node, cls: type[Process], prefix: str = "n") -> str:
    """A name that placement puts on this node, among the members it sees now."""
    type_name = home.offers.name_of(cls)
    names = (f"{prefix}{n}" for n in range(10_000))
    return next(name for name in names if home._parts.home(name, type_name) == home.name)


# ---- a network that can be cut -------------------------------------------------------------------


class Wires:
    """Which nodes cannot hear each other."""

    def __init__(self) -> None:
        self._cut: set[frozenset[str]] = set()
        self._streams: set[CuttableStream] = set()
        self.addresses: dict[str, str] = {}

    def world(self, node: str) -> RealWorld:
        """The real world, but for the cuts."""
        world = RealWorld()
        world.network = CuttableNetwork(node, self)
        return world

    def split(self, *sides: set[str]) -> None:
        """From now on nothing passes between nodes of different sides; nobody is told."""
        for one, other in combinations(sides, 2):
            self._cut |= {frozenset(ends) for ends in product(one, other)}
        for stream in self._streams:
            stream.lossy = stream.lossy or self.apart(*stream.wired)

    async def heal(self) -> None:
        """Everything passes again. Connections that lost something are broken for good."""
        self._cut.clear()
        broken = {stream for stream in self._streams if stream.lossy}
        self._streams -= broken
        for stream in broken:
            stream.broken()

    def apart(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._cut

    def opened(self, stream: CuttableStream) -> None:
        self._streams.add(stream)


class CuttableNetwork(HttpNetwork):
    """The network of production; what it dials passes through the wires."""

    def __init__(self, node: str, wires: Wires) -> None:
        super().__init__()
        self._node = node
        self._wires = wires

    async def listen(self, address: str, *told: Any) -> Any:
        listener: Listener = await super().listen(address, *told)
        self._wires.addresses[listener.address] = self._node
        return listener

    async def dial(self, address: str, timeout: float) -> Stream:
        other = self._wires.addresses.get(address, address)
        if self._wires.apart(self._node, other):
            raise PeerUnreachable(address, "no route")
        stream = CuttableStream(await super().dial(address, timeout), (self._node, other))
        self._wires.opened(stream)
        return stream

    async def datagrams(
        self, address: str, received: Callable[[bytes], None]
    ) -> CuttableDatagrams | None:
        real = await super().datagrams(address, received)
        return CuttableDatagrams(real, self._node, self._wires) if real is not None else None


class CuttableDatagrams:
    """Packets sent to the other side of a cut vanish."""

    def __init__(self, real: Datagrams, node: str, wires: Wires) -> None:
        self._real = real
        self._node = node
        self._wires = wires

    def send(self, address: str, data: bytes) -> None:
        if not self._wires.apart(self._node, self._wires.addresses.get(address, address)):
            self._real.send(address, data)

    async def close(self) -> None:
        await self._real.close()


class CuttableStream:
    """The dialler's end of a stream. Once it is lossy, frames of either direction vanish."""

    def __init__(self, stream: Stream, ends: tuple[str, str]) -> None:
        self._stream = stream
        self._owner: StreamOwner
        self.wired = ends
        self.lossy = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def attach(self, owner: StreamOwner) -> None:
        self._owner = owner
        self._stream.attach(self)

    def send(self, frame: bytes) -> None:
        if not self.lossy:
            self._stream.send(frame)

    def host_silence(self) -> float | None:
        return None if self.lossy else self._stream.host_silence()

    def broken(self) -> None:
        self._stream.close()
        self._owner.stream_closed("frames were lost")

    def frames_received(self, frames: Sequence[bytes]) -> None:
        if not self.lossy:
            self._owner.frames_received(frames)

    def stream_closed(self, reason: str) -> None:
        self._owner.stream_closed(reason)

    def resume_writing(self) -> None:
        self._owner.resume_writing()
