"""Who waits for something to change in the cluster, or for others to have confirmed own events."""

from __future__ import annotations

import asyncio


class Waiting:
    """Futures that are woken by events and by time."""

    def __init__(self) -> None:
        self._watchers: dict[asyncio.Future[bool], None] = {}
        self._unconfirmed: dict[asyncio.Future[bool], int] = {}
        """Who waits for confirmations, and of which own event."""

    async def for_change(self, timeout: float) -> bool:
        """Wait for any change; False after ``timeout`` seconds."""
        waiter = self._waiter()
        self._watchers[waiter] = None
        try:
            return await self._within(waiter, timeout)
        finally:
            del self._watchers[waiter]

    async def for_confirmation(self, seq: int, timeout: float) -> bool:
        """Wait until somebody may have confirmed own event ``seq``; False after the time-out."""
        waiter = self._waiter()
        self._unconfirmed[waiter] = seq
        try:
            return await self._within(waiter, timeout)
        finally:
            del self._unconfirmed[waiter]

    def changed(self) -> None:
        """Something changed in what is known."""
        for waiter in self._watchers:
            resolve(waiter, True)

    def confirmed(self, seq: int) -> None:
        """Somebody has confirmed own events up to this one."""
        for waiter, wanted in self._unconfirmed.items():
            if wanted <= seq:
                resolve(waiter, True)

    def all(self) -> None:
        """Everybody has to look again: who is there changed."""
        self.changed()
        for waiter in self._unconfirmed:
            resolve(waiter, True)

    def _waiter(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    async def _within(self, waiter: asyncio.Future[bool], timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, timeout), resolve, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()


def resolve(waiter: asyncio.Future[bool], outcome: bool) -> None:  # noqa: FBT001 - a callback
    """Tell who waits, unless somebody has."""
    if not waiter.done():
        waiter.set_result(outcome)
