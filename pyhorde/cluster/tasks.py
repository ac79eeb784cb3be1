"""Background tasks of one owner: none is lost, and they end in the order in which they began."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("pyhorde.tasks")


class Tasks:
    """A group of tasks. What one of them raises is logged."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], None] = {}

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work in a task."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._done)
        return task

    def __len__(self) -> int:
        return len(self._running)

    async def settled(self, timeout: float | None = None) -> None:
        """Wait until those that run now have ended, or ``timeout`` seconds are over."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=timeout)

    async def aclose(self) -> None:
        """Cancel all and wait for them. Idempotent."""
        running = [task for task in self._running if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and task.exception() is not None:
            fields = {"task": task.get_name()}
            log.error("task_failed", extra={"fields": fields}, exc_info=task.exception())
