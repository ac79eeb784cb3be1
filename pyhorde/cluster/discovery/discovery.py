"""All sources of one node at once: each is watched, tried again after an error, and counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pyhorde.cluster.discovery.schemes import source
from pyhorde.cluster.discovery.sieve import Sieve
from pyhorde.cluster.discovery.source import Source, Surroundings
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import DiscoveryError
from pyhorde.seam import World

log = logging.getLogger("pyhorde.discovery")

Found = Callable[[str, frozenset[str]], None]

PAUSE_MIN: Final = 1.0
"""First pause, in seconds, before a source that failed is tried again; doubles each time."""
PAUSE_MAX: Final = 30.0
"""Longest pause. A source that has worked for so long begins again with the first one."""
RETRY_MAX: Final = 300.0
"""Longest pause that a source may ask for itself."""
_TEXTS: Final = 100
"""So many distinct errors of a source are logged."""


@dataclass(slots=True)
class Figures:
    """How one source does."""

    addresses: int = 0
    """Addresses known from it; after an error those from before it."""
    errors: int = 0
    refused: int = 0
    """Addresses from it that were none, as often as they came."""
    last_error: str = ""
    """Why it does not work; empty while it does."""


class Discovery:
    """Watches all sources; ``found`` is told the name and all addresses of one that has changed.

    A source that fails keeps the addresses it gave last. Raises
    :class:`~pyhorde.errors.ConfigError` for a URL that is none.
    """

    def __init__(
        self, sources: Iterable[str | Source], surroundings: Surroundings, found: Found
    ) -> None:
        self._feeds: dict[str, _Feed] = {}
        self._tasks = Tasks()
        for given in sources:
            if isinstance(given, str):
                name, each = given, source(given, surroundings)
            else:
                name, each = f"{type(given).__name__}-{len(self._feeds)}", given
            self._feeds.setdefault(name, _Feed(name, each, surroundings.world, found))

    @property
    def figures(self) -> Mapping[str, Figures]:
        """How each source does, by its name: its URL, if it has one."""
        return {name: feed.figures for name, feed in self._feeds.items()}

    async def start(self) -> None:
        """Begin to watch. The first answers may come after this returns."""
        for name, feed in self._feeds.items():
            if not feed.started:
                feed.started = True
                _ = self._tasks.spawn(feed.run(), f"discovery:{name}")

    async def first(self, timeout: float) -> bool:
        """Wait until every source has answered or failed once; False after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                for feed in self._feeds.values():
                    await feed.heard.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        """Stop watching. Idempotent."""
        await self._tasks.aclose()


class _Feed:
    """One source, tried again and again."""

    def __init__(self, name: str, source: Source, world: World, found: Found) -> None:
        self.started = False
        self.heard = asyncio.Event()
        self.figures = Figures()
        self._name = name
        self._source = source
        self._world = world
        self._found = found
        self._sieve = Sieve(name)
        self._known: frozenset[str] | None = None
        self._well_since: float | None = None
        self._pause = 0.0
        self._said: set[str] = set()

    async def run(self) -> None:
        """Watch until it has said its last word."""
        while True:
            self._well_since = None
            try:
                await self._follow()
            except DiscoveryError as error:
                pause = self._failed(error)
            except Exception as error:  # noqa: BLE001 - somebody else's plug-in may raise anything
                problem = f"{type(error).__name__}: {error}"
                wrong = DiscoveryError(self._name, problem, "the source itself is at fault")
                pause = self._failed(wrong, error)
            else:
                self.heard.set()
                return
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        watching = self._source.watch()
        try:
            async for given in watching:
                self._take(self._sieve.sift(given))
        finally:
            if close := getattr(watching, "aclose", None):
                await close()

    def _take(self, addresses: frozenset[str]) -> None:
        figures = self.figures
        figures.refused = self._sieve.refused
        if addresses != self._known:
            self._found(self._name, addresses)
            self._known = addresses
            figures.addresses = len(addresses)
        if self._well_since is None:
            self._well_since = self._world.now()
        if figures.last_error:
            figures.last_error = ""
            log.info("discovery_recovered", extra={"fields": {"source": self._name}})
        self.heard.set()

    def _failed(self, error: DiscoveryError, cause: Exception | None = None) -> float:
        """Seconds to wait before the next attempt."""
        if self._well_since is not None and self._world.now() - self._well_since >= PAUSE_MAX:
            self._pause = 0.0
            self._said.clear()
        self.figures.errors += 1
        self.figures.last_error = text = str(error)
        if text not in self._said and len(self._said) < _TEXTS:
            self._said.add(text)
            fields = {"source": self._name, "error": text}
            log.warning("discovery_failed", extra={"fields": fields}, exc_info=cause)
        self.heard.set()
        if error.retry_after is not None:
            wished = min(RETRY_MAX, max(PAUSE_MIN, error.retry_after))
            return wished * self._world.rng.uniform(1.0, 1.25)
        self._pause = min(PAUSE_MAX, max(PAUSE_MIN, self._pause * 2))
        return self._pause * self._world.rng.uniform(0.75, 1.25)
