"""Where a cell is in its life, and what it has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a cell is in its life; the diagram is in :mod:`pyhorde.runtime.cell`."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    FROZEN = "frozen"
    ENDED = "ended"


@dataclass(slots=True)
class Statistics:
    """What one process has done since it came to this node."""

    handled: int = 0
    failed: int = 0
    restarts: int = 0
    waiting: int = 0
