"""Secrets and certificates that are replaced while a node runs: read again when their files change.

The files are looked at every two seconds, and at SIGHUP. What is good is used from then on; what is
not is logged, and the node goes on with what it had.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyhorde.errors import ConfigError
from pyhorde.settings import Settings, read_secrets

if TYPE_CHECKING:
    from pyhorde.node import Node

LOOK: Final = 2.0
"""Seconds between two looks."""

log = logging.getLogger("pyhorde.node")


class Watched:
    """Some files that belong together, and how they were when somebody looked last."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._now()

    def has_changed(self) -> bool:
        """Whether one of them is another one than at the last look; links are followed."""
        before, self._seen = self._seen, self._now()
        return self._seen != before

    def _now(self) -> tuple[Any, ...]:
        return tuple(map(_signature, self._paths))


def _signature(path: str | Path) -> Any:
    try:
        found = Path(path).stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


class Reloader:
    """Reads the files of one node again."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self._node = node
        self._secrets = settings.secret_files
        self._tls = settings.config.tls
        files = (self._tls.cert, self._tls.key, self._tls.ca) if self._tls is not None else ()
        self._watched_secrets = Watched(self._secrets)
        self._watched_tls = Watched(files)
        self._now = asyncio.Event()

    def hurry(self) -> None:
        """Read everything again, changed or not."""
        self._now.set()

    async def run(self) -> None:
        """Look for ever."""
        while self._secrets or self._tls is not None:
            try:
                async with asyncio.timeout(LOOK):
                    await self._now.wait()
            except TimeoutError:
                pass
            forced = self._now.is_set()
            self._now.clear()
            await self.look(forced=forced)

    async def look(self, *, forced: bool = False) -> None:
        """Use what has changed; ``forced``: everything."""
        if (self._watched_secrets.has_changed() or forced) and self._secrets:
            self._try("secrets", self._use_secrets)
        if (self._watched_tls.has_changed() or forced) and self._tls is not None:
            files = self._tls
            try:
                await self._node.use_tls(files)
                log.info("tls_reloaded", extra={"fields": {"certificate": files.cert}})
            except ConfigError as error:
                self._failed("certificates", error)

    def _use_secrets(self) -> None:
        secrets = read_secrets(self._secrets)
        if self._node.use_secrets(secrets):
            log.info("secrets_reloaded", extra={"fields": {"secrets": len(secrets)}})

    def _try(self, what: str, use: Callable[[], None]) -> None:
        try:
            use()
        except ConfigError as error:
            self._failed(what, error)

    def _failed(self, what: str, error: ConfigError) -> None:
        fields = {"what": what, "error": str(error), "next": "the former ones stay in use"}
        log.error("reload_failed", extra={"fields": fields})
