"""Nothing is handled by a node that may have been replaced without knowing it.

A node that stood still for long finds what waited for it: calls, casts, timers. Before the first of
them is handled it asks what the others know; then the process goes on, or gives way to the copy
that took its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pyhorde.runtime.parts import Parts

GIVES_WAY: Final = 1.0
"""Seconds at most for a process to be frozen once it is known that another node runs it."""


class OversleptGate:
    """The gate of one node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def is_closed(self) -> bool:
        return self._parts.cluster.stall_guard.is_doubtful

    async def passed(self, name: str, runs: Callable[[], bool]) -> None:
        await self._parts.cluster.stall_guard.sure()
        deadline = self._parts.world.now() + GIVES_WAY
        while runs() and self._is_lost(name) and self._parts.world.now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # until its supervisor has looked at it

    def _is_lost(self, name: str) -> bool:
        owner = self._parts.names.owner(name)
        return owner is not None and owner.boot != self._parts.boot
