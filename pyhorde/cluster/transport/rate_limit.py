"""How often something that strangers cause may be told. Pure."""

from __future__ import annotations

from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two lines of one kind about one address."""
BURST: Final = 20
"""Lines of one kind within ``INTERVAL``, about whatever addresses."""


class RateLimit:
    """Lets through one line an ``INTERVAL`` for each kind and address, and counts the others.

    At most ``BURST`` lines of a kind get through in an ``INTERVAL``, so that many addresses are not
    worth more than some. What is kept of a kind is bounded by that too.
    """

    def __init__(self, interval: float = INTERVAL, burst: int = BURST) -> None:
        self._interval = interval
        self._burst = burst
        self._kinds: dict[str, _Kind] = {}

    def allow(self, kind: str, address: str, now: float) -> tuple[bool, int]:
        """Whether to tell it, and how many of this kind were not told since the last that was.

        ``kind`` is one of the program's own words. ``address`` is who caused it: a host without its
        port, which is another one each time. ``now`` is in seconds and never goes back.
        """
        seen = self._kinds.setdefault(kind, _Kind())
        seen.expire(now - self._interval)
        if address in seen.told or len(seen.told) >= self._burst:
            seen.suppressed += 1
            return False, seen.suppressed
        seen.told[address] = now
        suppressed, seen.suppressed = seen.suppressed, 0
        return True, suppressed


class _Kind:
    """What was told of one kind within the last interval."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        """When each address was, the oldest first."""
        self.suppressed = 0

    def expire(self, until: float) -> None:
        while self.told:
            oldest = next(iter(self.told))
            if self.told[oldest] > until:
                return
            del self.told[oldest]
