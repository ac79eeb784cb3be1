"""A process that does what no process should: it keeps the event loop of its node from running."""

from __future__ import annotations

import time

from pyhorde import Process, call


class Blocker(Process):
    """Counts calls, and blocks when it is told to."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state: int = 0

    @call
    async def count(self) -> int:
        """One more."""
        self.state += 1
        return self.state

    @call
    async def counted(self) -> int:
        """How many they were."""
        return self.state

    @call
    async def sleep_through(self, seconds: float) -> str:
        """Block in a system call."""
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point
        return "awake"

    @call
    async def burn_through(self, seconds: float) -> str:
        """Block in pure Python."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return "burnt"
