"""What a node remembers of its peers across restarts: a small file in its data directory.

After a total outage every node knows where the others were, whatever it is configured with. The
addresses are tried like configured ones, until ``former_member_ttl`` after they were last seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pyhorde.cluster.member import Status, View
from pyhorde.cluster.membership.plausible import FAR
from pyhorde.config import split_address
from pyhorde.errors import ConfigError
from pyhorde.seam import World

log = logging.getLogger("pyhorde.cluster")

MAX_BYTES: Final = 16 * 1024 * 1024
FORMAT: Final = 1
SOON: Final = 1.0
"""Seconds after a change at which it is written down."""
AGAIN: Final = 3600.0
"""Seconds after which it is written down again, so that nobody who is there counts as long gone."""


class PeersFile:
    """The file of one node; without a directory, nothing is remembered."""

    def __init__(self, directory: str | None, node: str, world: World) -> None:
        self._path = Path(directory) / f"peers-{node}.json" if directory is not None else None
        self._world = world
        self._seen: dict[str, float] = {}
        """Addresses, each with the wall time at which somebody was last seen there."""
        self._timer: asyncio.TimerHandle | None = None
        self._hasty = False
        self.generation = 0
        """The highest generation that this node had."""
        self.look: Callable[[], View] | None = None

    def load(self, ttl: float) -> tuple[str, ...]:
        """The addresses at which somebody was seen in the last ``ttl`` seconds.

        A file that cannot be read is put aside. Raises ``ConfigError`` when the directory cannot
        be used.
        """
        if self._path is None:
            return ()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("rb") as file:
                raw = file.read(MAX_BYTES)
        except FileNotFoundError:
            return ()
        except OSError as error:
            problem = f"cannot use {self._path.parent}: {error.strerror or error}"
            raise ConfigError("data_dir", problem) from None
        try:
            self._read(json.loads(raw))
        except (ValueError, ConfigError, RecursionError) as error:
            self._put_aside(self._path, str(error))
        wall = self._world.wall()
        self._seen = {a: seen for a, seen in self._seen.items() if abs(wall - seen) <= ttl}
        return tuple(self._seen)

    def _put_aside(self, path: Path, problem: str) -> None:
        aside = path.with_suffix(".unreadable")
        try:
            path.replace(aside)
        except OSError as error:
            why = f"{path} is unreadable ({problem}), and cannot be put aside: {error.strerror}"
            raise ConfigError("data_dir", why) from None
        fields = {"file": str(path), "error": problem, "moved_to": str(aside)}
        log.warning("memory_unreadable", extra={"fields": fields})

    def changed(self) -> None:
        """The members changed: write it down soon."""
        if self._path is not None and not self._hasty:
            self._hasty = True
            self._arm(SOON)

    def close(self) -> None:
        """Write it down for the last time. Idempotent."""
        if self._timer is not None:
            self._save()
            self._timer.cancel()
            self._timer = None

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._hasty = False
        self._save()
        self._arm(AGAIN)

    def _read(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        generation, peers = data.get("generation"), data.get("peers")
        if type(generation) is not int or not 0 <= generation < 2**53:
            raise ValueError("it has no generation")
        if not isinstance(peers, dict):
            raise ValueError("it has no peers")
        for address, seen in peers.items():
            split_address(address)
            if not isinstance(seen, int | float) or not abs(seen) < 2**53:
                raise ValueError(f"it does not say when {address} was seen")
        latest = int(self._world.wall() * 1000) + FAR
        if generation > latest:
            raise ValueError(f"its generation is far from what can be: {generation}")
        self.generation, self._seen = generation, peers

    def _save(self) -> None:
        """A disk that does not take it is only logged: the node works without."""
        assert self._path is not None and self.look is not None
        view, wall = self.look(), self._world.wall()
        self.generation = max(self.generation, view.me.generation)
        self._seen.update((member.address, wall) for member in view.others)
        gone = {m.address for m in view.members if m.status is Status.LEFT}
        for address in {view.me.address, *gone - {m.address for m in view.others}}:
            self._seen.pop(address, None)
        data = {"format": FORMAT, "generation": self.generation, "peers": self._seen}
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            fields = {"file": str(self._path), "error": error.strerror or str(error)}
            log.warning("memory_not_saved", extra={"fields": fields})
