"""The keys of all registries, as this node knows them, and its own writes.

A registry is one table of the replica. Nothing is kept for each key besides the replica's own
index: who holds a key is read from there when somebody asks. A key is *visible* while the boot that
claims it is a present member. In a registry with unique keys the visible claim of the highest boot
id is the *holder*; in one with duplicate keys all are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from pyhorde.cluster.member import Member, View
from pyhorde.crdt import Dot, Replica
from pyhorde.crdt.claims import SEQ_BITS, SEQ_MASK
from pyhorde.crdt.rows import Rows, Stored, label_of, value_of

UNIQUE: Final = "u:"
DUPLICATE: Final = "d:"
"""What the tables of the two kinds of registries begin with."""
KEPT_NAMES: Final = 10_000
RELEASED_AT_ONCE: Final = 2000
"""Keys of one process that are released in one step."""


class Held(NamedTuple):
    """One claim of a key: for which process (by name), on which node, with which encoded value."""

    key: str
    process: str
    node: str
    value: bytes | None
    dot: Dot


class KeyTable:
    """The keys of one registry."""

    def __init__(self, keys: Keys, table: str) -> None:
        self.table = table
        self._keys = keys
        self._replica = keys.replica
        self._index = keys.replica.index(table)
        self._dots, self._contested = self._index.dots, self._index.contested
        self._sources: dict[int, tuple[str, Rows]] = {}
        """Of each present member, by the number of its log: its name, its rows of this table."""
        self._names: dict[bytes, str] = {}
        """Labels and the names of processes that they are; a cache."""

    # ---- reading -----------------------------------------------------------------------------

    def find(self, key: str) -> tuple[str, str, bytes | None] | None:
        """The process that holds the key, its node, and the key's value: the fast way."""
        dot = self._dots.get(key)
        if dot is None:
            return None
        if self._contested and key in self._contested:
            held = self.holder(key)
            return (held.process, held.node, held.value) if held is not None else None
        source = self._sources.get(dot >> SEQ_BITS)
        if source is None:
            self._refresh()
            source = self._sources.get(dot >> SEQ_BITS)
            if source is None:
                return None
        stored = source[1].stored(dot & SEQ_MASK)
        if stored is None:
            return None
        if isinstance(stored, bytes):
            return self._names.get(stored) or self._name(stored), source[0], None
        return self._names.get(stored[0]) or self._name(stored[0]), source[0], stored[1]

    def _name(self, label: bytes) -> str:
        if len(self._names) >= KEPT_NAMES:
            self._names.clear()
        name = self._names[label] = process_of(label)
        return name

    def _refresh(self) -> None:
        """Members or logs have changed."""
        found = {}
        for index, origin, shelf in self._replica.shelves(self.table):
            member = self._keys.member(origin)
            if member is not None:
                found[index] = member.name, shelf.rows
        self._sources = found

    def review(self) -> None:
        """Other members may be present."""
        self._sources = {}

    def holder(self, key: str) -> Held | None:
        """Who holds the key; of several the one that keeps it."""
        dot = self._dots.get(key)
        if dot is None:
            return None
        if key not in self._contested:
            return self._held(key, dot)
        held = self.holders(key)
        return held[0] if held else None

    def holders(self, key: str) -> list[Held]:
        """All visible claims of the key, the one that keeps it first."""
        found = [self._held(key, dot) for dot in self._index.of(key)]
        held = [each for each in found if each is not None]
        return sorted(held, key=lambda each: each.dot, reverse=True) if len(held) > 1 else held

    def all(self) -> Iterator[Held]:
        """Every visible claim, in no particular order."""
        for _, origin, shelf in self._replica.shelves(self.table):
            member = self._keys.member(origin)
            if member is not None:
                for run in shelf.rows.runs(0, self._replica.known(origin)):
                    for seq, key, stored in zip(run.seqs, run.keys, run.stored, strict=True):
                        value, dot = value_of(stored), Dot(origin, seq)
                        yield Held(key, process_of(stored), member.name, value, dot)

    def count(self) -> int:
        """How many visible claims there are; of a contested unique key only one counts."""
        shelves = self._replica.shelves(self.table)
        rows = sum(shelf.rows.count for _, origin, shelf in shelves if self._keys.member(origin))
        if self.table.startswith(DUPLICATE):
            return rows
        return rows - sum(max(0, len(self.holders(key)) - 1) for key in self._index.contested)

    def of_process(self, boot: str, process: str) -> list[Held]:
        """What this boot claims for one process, oldest first."""
        member = self._keys.member(boot)
        found = self._replica.labelled(boot, self.table, process.encode())
        node = member.name if member is not None else ""
        return [Held(claim.key, process, node, claim.value, claim.dot) for claim in found]

    def contested(self) -> list[str]:
        """Keys with several claims, visible or not."""
        return list(self._index.contested)

    def are_free(self, keys: Iterable[str]) -> bool:
        """Whether nobody claims any of them."""
        return self._index.are_free(keys)

    def has(self, key: str) -> bool:
        """Whether anybody claims the key, visibly or not."""
        return key in self._index.dots

    def contested_among(self, keys: Iterable[str]) -> list[str]:
        """Which of these have several claims."""
        contested = self._index.contested
        return [key for key in keys if key in contested] if contested else []

    def which_live(self, seqs: Iterable[int]) -> bytes:
        """For each of these own events whether its claim is still there: 1 or 0."""
        return bytes(self._replica.is_live(self.table, seq) for seq in seqs)

    def _held(self, key: str, packed: int) -> Held | None:
        log, seq, stored = self._replica.stored(self.table, packed)
        member = self._keys.member(log.origin)
        if member is None or stored is None:
            return None
        dot = Dot(log.origin, seq)
        return Held(key, process_of(stored), member.name, value_of(stored), dot)

    # ---- writing -----------------------------------------------------------------------------

    def claim(self, key: str, process: str, value: bytes | None) -> None:
        """Say that a process of this node holds the key."""
        self._replica.add(key, value, table=self.table, label=process.encode())
        self._keys.on_claimed(self.table, process, [key], value)
        self._keys.on_written()

    def claim_all(self, keys: list[str], process: str) -> None:
        """Say that a process of this node holds all these keys, without values."""
        self._replica.add_all(keys, table=self.table, label=process.encode())
        self._keys.on_claimed(self.table, process, keys, None)
        self._keys.on_written()

    def update(self, held: Held, value: bytes | None) -> None:
        """Give an own claim another value."""
        self._replica.replace(held.dot, value)
        self._keys.on_claimed(self.table, held.process, [held.key], value)
        self._keys.on_written()

    def release(self, held: list[Held]) -> list[Held]:
        """Withdraw own claims, but for those already gone; returns those that were withdrawn."""
        live = [each for each in held if self._replica.is_live(self.table, each.dot.seq)]
        for each in live:
            self._replica.remove(each.dot)
        if live:
            self._keys.on_released(self.table, live)
            self._keys.on_written()
        return live


