"""What operators wish of nodes: said through any node, applied by each to itself."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from pyhorde.cluster.member import Status
from pyhorde.config import NodeConfig
from pyhorde.errors import ConfigError, NameNotFound
from pyhorde.runtime import wishes
from pyhorde.runtime.wishes import WISHES, Wishes
from tests.unit.runtime.stage import Clock, Stage, member


class Room(Stage):
    """Node ``a``, whose announcements are noted, among others."""

    def __init__(self, *others: str, members: tuple[str, ...] = (), peers: tuple[str, ...] = ()):
        super().__init__(others=tuple(member(name) for name in others))
        self.world: Any = Clock()
        self.replica.clock = None if not hasattr(self.replica, "clock") else self.replica.clock
        self.parts.config = NodeConfig(name="a", members=members, peers=peers)
        self.parts.world = self.world
        self.names._world = self.world
        self.said: list[dict[str, Any]] = []
        self.cluster.announce = self._announce  # type: ignore[method-assign]
        self.wishes = Wishes(self.parts)

    def _announce(self, **changes: Any) -> None:
        self.said.append(dict(changes))
        changes.pop("cause")
        type(self.cluster).announce(self.cluster, **changes)

    @property
    def cordoned(self) -> bool:
        return self.cluster.view.me.cordoned
