"""What a join changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pyhorde.crdt.delta import Name
from pyhorde.crdt.dots import Origin
from pyhorde.crdt.rows import Run, Stored


class Added(NamedTuple):
    """Rows that are new."""

    table: str
    origin: Origin
    run: Run


class Removed(NamedTuple):
    """A row that is gone."""

    table: str
    origin: Origin
    seq: int
    key: str
    stored: Stored


@dataclass(slots=True)
class Joined:
    """Rows that came and went, registers with another value, and what is to be done about it."""

    added: list[Added] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    registers: set[Name] = field(default_factory=set)
    gaps: list[Origin] = field(default_factory=list)
    skewed: int = 0
    wrote: bool = False
    """Whether own events were written, to say again what others must not miss."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.registers)

    @property
    def keys(self) -> set[str]:
        """All keys with other claims than before."""
        return {removed.key for removed in self.removed}.union(*(a.run.keys for a in self.added))

    def of(self, table: str) -> set[str]:
        """Those of one table."""
        gone = {removed.key for removed in self.removed if removed.table == table}
        return gone.union(*(added.run.keys for added in self.added if added.table == table))
