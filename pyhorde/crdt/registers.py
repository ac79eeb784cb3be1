"""Tables of last-writer-wins registers, and which of them are deletions.

A register's place in the order is ``(rank, stamp, writer)``. The event that carries it is its
transport only: any origin may carry a register on in place of one that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pyhorde.crdt.delta import HASH_BYTES, Name, RegisterRow, hash_of
from pyhorde.crdt.dots import Dot, Origin, Vector

MASK: Final = (1 << 8 * HASH_BYTES) - 1
MIX: Final = 0x9E3779B97F4A7C15
"""An odd number that spreads differences over all bits (Knuth's multiplicative hashing)."""


class Register(NamedTuple):
    """A register's current value, its order, and the event that carries it.

    When ``deleted``, ``value`` is a note that its deletion left.
    """

    rank: int
    stamp: int
    writer: Origin
    dot: Dot
    value: bytes
    deleted: bool = False

    @property
    def order(self) -> tuple[int, int, Origin]:
        return self.rank, self.stamp, self.writer

    def row(self, name: Name, dot: Dot | None = None) -> RegisterRow:
        """As it travels; ``dot``: as an event that carries it, too."""
        rank, stamp, writer, (origin, seq), value, deleted = self._replace(dot=dot or self.dot)
        return RegisterRow(*name, rank, stamp, writer, origin, seq, value, deleted)


class Stable(NamedTuple):
    """Events that everybody who counts has seen.

    ``heeding``: each of them, with an event of its own after which it had.
    """

    events: dict[Origin, int]
    heeding: dict[Origin, int]


class Registers:
    """All registers of one replica."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Register]] = {}
        self.deleted: dict[Name, None] = {}
        """Registers that are deletions, the oldest here first."""
        self.digest = 0
        """Equal for equal contents, whatever carries them; deletions count for nothing."""
        self.forgotten: dict[str, tuple[int, int]] = {}
        """The greatest rank and stamp of a forgotten deletion in each table."""
        self.heeding: dict[Origin, int] = {}
        """Later events than these, of these origins, heed every deletion known to be forgotten."""
        self._also: dict[Name, set[Dot]] = {}

    def __len__(self) -> int:
        """How many there are, deletions included."""
        return sum(map(len, self._tables.values()))

    def get(self, table: str, key: str) -> Register | None:
        """The register, deleted or not."""
        rows = self._tables.get(table)
        return rows.get(key) if rows is not None else None

    def carriers(self, name: Name) -> set[Dot]:
        """All events that carry the current value."""
        register = self.get(*name)
        return {register.dot, *self._also.get(name, ())} if register is not None else set()

    def carry(self, name: Name, dots: set[Dot]) -> None:
        """These events carry the current value."""
        table, key = name
        last = max(dots)
        rows = self._tables[table]
        rows[key] = rows[key]._replace(dot=last)
        if len(dots) > 1:
            self._also[name] = dots
        else:
            self._also.pop(name, None)

    def table(self, table: str) -> Mapping[str, Register]:
        """All registers of a table, deletions included."""
        return self._tables.get(table, {})

    def names(self) -> Iterator[Name]:
        """Every register."""
        for table, rows in self._tables.items():
            for key in rows:
                yield table, key

    def set(self, name: Name, new: Register) -> None:
        """Put a value in place of whatever is there."""
        table, key = name
        rows = self._tables.setdefault(table, {})
        self._count(name, rows.get(key), new)
        rows[key] = new
        self._also.pop(name, None)
        if new.deleted:
            self.deleted[name] = None
        else:
            self.deleted.pop(name, None)

    def remove(self, name: Name) -> Register:
        """Take a register out without a trace."""
        table, key = name
        self.deleted.pop(name, None)
        self._also.pop(name, None)
        gone = self._tables[table].pop(key)
        self._count(name, gone, None)
        return gone

    def _count(self, name: Name, old: Register | None, new: Register | None) -> None:
        known = hash_of(name)
        if old is not None and not old.deleted:
            self.digest ^= _mixed(known, old.stamp)
        if new is not None and not new.deleted:
            self.digest ^= _mixed(known, new.stamp)

    def forget(self, name: Name) -> Register:
        """Take a deletion out; what :meth:`is_doubtful` says afterwards remembers its order."""
        gone = self.remove(name)
        self.doubt(name[0], (gone.rank, gone.stamp))
        return gone

    def doubt(self, table: str, forgotten: tuple[int, int]) -> None:
        """Note that a deletion of this rank and stamp has been forgotten, here or elsewhere."""
        self.forgotten[table] = max(self.forgotten.get(table, forgotten), forgotten)

    def heed(self, heeding: Vector, *, all_of_them: bool) -> None:
        """Later events than these heed some forgotten deletions, or ``all_of_them``."""
        if all_of_them:
            self.heeding = dict(heeding)
        else:
            both = self.heeding.keys() & heeding.keys()
            self.heeding = {origin: max(self.heeding[origin], heeding[origin]) for origin in both}

    def is_doubtful(self, table: str, register: Register) -> bool:
        """Whether a deletion that has been forgotten might have come after it."""
        rank, stamp, _, (origin, seq), _, _ = register
        forgotten = self.forgotten.get(table)
        if forgotten is None or (rank, stamp) > forgotten:
            return False
        return seq <= self.heeding.get(origin, seq)


def _mixed(known: int, stamp: int) -> int:
    """A register's part in the digest."""
    return (known + stamp) * MIX & MASK
