"""What one running instance is lent: its name, its epoch, timers, checkpoints."""

from __future__ import annotations

import asyncio
from typing import Any

from pyhorde.errors import ProcessExited
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.durable import Durable
from pyhorde.runtime.process import Timer
from pyhorde.runtime.ref import Caller, Ref


class Lent:
    """A :class:`~pyhorde.runtime.process.Context` for one instance in one cell."""

    def __init__(self, cell: Cell, durable: Durable, node: Any, caller: Caller) -> None:
        self._cell = cell
        self._durable = durable
        self._node = node
        self._caller = caller
        self._timers: set[asyncio.TimerHandle] = set()
        self._over = False

    @property
    def name(self) -> str:
        return self._cell.name

    @property
    def epoch(self) -> int:
        return self._cell.epoch

    @property
    def node(self) -> Any:
        return self._node

    @property
    def ref(self) -> Ref[Any]:
        return Ref(self._cell.name, self._caller, self._cell.cls)

    async def checkpoint(self) -> None:
        if self._over:
            raise ProcessExited(self._cell.name, "this instance of it is over")
        await self._durable.checkpoint(self._cell)

    def send_after(self, seconds: float, message: Any) -> Timer:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._ring, message)
        if self._over:
            timer.cancel()
        else:
            now = loop.time()
            self._timers = {t for t in self._timers if not t.cancelled() and t.when() > now}
            self._timers.add(timer)
        return timer

    def request_stop(self, reason: str) -> None:
        if not self._over:
            self._cell.request_stop(reason)

    def withdraw(self) -> None:
        """The instance is gone: its timers ring no more."""
        self._over = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _ring(self, message: Any) -> None:
        if not self._over:
            self._cell.info(message)
