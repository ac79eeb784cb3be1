"""A simulated network behind the same seam as the real one.

Streams deliver whole frames in order, with a latency drawn per frame. A cut between two machines is
silence, as a cut cable is: frames wait (and are delivered if the cut heals before the connection is
given up), dials time out. A killed OS process answers for itself: its streams are reset and its
address refuses. A machine that lost power is silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable, StreamClosed
from pyhorde.seam import Stream
from pyhorde.testing.loop import SimLoop


@dataclass(slots=True)
class Conditions:
    """How the network is at the moment. Seconds and probabilities."""

    latency_min: float = 0.0002
    latency_mean: float = 0.0008
    stall_chance: float = 0.0
    """A frame is held up by ``stall_seconds`` with this probability (a lost packet, resent)."""
    stall_seconds: float = 0.2
    give_up: float = 20.0
    """A connection whose frames wait for so long is broken by the operating system."""


@dataclass(slots=True, eq=False)
class _Pipe:
    """One direction of one connection."""

    source: str
    target: str
    inbox: deque[bytes] = field(default_factory=deque)
    waiting: asyncio.Future[None] | None = None
    clear_at: float = 0.0
    broken: str | None = None

    def wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


class SimStream:
    """One end of a simulated connection."""

    def __init__(self, network: SimNetwork, out: _Pipe, into: _Pipe) -> None:
        self._network = network
        self._out = out
        self._in = into

    @property
    def remote(self) -> str:
        return self._out.target

    async def send(self, frame: bytes) -> None:
        if self._out.broken is not None:
            raise StreamClosed(self._out.broken)
        self._network.transmit(self._out, frame)

    async def receive(self) -> bytes:
        while not self._in.inbox:
            if self._in.broken is not None:
                raise StreamClosed(self._in.broken)
            self._in.waiting = asyncio.get_running_loop().create_future()
            await self._in.waiting
        return self._in.inbox.popleft()

    async def close(self, reason: str = "") -> None:
        self._network.shut(self._out, self._in, reason or "closed by the peer")


@dataclass(slots=True)
class _Listening:
    machine: str
    key: str
    accept: Callable[[Stream], Awaitable[None]]


class SimListener:
    """A bound address."""

    def __init__(self, network: SimNetwork, address: str) -> None:
        self._network = network
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    async def close(self) -> None:
        self._network.unlisten(self._address)


class SimNetwork:
    """All machines' network. ``cut`` and ``heal`` are directed pairs of machines."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.conditions = Conditions()
        self._rng = Random(f"{seed}/network")
        self._listening: dict[str, _Listening] = {}
        self._cut: set[tuple[str, str]] = set()
        self._silent: set[str] = set()
        self._pipes: list[tuple[_Pipe, _Pipe]] = []
        self._held: list[tuple[_Pipe, Callable[[], None], float]] = []

    # ---- faults ---------------------------------------------------------------------------------

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from source to target any more."""
        self._cut.add((source, target))

    def heal(self) -> None:
        """Everything gets through again; what waited is delivered."""
        self._cut.clear()
        self._release()

    def silence(self, machine: str) -> None:
        """The machine lost power: nothing to or from it, for ever or until ``power``."""
        self._silent.add(machine)

    def process_killed(self, machine: str) -> None:
        """The machine's operating system resets its OS process's connections."""
        for address, listening in list(self._listening.items()):
            if listening.machine == machine:
                del self._listening[address]
        for out, into in list(self._pipes):
            if machine in (out.source, out.target):
                self._reset(out, into, machine)

    def power(self, machine: str) -> None:
        """The machine is back."""
        self._silent.discard(machine)

    def passes(self, source: str, target: str) -> bool:
        """Whether a packet would get from source to target now."""
        dark = source in self._silent or target in self._silent
        return not dark and (source, target) not in self._cut

    # ---- the wire -------------------------------------------------------------------------------

    def transmit(self, pipe: _Pipe, frame: bytes) -> None:
        """Deliver a frame after a while, in order."""

        def arrive() -> None:
            if pipe.broken is None:
                pipe.inbox.append(frame)
                pipe.wake()

        self._send(pipe, arrive)

    def shut(self, out: _Pipe, into: _Pipe, reason: str) -> None:
        """Close both directions from the side that writes to ``out``."""
        if out.broken is None:
            self._send(out, lambda: self._end(out, reason))
            out_was = out
            self._later(lambda: self._forget(out_was))
        if into.broken is None:
            into.broken = "closed"
            into.wake()

    def _send(self, pipe: _Pipe, arrive: Callable[[], None]) -> None:
        if not self.passes(pipe.source, pipe.target):
            self._held.append((pipe, arrive, self.loop.time()))
            self._later(lambda: self._give_up(pipe), self.conditions.give_up)
            return
        c = self.conditions
        delay = c.latency_min + self._rng.expovariate(1 / c.latency_mean)
        if self._rng.random() < c.stall_chance:
            delay += c.stall_seconds
        pipe.clear_at = max(pipe.clear_at + 1e-9, self.loop.time() + delay)
        self.loop.note("send", pipe.source, pipe.target)
        self.loop._at(pipe.clear_at, "", arrive)  # noqa: SLF001 - the network is part of it

    def _later(self, what: Callable[[], None], seconds: float = 1.0) -> None:
        self.loop._at(self.loop.time() + seconds, "", what)  # noqa: SLF001

    def _release(self) -> None:
        held, self._held = self._held, []
        for pipe, arrive, since in held:
            if pipe.broken is not None:
                continue
            if self.passes(pipe.source, pipe.target):
                self._send(pipe, arrive)
            else:
                self._held.append((pipe, arrive, since))

    def _give_up(self, pipe: _Pipe) -> None:
        oldest = min((since for p, _, since in self._held if p is pipe), default=None)
        if oldest is None or self.loop.time() - oldest < self.conditions.give_up - 1e-6:
            return
        for out, into in list(self._pipes):
            if pipe in (out, into):
                self._end(out, "timed out")
                self._end(into, "timed out")

    def _reset(self, out: _Pipe, into: _Pipe, machine: str) -> None:
        toward = out if out.source == machine else into
        backward = into if toward is out else out
        backward.broken = backward.broken or "reset"
        self._send(toward, lambda: self._end(toward, "reset"))

    def _end(self, pipe: _Pipe, reason: str) -> None:
        if pipe.broken is None:
            pipe.broken = reason
            pipe.wake()
        for out, into in list(self._pipes):
            if pipe is out and into.broken is None:
                into.broken = reason
                into.wake()
            elif pipe is into and out.broken is None:
                out.broken = reason
                out.wake()
        self._forget(pipe)

    def _forget(self, pipe: _Pipe) -> None:
        self._pipes = [pair for pair in self._pipes if pipe not in pair or not _over(pair)]

    # ---- meeting --------------------------------------------------------------------------------

    def listen(
        self, machine: str, key: str, address: str, accept: Callable[[Stream], Awaitable[None]]
    ) -> None:
        if address in self._listening:
            raise ConfigError("bind", f"cannot listen on {address}: it is in use")
        self._listening[address] = _Listening(machine, key, accept)

    def unlisten(self, address: str) -> None:
        self._listening.pop(address, None)

    async def dial(self, machine: str, address: str, timeout: float) -> Stream:
        there = address.partition(":")[0]
        if not (self.passes(machine, there) and self.passes(there, machine)):
            await asyncio.sleep(timeout)
            raise PeerUnreachable(address, f"no answer within {timeout:g} s")
        await asyncio.sleep(2 * self.conditions.latency_mean)
        listening = self._listening.get(address)
        if listening is None:
            raise DialRefused(address, "connection refused")
        forth, back = _Pipe(machine, listening.machine), _Pipe(listening.machine, machine)
        self._pipes.append((forth, back))
        served = listening.accept(SimStream(self, back, forth))
        _ = self.loop.run_as(listening.key, _serve(served))
        return SimStream(self, forth, back)


class MachineNetwork:
    """The network as one machine sees it: a :class:`~pyhorde.seam.Network`."""

    def __init__(self, network: SimNetwork, machine: str, key: str) -> None:
        self._network = network
        self._machine = machine
        self._key = key

    async def listen(
        self, address: str, accept: Callable[[Stream], Awaitable[None]]
    ) -> SimListener:
        self._network.listen(self._machine, self._key, address, accept)
        return SimListener(self._network, address)

    async def dial(self, address: str, timeout: float) -> Stream:
        return await self._network.dial(self._machine, address, timeout)

    async def aclose(self) -> None:
        pass


async def _serve(served: Awaitable[None]) -> None:
    await served


def _over(pair: tuple[_Pipe, _Pipe]) -> bool:
    return pair[0].broken is not None and pair[1].broken is not None
