"""Packets between simulated machines: each is lost, late or doubled by itself, and nobody is told.

A packet goes by the path of its direction, as frames do, and shares its bandwidth and its bursts.
Nothing is sent again and nothing is held: what a blocked path, a dark machine, an address that
nobody has bound or a full buffer gets is gone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

from pyhorde.testing.loop import MACHINE
from pyhorde.testing.shapes import Pair

if TYPE_CHECKING:
    from pyhorde.testing.network import SimNetwork

LARGEST = 1400
"""Bytes; larger packets vanish on the way."""
BUFFER = 212_992
"""Bytes that wait at most for a machine that stands still."""


class SimDatagrams:
    """An address that one boot of one machine has bound."""

    __slots__ = (
        "_address", "_backlog", "_bound", "_context", "_packets", "_received", "_waiting",
        "key", "machine",
    )  # fmt: skip

    def __init__(
        self,
        packets: Packets,
        machine: str,
        key: str,
        address: str,
        received: Callable[[bytes], None],
    ) -> None:
        self.machine = machine
        self.key = key
        self._packets = packets
        self._address = address
        self._received = received
        self._context: Context = copy_context()
        self._context.run(MACHINE.set, key)
        self._backlog: deque[bytes] = deque()
        """Arrived while the machine stood still."""
        self._waiting = 0
        """Bytes of the backlog."""
        self._bound = True

    def send(self, address: str, data: bytes) -> None:
        if self._bound:
            self._packets.send(self.machine, address, data)

    async def close(self) -> None:
        self.end()
        self._packets.unbind(self._address, self)

    def end(self) -> None:
        """Nothing is delivered any more."""
        self._bound = False

    def arrive(self, data: bytes) -> None:
        """The machine's operating system has the packet."""
        if not self._backlog and not self._packets.network.loop.is_stalled(self.key):
            self._hand_over(data)
        elif self._waiting + len(data) <= BUFFER:
            self._backlog.append(data)
            self._waiting += len(data)

    def awake(self, most: int | None) -> None:
        """The machine goes on: it sees ``most`` of the waiting packets, or all."""
        count = len(self._backlog) if most is None else min(most, len(self._backlog))
        for _ in range(count):
            data = self._backlog.popleft()
            self._waiting -= len(data)
            self._hand_over(data)

    def _hand_over(self, data: bytes) -> None:
        loop = self._packets.network.loop
        loop.mark(len(data))
        loop.call_soon(self._receive, data, context=self._context)

    def _receive(self, data: bytes) -> None:
        if self._bound:
            self._received(data)


class Packets:
    """All machines' packets, and the firewalls that let streams pass only."""

    def __init__(self, network: SimNetwork, *, get_through: bool) -> None:
        self.network = network
        self.get_through = get_through
        """Whether any packet gets through in this network."""
        self._bound: dict[str, SimDatagrams] = {}
        self._blocked: Counter[Pair] = Counter()

    def block(self, pairs: Iterable[Pair]) -> None:
        """No packet gets from the source to the target of each pair any more."""
        self._blocked.update(pairs)

    def unblock(self, pairs: Iterable[Pair]) -> None:
        """End what one ``block`` began."""
        self._blocked.subtract(pairs)
        self._blocked = +self._blocked

    def heal(self) -> None:
        """End every block."""
        self._blocked.clear()

    @property
    def blocked(self) -> frozenset[Pair]:
        """Directions in which packets do not pass though streams may."""
        return frozenset(self._blocked)

    def bind(
        self, machine: str, key: str, address: str, received: Callable[[bytes], None]
    ) -> SimDatagrams | None:
        """Take packets to the address; None when somebody does already."""
        if address in self._bound:
            return None
        bound = self._bound[address] = SimDatagrams(self, machine, key, address, received)
        return bound

    def unbind(self, address: str, bound: SimDatagrams) -> None:
        """Give the address back, if it is still this one's."""
        if self._bound.get(address) is bound:
            del self._bound[address]

    def process_killed(self, machine: str) -> None:
        """Its addresses are free, and what waited for it is gone."""
        for address, bound in list(self._bound.items()):
            if bound.machine == machine:
                bound.end()
                del self._bound[address]

    def awake(self, key: str, most: int | None) -> None:
        """A machine goes on."""
        for bound in list(self._bound.values()):
            if bound.key == key:
                bound.awake(most)

    def send(self, source: str, address: str, data: bytes) -> None:
        """Deliver a packet after a while; or once more, or not at all."""
        network, target = self.network, address.partition(":")[0]
        if (
            not self.get_through
            or len(data) > LARGEST
            or (source, target) in self._blocked
            or not network.passes(source, target)
        ):
            return
        now = network.loop.time()
        for delay in network.path(source, target).packet(len(data), now):
            network.loop.at(now + delay, self._arrive, address, data)

    def _arrive(self, address: str, data: bytes) -> None:
        bound = self._bound.get(address)
        if bound is not None and not self.network.is_dark(bound.machine):
            bound.arrive(data)
