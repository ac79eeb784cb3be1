"""TCP as far as it matters to membership: order, repetition, confirmation.

What is not confirmed within 200 ms is sent again, all of it at once, then after 400 ms more, and so
on. Whatever arrives is confirmed at once; what is sent the other way carries that too, first time
or again. Each of these gets lost like a packet. After a time-out nothing new leaves until something
is confirmed. There is no other repetition than that, which is worse than the real thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

RTO = 0.2
RTO_MAX = 120.0
"""The longest pause; with Linux 6.15 and later a node makes it 2 seconds."""
LINEAR = 6
"""So many pauses do not double: ``TCP_THIN_LINEAR_TIMEOUTS``."""
DEAF_AFTER = 8.0
"""A node breaks a stream that repeats itself and has heard nothing for so many seconds."""


class Network(Protocol):
    """What lies between two ends."""

    now: float

    def at(self, when: float, handle: Callable[..., None], *arguments: Any) -> None:
        """Let this happen then."""

    def carry(self, handle: Callable[..., None], *arguments: Any) -> None:
        """Let this happen once it is across, unless it gets lost."""


class Stream:
    """One direction of a connection, with what both of its ends know."""

    __slots__ = (
        "back",
        "closed",
        "confirmed",
        "deaf",
        "deliver",
        "early",
        "is_reachable",
        "network",
        "opened",
        "outstanding",
        "received",
        "retries",
        "timer",
        "una",
        "waiting",
    )

    def __init__(
        self,
        network: Network,
        is_reachable: Callable[[], bool],
        deliver: Callable[[Any], None],
        deaf: Callable[[], None],
    ) -> None:
        self.network = network
        self.is_reachable = is_reachable
        self.deliver = deliver
        self.deaf = deaf
        """What is done when the other end does not answer any more."""
        self.opened = network.now
        self.back: Stream | None = None
        """The other direction."""
        self.closed = False
        self.outstanding: list[Any] = []
        """What is not confirmed: the first of it has the number ``una``."""
        self.una = 0
        self.waiting: list[Any] = []
        """What has not left yet."""
        self.retries = 0
        """How often the same was sent again in vain."""
        self.timer = math.inf
        self.received = 0
        """How many parts have arrived in order."""
        self.early: dict[int, Any] = {}
        self.confirmed = -math.inf
        """When the far host last confirmed anything."""

    def write(self, message: Any) -> None:
        """Send this, now or as soon as possible."""
        if self.outstanding and self.retries:
            self.waiting.append(message)
            return
        self.outstanding.append(message)
        self._send(self.una + len(self.outstanding) - 1)

    def silence(self) -> float:
        """Seconds since the far host last confirmed something."""
        return self.network.now - self.confirmed

    def _send(self, first: int) -> None:
        if self.timer == math.inf:
            self._wait()
        parts = tuple(self.outstanding[first - self.una :])
        confirmation = self.back.received if self.back is not None else 0
        self.network.carry(self._arrived, first, parts, confirmation)

    def _wait(self) -> None:
        pause = RTO * 2.0 ** max(0, self.retries - LINEAR)
        self.timer = self.network.now + min(RTO_MAX, pause)
        self.network.at(self.timer, self._timed_out, self.timer)

    def _timed_out(self, at: float) -> None:
        if at != self.timer or self.closed:
            return
        if self.retries >= 2 and self.network.now - max(self.opened, self.confirmed) > DEAF_AFTER:
            self.deaf()
            return
        self.retries += 1
        self._wait()
        self._send(self.una)

    def _arrived(self, first: int, parts: tuple[Any, ...], confirmation: int) -> None:
        if self.closed or not self.is_reachable():
            return
        if self.back is not None:
            self.back._confirmed(confirmation)
        for number, part in enumerate(parts, first):
            if number >= self.received:
                self.early[number] = part
        ready = []
        while self.received in self.early:
            ready.append(self.early.pop(self.received))
            self.received += 1
        self.network.carry(self._confirmed, self.received)
        for part in ready:
            self.deliver(part)

    def _confirmed(self, received: int) -> None:
        if self.closed or not self.is_reachable():
            return
        self.confirmed = self.network.now
        if received <= self.una:
            return
        del self.outstanding[: received - self.una]
        self.una, self.retries, self.timer = received, 0, math.inf
        if self.outstanding:
            self._wait()
        if self.waiting:
            first = self.una + len(self.outstanding)
            self.outstanding += self.waiting
            self.waiting.clear()
            self._send(first)
