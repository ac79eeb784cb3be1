"""The registries as users see them: keys for processes, and metadata.

Reads are local, without I/O. Writes take effect here at once and reach the others within
milliseconds; whoever must be sure awaits what ``register`` returned, or ``flush``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from pyhorde.cluster.transport.codec import MAX_META_BYTES
from pyhorde.errors import ConfigError, InvalidName, NameNotFound, NameTaken, NotOwner
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.keyed import Entry, Keyed, Owner, Registration
from pyhorde.runtime.keys import DUPLICATE, UNIQUE, Held
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.record import META, check_name, check_names
from pyhorde.runtime.ref import Caller

__all__ = ["Entry", "Groups", "Registration", "Registries", "Registry"]

MAX_REGISTRY_BYTES: Final = 200
"""The longest name of a registry."""
_new = tuple.__new__
BATCH: Final = 4096
"""Keys that ``register_many`` registers in one step."""


class Groups(Keyed):
    """A registry with duplicate keys: any number of processes hold a key, each any number of times.

    The processes of one key are a group: find them with ``lookup``, reach them with ``dispatch``.
    """

    def register(self, key: str, value: Any, process: Owner) -> Registration:
        """Give a process of this node one more entry; it goes when the process ends."""
        check_name(key)
        cell = self._local(process)
        self._table.claim(key, cell.name, self._encode(key, value))
        return self._registered(key, value, cell.name)

    def lookup(self, key: str) -> list[Entry]:
        """All entries of a key."""
        return self._of(key)


class Registry(Keyed):
    """A registry with unique keys; the default one, ``node.registry``, also has metadata."""

    def register(self, key: str, value: Any, process: Owner) -> Registration:
        """Give a process of this node one more key, with a value; it goes when the process ends.

        Registering a key that the process holds already gives it the new value. Raises
        ``NameTaken`` when another one holds it, ``NameNotFound`` for no process, ``NotOwner`` for
        a process of another node: register from inside it, in ``init``, so that it is done again
        wherever the process goes.
        """
        check_name(key)
        cell, data = self._local(process), self._encode(key, value)
        self._check_no_name(key)
        holder = self._table.holder(key)
        if holder is None or self._is_left_behind(holder, cell):
            self._table.claim(key, cell.name, data)
        elif holder.process == cell.name:
            self._table.update(holder, data)
        else:
            raise NameTaken(key, holder.node)
        return self._registered(key, value, cell.name)

    async def register_many(self, keys: Iterable[str] | Mapping[str, Any], process: Owner) -> int:
        """Give a process of this node many keys at once (a mapping: with values).

        All or none: raises ``NameTaken`` for the first that somebody holds already, this process
        included. Lets other work through now and then; returns how many there were.
        """
        values = keys if isinstance(keys, Mapping) else None
        wanted = list(keys)
        check_names(wanted)
        cell = self._local(process)
        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        coded: dict[str, bytes | None] = {}
        for some in batches:
            self._check_free(some, cell)
            if values is not None:
                coded.update((key, self._encode(key, values[key])) for key in some)
            await asyncio.sleep(0)
        if len(set(wanted)) < len(wanted):
            raise NameTaken(_first_repeated(wanted), self._parts.config.name)
        before, instance = self._parts.names.seq, cell.process
        try:
            for some in batches:
                self._check_free(some, cell)
                gone = instance is not None and cell.process is not instance
                if gone or self._local(process) is not cell:
                    raise NameNotFound(cell.name)
                if values is None:
                    self._table.claim_all(some, cell.name)
                else:
                    for key in some:
                        self._table.claim(key, cell.name, coded[key])
                await asyncio.sleep(0)
        except BaseException:
            self._take_back(wanted, cell.name, before)
            raise
        return len(wanted)

    def _take_back(self, keys: list[str], process: str, since: int) -> None:
        """Withdraw these keys as far as they were registered after an own event."""
        mine = (held for key in keys for held in self._own(key, process))
        self._table.release([held for held in mine if held.dot.seq > since])

    def lookup(self, key: str) -> Entry | None:
        """Who holds the key; None for nobody."""
        if self._is_default and key in self._shown:
            owner = self._names.owner(key)
            if owner is not None:
                return Entry(key, None, key, owner.node)
        found = self._table.find(key)
        if found is None:
            return None
        process, node, data = found
        value = None if data is None else self._decode(key, data)
        return _new(Entry, (key, value, process, node))  # half the time of Entry(...)

    def update_value(
        self, key: str, process: Owner, change: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        """Change the value of a key that this process holds; returns (new, old).

        Raises ``NotOwner`` for anyone else, ``NameNotFound`` when nobody holds it.
        """
        cell = self._local(process)
        held = self._table.holder(key)
        if held is None:
            owner = self._parts.names.owner(key) if self._is_default else None
            raise NameNotFound(key) if owner is None else NotOwner(key, owner.node)
        if held.process != cell.name or held.dot.origin != self._parts.boot:
            raise NotOwner(key, held.process)
        old = self._read(held).value
        new = change(old)
        self._table.update(held, self._encode(key, new))
        return new, old

    def _check_no_name(self, key: str) -> None:
        names = self._parts.names
        if self._is_default and (names.spec(key) is not None or names.visible(key)):
            owner = names.owner(key)
            raise NameTaken(key, owner.node if owner is not None else "")

    def _check_free(self, keys: list[str], cell: Cell) -> None:
        if self._is_default and not self._parts.names.are_free(keys):
            for key in keys:
                self._check_no_name(key)
        if not self._table.are_free(keys):
            for key in keys:
                holder = self._table.holder(key)
                if holder is not None and not self._is_left_behind(holder, cell):
                    raise NameTaken(key, holder.node)

    def _is_left_behind(self, holder: Held, cell: Cell) -> bool:
        """Whether the process itself held the key where it ran before it moved here."""
        return holder.process == cell.name and holder.dot.origin != self._parts.boot

    # ---- metadata ----------------------------------------------------------------------------

    def put_meta(self, key: str, value: Any) -> None:
        """Set a cluster-wide value (at most 64 KiB encoded); the last writer wins.

        Metadata belongs to the cluster, not to a registry: all registries see the same.
        """
        check_name(key)
        data = self._parts.codec.encode(value, f"the value of {key!r}", MAX_META_BYTES)
        self._parts.names.put(META, key, data)
        self._parts.events.meta_changed([key])

    def meta(self, key: str, default: Any = None) -> Any:
        """The value, or ``default``."""
        data = self._parts.names.get(META, key)
        if data is None:
            return default
        return self._parts.codec.decode(data, f"the value of {key!r}")

    def delete_meta(self, key: str) -> bool:
        """Remove the value; False when there was none."""
        if self._parts.names.get(META, key) is None:
            return False
        self._parts.names.put(META, key, None)
        self._parts.events.meta_changed([key])
        return True


def _first_repeated(keys: list[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key is there twice")


class Registries:
    """Every registry of one node, by name."""

    def __init__(self, parts: Parts, cells: dict[str, Cell], caller: Caller) -> None:
        self._parts = parts
        self._cells = cells
        self._caller = caller
        self._unique: dict[str, Registry] = {}
        self._groups: dict[str, Groups] = {}
        self.default = Registry(parts, cells, caller, UNIQUE)

    def unique(self, name: str) -> Registry:
        """The registry of this name. Raises ``ConfigError`` when its keys are duplicate."""
        self._check(name, DUPLICATE, self._groups)
        if name not in self._unique:
            table = UNIQUE + name
            self._unique[name] = Registry(self._parts, self._cells, self._caller, table)
        return self._unique[name]

    def groups(self, name: str) -> Groups:
        """The registry of this name. Raises ``ConfigError`` when its keys are unique."""
        self._check(name, UNIQUE, self._unique)
        if name not in self._groups:
            table = DUPLICATE + name
            self._groups[name] = Groups(self._parts, self._cells, self._caller, table)
        return self._groups[name]

    def _check(self, name: str, other: str, opened: Collection[str]) -> None:
        size = len(check_name(name).encode())
        if size > MAX_REGISTRY_BYTES:
            problem = f"it takes {size} bytes; a registry's may take {MAX_REGISTRY_BYTES}"
            raise InvalidName(name, problem)
        if name in opened or self._parts.keys.table(other + name).count():
            kind = "unique" if other == UNIQUE else "duplicate"
            mend = f'open it with keys="{kind}", or choose another name'
            raise ConfigError("registry", f"{name!r} has {kind} keys", mend)
