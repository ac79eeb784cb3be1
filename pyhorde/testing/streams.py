"""The ends of simulated connections: frames in order, or silence, or a reset."""

from __future__ import annotations

from collections import deque
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyhorde.cluster.transport.framing import MAX_SEALED_BYTES, MAX_UNTRUSTED_BYTES
from pyhorde.seam import StreamOwner
from pyhorde.testing.loop import MACHINE
from pyhorde.testing.shapes import Pair

if TYPE_CHECKING:
    from pyhorde.testing.network import SimNetwork

GIVE_UP = 20.0
"""A connection whose frames wait for so many seconds is broken by the operating system."""
RETRY_MOST = 10.0
"""A connection that was cut off notices the heal after at most so many seconds."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The last thing that travels in one direction of a connection."""

    reason: str


class SimStream:
    """One end of a simulated connection."""

    __slots__ = (
        "_backlog", "_clear_at", "_confirmed_at", "_context", "_early", "_held", "_is_paused",
        "_limit", "_network", "_over", "_owner", "_told", "_unconfirmed", "ends", "key", "machine",
        "peer",
    )  # fmt: skip

    peer: SimStream

    def __init__(
        self, network: SimNetwork, machine: str, key: str, ends: tuple[str, str] = ("", "")
    ) -> None:
        self.machine = machine
        self.key = key
        self.ends = ends
        self._network = network
        self._owner: StreamOwner | None = None
        self._context: Context = copy_context()
        self._context.run(MACHINE.set, key)
        self._early: list[bytes] = []
        """Seen before there was an owner, or while it does not read."""
        self._is_paused = False
        self._limit = MAX_UNTRUSTED_BYTES
        self._backlog: deque[bytes | Ending] = deque()
        """Arrived while the machine stood still."""
        self._held: deque[tuple[bytes | Ending, float]] = deque()
        """Sent into silence, with when."""
        self._over: str | None = None
        self._told = False
        """Whether the owner knows of the end, or does not have to be told."""
        self._clear_at = 0.0
        self._confirmed_at = network.loop.time()
        self._unconfirmed = False
        """Whether something arrived whose confirmation is on no way back."""

    @property
    def remote(self) -> str:
        return self.peer.machine

    @property
    def is_sealed(self) -> bool:
        return False

    @property
    def writable(self) -> bool:
        return self._over is None

    @property
    def over(self) -> bool:
        """Whether this end is closed or broken."""
        return self._over is not None

    @property
    def pair(self) -> Pair:
        """The direction in which this end sends."""
        return self.machine, self.peer.machine

    def attach(self, owner: StreamOwner) -> None:
        self._owner = owner
        self._deliver()

    def trust(self) -> None:
        self._limit = MAX_SEALED_BYTES

    def send(self, frame: bytes) -> None:
        if self._over is None:
            self.transmit(frame)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._early or (self._over is not None and not self._told):
            self._network.loop.call_soon(self._deliver, context=self._context)

    def close(self) -> None:
        self._told = True
        if self._over is None:
            self.transmit(Ending("closed by the peer"))
            self.end("closed")

    def host_silence(self) -> float | None:
        if self._over is not None:
            return None
        return self._network.loop.time() - self._confirmed_at

    def _deliver(self) -> None:
        """Hand to the owner what has been seen; the end comes after all of it."""
        if self._owner is None or self._is_paused:
            return
        if self._early and not self._told:
            early, self._early = self._early, []
            if self._limit == MAX_UNTRUSTED_BYTES:
                early, self._early = early[:1], early[1:]
                self._is_paused = True
            if max(map(len, early)) > self._limit:
                self._early.clear()
                self._is_paused = False
                self.transmit(Ending("reset"))
                self.end("a frame that is too large")
            else:
                self._owner.frames_received(early)
        if self._is_paused:
            return
        if self._over is not None and not self._told and not self._early:
            self._told = True
            self._owner.stream_closed(self._over)

    def end(self, reason: str) -> None:
        """This end is over; whoever waits at it learns the reason."""
        if self._over is None:
            self._over = reason
            self._forget()
            if not self._told:
                self._network.loop.call_soon(self._deliver, context=self._context)

    def _forget(self) -> None:
        """Let go of an end to which nothing can happen any more."""
        if self._over is not None and not self._held:
            self._network.forget(self)

    # ---- on the way --------------------------------------------------------------------------

    def transmit(self, item: bytes | Ending) -> None:
        """Deliver after a while, in order; or hold it as long as the way is blocked."""
        network = self._network
        now = network.loop.time()
        if self._held or not network.passes(*self.pair):
            self._held.append((item, now))
            network.loop.at(now + GIVE_UP, self._give_up)
            return
        size = len(item) if isinstance(item, bytes) else 0
        self._travel(item, network.path(*self.pair).delay(size, now))

    def _travel(self, item: bytes | Ending, delay: float) -> None:
        loop = self._network.loop
        self._clear_at = max(self._clear_at + 1e-9, loop.time() + delay)
        loop.at(self._clear_at, self.peer.arrive, item)

    def arrive(self, item: bytes | Ending) -> None:
        """The operating system of this end's machine has the item."""
        network = self._network
        if network.is_dark(self.machine):
            return
        if self._over is not None or network.loop.is_dead(self.key):
            if isinstance(item, bytes) and not self.peer.over:
                self.transmit(Ending("reset"))  # nobody is there any more
            return
        self.peer.confirm()
        if self._backlog or network.loop.is_stalled(self.key):
            self._backlog.append(item)
        else:
            self._see(item)

    def _see(self, item: bytes | Ending) -> None:
        """The process of this end's machine gets the item."""
        if isinstance(item, bytes):
            self._network.loop.mark(len(item))
            if self._over is None:
                self._early.append(item)
                if len(self._early) == 1:
                    self._network.loop.call_soon(self._deliver, context=self._context)
        else:
            self.end(item.reason)

    def confirm(self) -> None:
        """The other machine's operating system has all that arrived, and says so if it can."""
        self._unconfirmed = not self._network.passes(self.peer.machine, self.machine)
        if not self._unconfirmed:
            self._confirmed_at = self._network.loop.time()

    def awake(self, most: int | None) -> None:
        """The machine goes on: it sees ``most`` of the waiting frames, or all."""
        count = len(self._backlog) if most is None else min(most, len(self._backlog))
        for _ in range(count):
            self._see(self._backlog.popleft())

    def release(self) -> None:
        """The way is clear again: what was held goes on at the next attempt to resend it."""
        network = self._network
        if not network.passes(*self.pair):
            return
        if self._unconfirmed and not network.loop.is_dead(self.peer.key):
            self.confirm()
        if not self._held:
            return
        now = network.loop.time()
        waited = min(RETRY_MOST, now - self._held[0][1])
        retry = network.draw.uniform(0, waited)
        held, self._held = self._held, deque()
        for item, _ in held:
            self._travel(item, retry + network.path(*self.pair).delay(0, now))
        self._forget()

    def lose(self) -> None:
        """What was held is gone."""
        self._held.clear()

    def _give_up(self) -> None:
        loop = self._network.loop
        if self._held and loop.time() - self._held[0][1] >= GIVE_UP - 1e-6:
            self.lose()
            self.end("timed out")
            self._forget()


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
