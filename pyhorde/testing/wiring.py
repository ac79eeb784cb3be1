"""Whom the nodes of a simulated cluster are told of, how they find others, what they remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyhorde.cluster.discovery.source import Source

PORT: Final = 7411


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the nodes know of each other when they start; without it, all are told of all."""

    peers: Mapping[str, Iterable[str]] | None = None
    """Which machines each one is told of; who is not in it is told of none."""
    discovery: Callable[[str], Iterable[Source]] | None = None
    """Gives a machine's node its sources of addresses, new ones for each boot."""
    data_dir: Path | None = None
    """Below it each machine has a directory that outlives its boots."""

    def settings(self, machine: str, machines: Iterable[str]) -> dict[str, Any]:
        """The part of a node's settings that this is about. Addresses are on the usual port."""
        told = machines if self.peers is None else self.peers.get(machine, ())
        # Beside URLs, a node takes sources as they are.
        sources = self.discovery(machine) if self.discovery is not None else ()
        return {
            "peers": tuple(f"{other}:{PORT}" for other in told),
            "discovery": tuple(sources),
            "data_dir": str(self.data_dir / machine) if self.data_dir is not None else None,
        }
