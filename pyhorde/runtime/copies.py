"""Saved states: every copy that some owner of a name wrote and nobody has taken in yet.

Each boot writes under a key of its own, so the copies of two sides of a split stand side by side
until somebody has read them both; none silently replaces another. Whoever goes on with the process
takes the copies in and then removes exactly what was read: a copy's rank is its writer's own event
number, so one that was written after that read comes back, and is taken in too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pyhorde.crdt import Register, Replica
from pyhorde.runtime.record import STATES, StateRecord, decode_state
from pyhorde.seam import World


class Copy(NamedTuple):
    """One saved state: which boot wrote it, as its how-manieth event, and what it says."""

    boot: str
    rank: int
    record: StateRecord


@dataclass(slots=True)
class _Kept:
    """A register of the table; it is decoded when it is first asked for, if ever."""

    boot: str
    register: Register
    decoded: bool = False
    _copy: Copy | None = None

    @property
    def copy(self) -> Copy | None:
        """What it holds; None when that cannot be read."""
        if not self.decoded:
            record = decode_state(self.register.value or b"")
            self._copy = Copy(self.boot, self.register.rank, record) if record else None
            self.decoded = True
        return self._copy


class Copies:
    """All saved states that this node knows, by name."""

    def __init__(self, replica: Replica, world: World) -> None:
        self._replica = replica
        self._world = world
        self._of: dict[str, dict[str, _Kept]] = {}

    def of(self, name: str, life: int) -> list[Copy]:
        """The copies of a life of this name, the one of the highest (epoch, boot) first."""
        kept = self._of.get(name)
        if not kept:
            return []
        found = [each.copy for each in kept.values()]
        valid = [copy for copy in found if copy is not None and copy.record.life == life]
        return sorted(valid, key=lambda copy: (copy.record.epoch, copy.boot), reverse=True)

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
        kept = self._of.setdefault(name, {})
        if register is not None and not register.deleted and register.value:
            kept[boot] = _Kept(boot, register)
        else:
            kept.pop(boot, None)
        if not kept:
            del self._of[name]
