"""A simulated network behind the same seam as the real one.

A blocked path between two machines is silence, as a cut cable is: frames wait (and are delivered
some time after the heal, if the connection was not given up before), packets are gone, dials time
out. A killed OS process is answered for by its machine: its streams are reset and its address
refuses. A machine that lost power is silent; once it is back, it resets what it knows nothing of.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from random import Random

from pyhorde.config import TlsFiles
from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable
from pyhorde.seam import Stream
from pyhorde.testing.conditions import Conditions, Path
from pyhorde.testing.datagrams import Packets, SimDatagrams
from pyhorde.testing.loop import MACHINE, SimLoop
from pyhorde.testing.shapes import Pair
from pyhorde.testing.streams import Ending, SimListener, SimStream

GOOD_LATENCY = 0.1
"""Seconds; a path that takes longer on average is a bad one."""
ASYNCIO_READS, UVLOOP_READS = 1, 32
"""What a connection or a bound address delivers before overdue timers run, in two event loops."""
FIRST_PORT = 32_768
STREAMS_ONLY = 0.25
"""In this share of all seeds a firewall swallows every packet."""


@dataclass(slots=True)
class _Listening:
    machine: str
    key: str
    accept: Callable[[Stream], None]


class SimNetwork:
    """All machines' network, and what can happen to it.

    Faults are counted: two that block the same path must both end before it is clear again.
    """

    def __init__(self, loop: SimLoop, seed: int | str, *, datagrams: bool | None = None) -> None:
        self.loop = loop
        self.draw = Random(f"{seed}/network")
        self.reads = ASYNCIO_READS if self.draw.random() < 0.5 else UVLOOP_READS
        self._usual = Conditions()
        self._special: dict[Pair, list[Conditions]] = {}
        self._paths: dict[Pair, Path] = {}
        self._seed = seed
        self._listening: dict[str, _Listening] = {}
        self._blocked: Counter[Pair] = Counter()
        self._clogged: Counter[str] = Counter()
        self._dark: set[str] = set()
        self._streams: dict[SimStream, None] = {}
        self._ports = 0
        if datagrams is None:
            datagrams = Random(f"{seed}/datagrams").random() >= STREAMS_ONLY
        self.packets = Packets(self, get_through=datagrams)
        loop.on_awake.append(self._awake)

    # ---- faults ---------------------------------------------------------------------------------

    def block(self, pairs: Iterable[Pair]) -> None:
        """Nothing gets from the source to the target of each pair any more."""
        self._blocked.update(pairs)

    def unblock(self, pairs: Iterable[Pair]) -> None:
        """End what one ``block`` began."""
        self._blocked.subtract(pairs)
        self._blocked = +self._blocked
        self._release()

    def block_datagrams(self, pairs: Iterable[Pair]) -> None:
        """A firewall: streams pass, packets from the source to the target of each pair do not."""
        self.packets.block(pairs)

    def unblock_datagrams(self, pairs: Iterable[Pair]) -> None:
        """End what one ``block_datagrams`` began."""
        self.packets.unblock(pairs)

    def clog(self, machine: str) -> None:
        """Nothing gets to or from the machine; it knows nothing of it."""
        self._clogged[machine] += 1

    def unclog(self, machine: str) -> None:
        """End what one ``clog`` began."""
        self._clogged[machine] -= 1
        self._clogged = +self._clogged
        self._release()

    def heal(self) -> None:
        """Every path is clear and as usual; what waited is delivered."""
        self._blocked.clear()
        self._clogged.clear()
        self._special.clear()
        self._paths.clear()
        self.packets.heal()
        self._release()

    def usual(self, conditions: Conditions) -> None:
        """How all paths are that have no conditions of their own."""
        self._usual = conditions
        self._paths.clear()

    def special(self, pair: Pair, conditions: Conditions) -> None:
        """How one path is from now on; of several the latest counts."""
        self._special.setdefault(pair, []).append(conditions)
        self._paths.pop(pair, None)

    def no_longer(self, pair: Pair, conditions: Conditions) -> None:
        """End what one ``special`` began."""
        there = self._special.get(pair, [])
        if conditions in there:
            there.remove(conditions)
        if not there:
            self._special.pop(pair, None)
        self._paths.pop(pair, None)

    def reset(self, one: str, two: str) -> None:
        """Break every connection between two machines: both ends see a reset."""
        for stream in list(self._streams):
            if stream.pair in ((one, two), (two, one)):
                stream.end("reset")

    def silence(self, machine: str) -> None:
        """The machine lost power: nothing to or from it until ``power``."""
        self._dark.add(machine)

    def process_killed(self, machine: str) -> None:
        """The machine's operating system resets its OS process's connections."""
        for address, listening in list(self._listening.items()):
            if listening.machine == machine:
                del self._listening[address]
        for stream in [s for s in self._streams if s.machine == machine]:
            if machine in self._dark:
                stream.lose()
            else:
                stream.transmit(Ending("reset"))
            stream.end("killed")
        self.packets.process_killed(machine)

    def power(self, machine: str) -> None:
        """The machine is back."""
        self._dark.discard(machine)
        self._release()

    def is_dark(self, machine: str) -> bool:
        """Whether the machine has no power."""
        return machine in self._dark

    def passes(self, source: str, target: str) -> bool:
        """Whether a packet would get from source to target now."""
        if self._dark and (source in self._dark or target in self._dark):
            return False
        if self._clogged and (source in self._clogged or target in self._clogged):
            return False
        return (source, target) not in self._blocked

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal as long as nothing about the network changes."""
        blocked = frozenset(self._blocked), self.packets.blocked, frozenset(self._clogged)
        return *blocked, frozenset(self._dark), self._usual, frozenset(self._special)

    @property
    def is_clear(self) -> bool:
        """Whether every path is good. Where packets alone do not pass it is: streams are enough."""
        return not (self.is_cut or self._special) and _is_good(self._usual)

    @property
    def is_cut(self) -> bool:
        """Whether anything does not get through somewhere."""
        return bool(self._blocked or self._clogged)

    def is_good(self, source: str, target: str) -> bool:
        """Whether what is sent on this path arrives at once."""
        return _is_good(self._conditions((source, target)))

    def path(self, source: str, target: str) -> Path:
        """The path as it is now."""
        pair = (source, target)
        path = self._paths.get(pair)
        if path is None:
            rng = Random(f"{self._seed}/path/{source}/{target}/{self.draw.random()}")
            path = self._paths[pair] = Path(self._conditions(pair), rng)
        return path

    def _conditions(self, pair: Pair) -> Conditions:
        return self._special.get(pair, (self._usual,))[-1]

    def _release(self) -> None:
        for stream in list(self._streams):
            stream.release()

    def _awake(self, key: str, rest: bool) -> None:  # noqa: FBT001 - the loop's hook
        for stream in [s for s in self._streams if s.key == key]:
            stream.awake(None if rest else self.reads)
        self.packets.awake(key, None if rest else self.reads)

    # ---- meeting --------------------------------------------------------------------------------

    def forget(self, stream: SimStream) -> None:
        """Nothing can happen to this end any more."""
        self._streams.pop(stream, None)

    def listen(
        self, machine: str, key: str, address: str, accept: Callable[[Stream], None]
    ) -> None:
        if address in self._listening:
            raise ConfigError("bind", f"cannot listen on {address}: it is in use")
        self._listening[address] = _Listening(machine, key, accept)

    def unlisten(self, address: str) -> None:
        self._listening.pop(address, None)

    async def dial(self, machine: str, key: str, address: str, timeout: float) -> Stream:
        there = address.partition(":")[0]
        started = self.loop.time()
        for pair in ((machine, there), (there, machine)):
            if self.passes(*pair):
                await asyncio.sleep(min(timeout, self.path(*pair).delay(64, self.loop.time())))
            left = timeout - (self.loop.time() - started)
            if left <= 0 or not self.passes(*pair):
                await asyncio.sleep(max(0.0, left))
                raise PeerUnreachable(address, f"no answer within {timeout:g} s")
        listening = self._listening.get(address)
        if listening is None:
            raise DialRefused(address, "connection refused")
        self._ports += 1
        near_end = f"{machine}:{FIRST_PORT + self._ports}"
        here = SimStream(self, machine, key, (near_end, address))
        far = SimStream(self, listening.machine, listening.key, (address, near_end))
        here.peer, far.peer = far, here
        self._streams[here] = self._streams[far] = None
        context = copy_context()
        context.run(MACHINE.set, listening.key)
        self.loop.call_soon(listening.accept, far, context=context)
        return here


class MachineNetwork:
    """The network as one machine sees it: a :class:`~pyhorde.seam.Network`."""

    def __init__(self, network: SimNetwork, machine: str, key: str) -> None:
        self._network = network
        self._machine = machine
        self._key = key

    async def listen(
        self,
        address: str,
        accept: Callable[[Stream], None],
        refused: Callable[[str, str, str], None] | None = None,
    ) -> SimListener:
        self._network.listen(self._machine, self._key, address, accept)
        return SimListener(self._network, address)

    async def dial(self, address: str, timeout: float) -> Stream:
        return await self._network.dial(self._machine, self._key, address, timeout)

    async def use_tls(self, files: TlsFiles) -> None:
        raise ConfigError("tls", "a simulated network has no certificates")

    async def datagrams(
        self, address: str, received: Callable[[bytes], None]
    ) -> SimDatagrams | None:
        return self._network.packets.bind(self._machine, self._key, address, received)

    def statistics(self) -> dict[str, int]:
        return {}

    async def aclose(self) -> None:
        pass


def _is_good(c: Conditions) -> bool:
    lossy = c.loss or c.burst_every or c.bandwidth
    return not lossy and c.latency_min + c.latency_mean < GOOD_LATENCY
