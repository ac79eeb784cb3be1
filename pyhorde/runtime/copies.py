"""Saved states: every copy that some owner of a name wrote and nobody has taken in yet.

Each boot writes under a key of its own, so the copies of two sides of a split stand side by side
until somebody has read them both; none silently replaces another. Whoever goes on with the process
takes the copies in and then removes exactly what was read: a copy's rank is its writer's own event
number, so one that was written after that read comes back, and is taken in too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pyhorde.crdt import Replica
from pyhorde.runtime.record import STATES, StateRecord, decode_state
from pyhorde.seam import World


class Copy(NamedTuple):
    """One saved state: which boot wrote it, as its how-manieth event, and what it says."""

    boot: str
    rank: int
    record: StateRecord


class Copies:
    """All saved states that this node knows, by name."""

    def __init__(self, replica: Replica, world: World) -> None:
        self._replica = replica
        self._world = world
        self._of: dict[str, dict[str, Copy]] = {}

    def of(self, name: str, life: int) -> list[Copy]:
        """The copies of a life of this name, the one of the highest (epoch, boot) first."""
        found = [copy for copy in self._of.get(name, {}).values() if copy.record.life == life]
        return sorted(found, key=lambda copy: (copy.record.epoch, copy.boot), reverse=True)

    def save(self, name: str, record: StateRecord) -> None:
        """Write this node's copy."""
        self._put(name, self._replica.origin, record.encode(), self._replica.seq + 1)

    def forget(self, name: str, copies: Iterable[Copy]) -> None:
        """Remove what has been read and taken in (or ended), and nothing newer."""
        for copy in copies:
            self._put(name, copy.boot, None, copy.rank)

    def learned(self, keys: Iterable[str]) -> set[str]:
        """Registers of the table may have changed; returns the names concerned."""
        names = set()
        for key in keys:
            boot, slash, name = key.partition("/")
            if slash and name:
                self._read(name, boot)
                names.add(name)
        return names

    def _put(self, name: str, boot: str, value: bytes | None, rank: int) -> None:
        self._replica.put(STATES, f"{boot}/{name}", value, self._world.wall(), rank)
        self._read(name, boot)

    def _read(self, name: str, boot: str) -> None:
        register = self._replica.register(STATES, f"{boot}/{name}")
        record = decode_state(register.value) if register and register.value else None
        held = self._of.setdefault(name, {})
        if register is not None and record is not None:
            held[boot] = Copy(boot, register.rank, record)
        else:
            held.pop(boot, None)
        if not held:
            del self._of[name]
