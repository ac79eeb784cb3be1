"""What happens in a registry, as a stream of events that a program reads at its own pace.

A watch keeps what was joined, not one event for each key, until somebody reads it. One that falls
too far behind loses what it has not read, and is told how much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

LIMIT: Final = 1_000_000
"""Events that may wait to be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that this node cannot read: its type is not declared here, say."""

    data: bytes
    problem: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A process holds a key, or holds it with another value."""

    key: str
    value: Any
    process: str
    node: str


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A process does not hold a key any more, or its node is not there any more."""

    key: str
    process: str
    node: str


@dataclass(frozen=True, slots=True)
class MetaChanged:
    """Metadata has another value; ``deleted``: none (then ``value`` is None)."""

    key: str
    value: Any
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events were lost because nobody read them: look at the registry itself."""

    count: int


Event = Registered | Unregistered | MetaChanged | Missed


class Watch:
    """An asynchronous iterator of events. Close it, or leave its ``with`` block, when done."""

    def __init__(self, on_close: Callable[[Watch], None], limit: int = LIMIT) -> None:
        self._on_close = on_close
        self._limit = limit
        self._waiting: deque[tuple[int, Iterator[Event]]] = deque()
        self._count = 0
        self._missed = 0
        self._current: Iterator[Event] = iter(())
        self._unread = 0
        """How many of the current events have not been read."""
        self._wake: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, count: int, events: Iterator[Event]) -> None:
        """About ``count`` more events; made only when they are read."""
        if self._count + count > self._limit:
            self._missed += self._unread + self._count + count
            self._waiting.clear()
            self._current = iter(())
            self._unread = self._count = 0
        else:
            self._waiting.append((count, events))
            self._count += count
        self._rouse()

    def close(self) -> None:
        """No more events. Idempotent."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return Missed(missed)
            event = next(self._current, None)
            if event is not None:
                self._unread -= 1
                return event
            if self._waiting:
                self._unread, self._current = self._waiting.popleft()
                self._count -= self._unread
            elif self._closed:
                raise StopAsyncIteration
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
