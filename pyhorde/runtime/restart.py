"""Whether and when a process that ended is started again. Pure.

The budget is per process: one that keeps failing is tried again ever more slowly, and its siblings
never notice. It is never given up, because a permanent name must not vanish.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from pyhorde.config import RuntimeConfig

NORMAL_REASONS: Final = ("normal", "shutdown")
FIRST_DELAY: Final = 0.1


def restarts(restart: str, reason: str) -> bool:
    """Whether a process of this restart type is started again after ending for this reason."""
    if restart == "permanent":
        return True
    return restart == "transient" and reason not in NORMAL_REASONS


class RestartBudget:
    """One process's recent restarts."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._times: deque[float] = deque()
        self._streak = 0
        self._last = -math.inf

    def delay(self, now: float) -> float:
        """Record a restart; seconds to wait before it. 0 while within ``max_restarts``.

        Once the budget is spent, only ``max_seconds`` without a failure give it back.
        """
        lived = now - self._last - self._penalty()
        self._last = now
        if lived > self._config.max_seconds:
            self._times.clear()
            self._streak = 0
        while self._times and now - self._times[0] > self._config.max_seconds:
            self._times.popleft()
        if self._streak == 0:
            self._times.append(now)
        if len(self._times) > self._config.max_restarts:
            self._times.clear()
            self._streak = 1
        elif self._streak:
            self._streak += 1
        return self._penalty()

    def _penalty(self) -> float:
        if self._streak == 0:
            return 0.0
        longest = self._config.restart_delay_max
        return min(longest, FIRST_DELAY * 2.0 ** min(self._streak - 1, 30))