class Keys:
    """All registries' keys."""

    def __init__(self, replica: Replica, view: View) -> None:
        self.replica = replica
        self._view = view
        self._tables: dict[str, KeyTable] = {}
        self.default = self.table(UNIQUE)
        self.on_written: Callable[[], None] = lambda: None
        self.on_claimed: Callable[[str, str, list[str], bytes | None], None] = _ignore
        """Called with the table, the process, its new keys and their value."""
        self.on_released: Callable[[str, list[Held]], None] = _ignore
        """Called with the table and the own claims that are gone."""

    def table(self, table: str) -> KeyTable:
        """One registry's keys."""
        found = self._tables.get(table)
        if found is None:
            found = self._tables[table] = KeyTable(self, table)
        return found

    def tables(self) -> list[KeyTable]:
        """All registries that have keys."""
        kinds = (UNIQUE, DUPLICATE)
        return [self.table(table) for table in self.replica.tables() if table.startswith(kinds)]

    def member(self, origin: str) -> Member | None:
        """The member whose claims these are, if it is present."""
        member = self._view.by_boot.get(origin)
        return member if member is not None and member.present else None

    def review(self, view: View) -> None:
        """Take a new view into account."""
        self._view = view
        for table in self._tables.values():
            table.review()

    async def release_process(self, process: str) -> None:
        """Withdraw whatever this node claims for a process; very many piece by piece."""
        me = self.replica.origin
        while found := [(t, h) for t in self.tables() if (h := t.of_process(me, process))]:
            for table, held in found:
                for start in range(0, len(held), RELEASED_AT_ONCE):
                    if start:
                        await asyncio.sleep(0)
                    table.release(held[start : start + RELEASED_AT_ONCE])


def process_of(stored: Stored) -> str:
    """The process for which a row is claimed."""
    return label_of(stored).decode(errors="replace")


def _ignore(*_: object) -> None:
    """Nobody listens."""
