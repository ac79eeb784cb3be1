"""What every cell of a node shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pyhorde.cluster.transport.codec import Codec
from pyhorde.config import RuntimeConfig


class Owner(Protocol):
    """Whoever supervises the cells."""

    def exited(self, cell: Any, reason: str, error: BaseException | None) -> None:
        """The instance asked to stop, or (with ``error``) crashed."""


class Gate(Protocol):
    """What a process has to pass before it handles a message."""

    @property
    def is_closed(self) -> bool:
        """Whether this node may have been replaced without knowing."""

    async def passed(self, name: str, runs: Callable[[], bool]) -> None:
        """Wait until it is known that the process of this name is still this node's.

        Or until it does not run any more.
        """


@dataclass(slots=True)
class Setting:
    """What every cell of a node shares."""

    node: str
    codec: Codec
    config: RuntimeConfig
    owner: Owner
    gate: Gate | None = None
