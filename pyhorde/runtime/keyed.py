"""What all registries have in common: reading, taking back, reaching and listening."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, NamedTuple

from pyhorde.cluster.transport.codec import MAX_META_BYTES
from pyhorde.errors import CannotTravel, HordeError, NameNotFound, NotOwner
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.keys import DUPLICATE, UNIQUE, Held
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process, is_remote
from pyhorde.runtime.ref import Caller, Ref
from pyhorde.runtime.watching import Unreadable, Watch

Owner = Process | Ref[Any] | str


class Entry(NamedTuple):
    """One key: its value, the process that holds it (by name), and the node that runs on."""

    key: str
    value: Any
    process: str
    node: str


class Registration(Entry):
    """The entry that was registered. Awaiting it waits until every live member has it."""

    confirm: Callable[[], Awaitable[None]]

    def __await__(self) -> Generator[Any, None, Entry]:
        yield from self.confirm().__await__()
        return self


class Keyed:
    """What all registries have in common."""

    def __init__(self, parts: Parts, cells: dict[str, Cell], caller: Caller, table: str) -> None:
        self._parts = parts
        self._cells = cells
        self._caller = caller
        self._names, self._shown = parts.names, parts.names.shown
        self._table = parts.keys.table(table)
        self._is_default = table == UNIQUE
        """Whether processes' own names count as keys here."""

    @property
    def name(self) -> str:
        """The registry's name; empty for the default one."""
        return self._table.table[len(UNIQUE) :]

    # ---- reading -----------------------------------------------------------------------------

    def keys(self, process: Owner) -> list[str]:
        """All keys of a process, by name; in the default registry its own name comes first."""
        name = name_of(process)
        owner = self._parts.names.owner(name)
        if owner is None:
            return []
        own = [name] if self._is_default else []
        return [*own, *sorted(held.key for held in self._table.of_process(owner.boot, name))]

    def select(self, prefix: str = "", where: Callable[[Entry], bool] | None = None) -> list[Entry]:
        """Entries whose key starts with ``prefix`` and for which ``where`` holds, by key.

        A value of a type that this node does not know is an ``Unreadable``.
        """
        found = [entry for entry in self._entries(prefix) if where is None or where(entry)]
        return sorted(found, key=lambda entry: (entry.key, entry.node, entry.process))

    def count(self) -> int:
        """How many entries there are."""
        names = self._parts.names.count() if self._is_default else 0
        return self._table.count() + names

    def count_match(self, key: str, where: Callable[[Entry], bool] | None = None) -> int:
        """How many entries of this key there are for which ``where`` holds."""
        return sum(1 for entry in self._of(key) if where is None or where(entry))

    def listen(self) -> Watch:
        """What happens from now on: ``Registered``, ``Unregistered``, ``MetaChanged``, ``Missed``.

        Use it as ``with registry.listen() as events: async for event in events: ...``.
        """
        return self._parts.events.listen(self._table.table)

    # ---- writing -----------------------------------------------------------------------------

    def unregister(self, key: str, process: Owner) -> bool:
        """Take a key back from its process; False when the process does not hold it.

        A process's own name cannot be taken from it.
        """
        return self.unregister_match(key, process) > 0

    def unregister_match(
        self, key: str, process: Owner, where: Callable[[Entry], bool] | None = None
    ) -> int:
        """Take back the entries that a process has under a key and for which ``where`` holds."""
        mine = self._own(key, self._local(process).name)
        chosen = [held for held in mine if where is None or where(self._entry(held))]
        if chosen:
            self._table.release(chosen)
        return len(chosen)

    async def dispatch(
        self, key: str, target: Any, /, *args: Any, local: bool = False, **kwargs: Any
    ) -> int:
        """Reach every process that holds the key (``local``: on this node); returns how many.

        ``target`` is a method (``Class.method`` or its name), which is cast to each of them with
        the arguments, or any other callable, which is called with the list of entries.
        """
        me = self._parts.config.name
        entries = [entry for entry in self._of(key) if not local or entry.node == me]
        if not isinstance(target, str) and not is_remote(target):
            outcome = target(entries, *args, **kwargs) if entries else None
            if inspect.isawaitable(outcome):
                await outcome
            return len(entries)
        method = target if isinstance(target, str) else target.__name__
        sent = [
            self._caller.cast(process, method, list(args), kwargs)
            for process in dict.fromkeys(entry.process for entry in entries)
        ]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            gone = isinstance(outcome, HordeError) and not isinstance(outcome, CannotTravel)
            if isinstance(outcome, BaseException) and not gone:
                raise outcome
        return sum(1 for outcome in outcomes if outcome is None)

    async def flush(self, timeout: float = 5.0) -> None:
        """Return once every live member has all that this node wrote. Raises ``NotReplicated``."""
        seq = self._parts.names.seq
        await self._parts.cluster.acks.replicated(seq, None, timeout, "what was written")

    # ---- shared ------------------------------------------------------------------------------

    def _of(self, key: str) -> list[Entry]:
        owner = self._parts.names.owner(key) if self._is_default else None
        if owner is not None:
            return [Entry(key, None, key, owner.node)]
        held = self._table.holders(key)
        return [self._entry(each) for each in (held if self._is_group else held[:1])]

    @property
    def _is_group(self) -> bool:
        return self._table.table.startswith(DUPLICATE)

    def _entries(self, prefix: str) -> Iterator[Entry]:
        names, index = self._parts.names, self._table
        if self._is_default:
            for name in names.claimed():
                owner = names.owner(name)
                if owner is not None and name.startswith(prefix):
                    yield Entry(name, None, name, owner.node)
        contested = set() if self._is_group else set(index.contested())
        for held in index.all():
            if held.key.startswith(prefix) and (
                held.key not in contested or held == index.holder(held.key)
            ):
                yield self._entry(held)

    def _entry(self, held: Held) -> Entry:
        """Never raises."""
        try:
            return self._read(held)
        except CannotTravel as error:
            unreadable = Unreadable(held.value or b"", error.problem)
            return Entry(held.key, unreadable, held.process, held.node)

    def _read(self, held: Held) -> Entry:
        key, process, node, data, _ = held
        return Entry(key, None if data is None else self._decode(key, data), process, node)

    def _decode(self, key: str, data: bytes) -> Any:
        return self._parts.codec.decode(data, f"the value of {key!r}")

    def _encode(self, key: str, value: Any) -> bytes | None:
        if value is None:
            return None
        return self._parts.codec.encode(value, f"the value of {key!r}", MAX_META_BYTES)

    def _own(self, key: str, process: str) -> list[Held]:
        me = self._parts.boot
        held = self._table.holders(key)
        return [each for each in held if each.dot.origin == me and each.process == process]

    def _local(self, process: Owner) -> Cell:
        name = name_of(process)
        cell = self._cells.get(name)
        if cell is not None:
            return cell
        owner = self._parts.names.owner(name)
        if owner is None:
            raise NameNotFound(name)
        raise NotOwner(name, owner.node)

    def _registered(self, key: str, value: Any, process: str) -> Registration:
        done = Registration(key, value, process, self._parts.config.name)
        done.confirm = self.flush
        return done


def name_of(process: Owner) -> str:
    """The name of a process, however it is given."""
    return process if isinstance(process, str) else process.name
