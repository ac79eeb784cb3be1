"""Hybrid logical clock: last-writer-wins order that respects causality under wrong clocks.

A stamp is one integer, ``milliseconds since the epoch << 16 | counter``; a full counter carries
into the milliseconds. Stamps from the far future are kept with their data (refusing data would
leave holes) but not believed, so one bad clock cannot drag the others along.
Source: Kulkarni et al., "Logical physical clocks" (2014).
"""

from __future__ import annotations

COUNTER_BITS = 16


class HybridClock:
    """One replica's clock. ``max_skew`` is in seconds."""

    __slots__ = ("last", "max_skew")

    def __init__(self, max_skew: float = 0.5) -> None:
        self.last = 0
        self.max_skew = max_skew

    def tick(self, wall: float, at_least: int = 0) -> int:
        """A stamp for an event now: above every stamp given or believed, and ``>= at_least``."""
        self.last = max(_physical(wall), self.last + 1)
        if at_least <= self.last:
            return self.last
        if at_least <= _physical(wall + self.max_skew):
            self.last = at_least
        return at_least

    def observe(self, stamp: int, wall: float) -> bool:
        """Take a foreign stamp into account; False when it is too far ahead to be believed."""
        if stamp > _physical(wall + self.max_skew):
            return False
        self.last = max(self.last, stamp)
        return True


def _physical(wall: float) -> int:
    return int(wall * 1000) << COUNTER_BITS
