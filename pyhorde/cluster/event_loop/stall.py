"""Whether this node stood still for so long that it may have been replaced.

The cluster's timer runs about once every ``sync_interval``, or more often. When it is much later
than that, the node cannot know what happened meanwhile; until it has heard from the others, it is
in doubt.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from pyhorde.cluster.tasks import Tasks

OVERSLEPT: Final = 1.5
"""Seconds by which the timer may be late."""


class StallGuard:
    """Looks at the clock whenever somebody asks, and finds out what was missed."""

    def __init__(
        self,
        now: Callable[[], float],
        interval: float,
        catch_up: Callable[[float], Awaitable[None]],
    ) -> None:
        self._now = now
        self.patience = interval + OVERSLEPT
        """Seconds after which a node that stands still will be in doubt."""
        self._catch_up = catch_up
        self._ran = math.inf
        self._catching: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    def ran(self) -> None:
        """The timer fires."""
        if not self.is_doubtful:
            self._ran = self._now()

    @property
    def is_doubtful(self) -> bool:
        """Whether the node stood still, and does not know yet what happened meanwhile."""
        if self._catching is None and self._now() - self._ran > self.patience:
            self._catching = self._tasks.spawn(self._find_out(), "catch up after a stall")
        return self._catching is not None

    async def sure(self) -> None:
        """Wait until it is not in doubt."""
        if self._catching is not None:
            await asyncio.wait([self._catching])

    async def aclose(self) -> None:
        """Stop finding out. Idempotent."""
        await self._tasks.aclose()

    async def _find_out(self) -> None:
        try:
            await self._catch_up(self._now())
        finally:
            self._ran = self._now()
            self._catching = None
