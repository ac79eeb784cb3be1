"""What the tests of discovery share: surroundings, and somebody who watches a source."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from typing import Any, Self

from pyhorde.cluster.discovery import Source, Surroundings
from pyhorde.errors import ConfigError, DiscoveryError


class World:
    """The loop's clock, and chance from a seed."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = Random(seed)

    def now(self) -> float:
        return asyncio.get_running_loop().time()


def near(address: str = "10.9.9.9:7411", **changes: Any) -> Surroundings:
    """The surroundings of a node at this address."""
    world: Any = changes.pop("world", None) or World()
    return Surroundings(address=address, world=world, **changes)


class Watcher:
    """Watches one source; an error ends the watch until ``again``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.seen: list[frozenset[str]] = []
        self.error: DiscoveryError | None = None

    async def __aenter__(self) -> Self:
        self.again()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def again(self) -> None:
        self.error = None
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        watching: Any = self._source.watch()
        try:
            async with contextlib.aclosing(watching):
                async for addresses in watching:
                    self.seen.append(addresses)
                    self._changed.set()
        except DiscoveryError as error:
            self.error = error
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition, which depends on what was seen, holds."""
        while not condition():
            assert self._task is not None
            assert not self._task.done(), self.error or self._task.exception()
            await self._changed.wait()
            self._changed.clear()

    async def sees(self, *addresses: str) -> None:
        """Wait until exactly these are the addresses."""
        wanted = frozenset(addresses)
        await self.until(lambda: self.seen and self.seen[-1] == wanted)

    async def fails(self) -> DiscoveryError:
        """Wait until the watch has failed."""
        assert self._task is not None
        await self._task
        assert self.error is not None
        return self.error


def refused(make: Callable[[], Any]) -> ConfigError:
    """The ConfigError that comes of it."""
    try:
        made = make()
    except ConfigError as error:
        return error
    raise AssertionError(f"not refused, but {made!r}")
