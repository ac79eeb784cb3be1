"""How a network path is: delay, loss, bursts, bandwidth. Seconds, probabilities, bytes.

Frames travel in streams, as they do over TCP: a lost packet is resent, so loss is delay, and order
within a connection holds. Between two connections of one pair of machines nothing is in order.
Packets travel alone, as they do over UDP: a lost one is lost, a late one is overtaken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

RESEND_FIRST = 0.2
"""Seconds until a lost packet is sent again; doubled each time, as TCP does."""
RESEND_MOST = 6


@dataclass(frozen=True, slots=True)
class Conditions:
    """One direction of one path."""

    latency_min: float = 0.0002
    latency_mean: float = 0.0008
    """Mean of the exponential part, on top of the minimum."""
    loss: float = 0.0
    """A packet is lost with this probability (its resent copies too)."""
    burst_every: float = 0.0
    """Mean seconds between bursts, in which everything is lost; 0 for none."""
    burst_for: float = 0.3
    """Mean length of a burst in seconds."""
    bandwidth: float = 0.0
    """Bytes per second; 0 for no limit."""
    duplicate: float = 0.0
    """A packet outside of streams arrives twice with this probability."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1: {getattr(self, name)!r}")
        rest = (self.latency_min, self.latency_mean, self.burst_every, self.burst_for)
        if min(*rest, self.bandwidth) < 0:
            raise ValueError(f"seconds and bytes are not negative: {self!r}")


class Path:
    """The state of one direction between two machines."""

    __slots__ = ("_bursts", "_free_at", "_rng", "conditions")

    def __init__(self, conditions: Conditions, rng: Random) -> None:
        self.conditions = conditions
        self._rng = rng
        self._free_at = 0.0
        self._bursts: deque[tuple[float, float]] = deque()
        """Start and end of each that is not over: resent packets look ahead."""

    def delay(self, size: int, now: float) -> float:
        """Seconds until a frame of ``size`` bytes, sent now, is there."""
        delay = self._latency() + self._queue(size, now)
        if self._is_lossy(now):
            delay += self._resent(now + delay)
        return delay

    def packet(self, size: int, now: float) -> tuple[float, ...]:
        """Seconds until a packet of ``size`` bytes, sent now, is there: none, once or twice."""
        queue = self._queue(size, now)
        delay = self._latency() + queue
        if self._is_lossy(now) and self._loses(now + delay):
            return ()
        duplicate = self.conditions.duplicate
        if duplicate and self._rng.random() < duplicate:
            return delay, self._latency() + queue
        return (delay,)

    def _latency(self) -> float:
        c = self.conditions
        return c.latency_min + (self._rng.expovariate(1 / c.latency_mean) if c.latency_mean else 0)

    def _queue(self, size: int, now: float) -> float:
        """Seconds until everything before it, and it, is through where the way is narrow."""
        bandwidth = self.conditions.bandwidth
        if not bandwidth:
            return 0.0
        self._free_at = max(now, self._free_at) + size / bandwidth
        return self._free_at - now

    def _is_lossy(self, now: float) -> bool:
        """Whether anything can be lost; bursts that are over by now are forgotten."""
        while len(self._bursts) > 1 and self._bursts[0][1] <= now:
            self._bursts.popleft()
        return bool(self.conditions.loss or self.conditions.burst_every)

    def _loses(self, at: float) -> bool:
        return self._in_burst(at) or self._rng.random() < self.conditions.loss

    def _resent(self, sent: float) -> float:
        """Seconds lost because packets were."""
        at, pause = sent, RESEND_FIRST
        for _ in range(RESEND_MOST):
            if not self._loses(at):
                break
            at += pause
            pause *= 2
        return at - sent

    def _in_burst(self, at: float) -> bool:
        c, bursts, draw = self.conditions, self._bursts, self._rng
        if not c.burst_every:
            return False
        while not bursts or bursts[-1][1] <= at:
            start = (bursts[-1][1] if bursts else at) + draw.expovariate(1 / c.burst_every)
            bursts.append((start, start + draw.expovariate(1 / c.burst_for)))
        return any(start <= at < end for start, end in bursts)
