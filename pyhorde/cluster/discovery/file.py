"""``file:///path/to/peers``: one address per line, looked at every second."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Self

from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.errors import DiscoveryError

POLL: Final = 1.0
"""Seconds between two looks."""
MAX_BYTES: Final = 1024 * 1024


class File:
    """A file with addresses; what follows a ``#`` is a comment.

    Read again when its time, size or identity has changed, and once more a second later: a write
    may have been under way, and two may come within one tick of the file system's clock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def at(cls, location: Location, _: Surroundings) -> Self:
        location.allow()
        if not location.body.startswith("/"):
            raise location.wrong(
                f"{location.body!r} is no absolute path", "for example file:///etc/pyhorde/peers"
            )
        return cls(Path(location.body))

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        seen: tuple[int, ...] = ()
        settled = False
        while True:
            mark = self._mark()
            if mark != seen or not settled:
                settled = mark == seen
                seen = mark
                yield self._read()
            await asyncio.sleep(POLL)

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        if not stat.S_ISREG(found.st_mode):
            raise DiscoveryError(
                self._url, "it is no file", "name a file with one address per line", POLL
            )
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> frozenset[str]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(raw) > MAX_BYTES:
            problem = f"it is larger than {MAX_BYTES} bytes"
            raise DiscoveryError(self._url, problem, "one address per line is enough", POLL)
        lines = (
            line.partition("#")[0].strip() for line in raw.decode(errors="replace").split("\n")
        )
        return frozenset(line for line in lines if line)

    def _unreadable(self, error: OSError) -> DiscoveryError:
        hint = "write one address per line into it; until then the last list counts"
        return DiscoveryError(self._url, error.strerror or str(error), hint, POLL)

    @property
    def _url(self) -> str:
        return f"file://{self._path}"
