"""The registry as users see it: keys for processes, and metadata. Reads are local, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyhorde.cluster.codec import MAX_META_BYTES
from pyhorde.errors import NameNotFound, NameTaken, NotOwner
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process
from pyhorde.runtime.record import META, Claim, check_name
from pyhorde.runtime.ref import Ref


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: the process that holds it (by name), the node it runs on, and the key's value."""

    key: str
    value: Any
    process: str
    node: str


class Registry:
    """``node.registry``."""

    def __init__(self, parts: Parts, cells: dict[str, Cell]) -> None:
        self._parts = parts
        self._cells = cells

    # ---- keys --------------------------------------------------------------------------------

    def register(self, key: str, value: Any, process: Process | Ref[Any] | str) -> Entry:
        """Give a process of this node one more key, with a value; it goes when the process ends.

        Registering a key that the process holds already gives it the new value. Raises
        ``NameTaken`` when another one holds it, ``NameNotFound`` for no process, ``NotOwner`` for
        a process of another node: register from inside it, in ``init``, so that it is done again
        wherever the process goes.
        """
        check_name(key)
        cell, names = self._local(process), self._parts.names
        holder, data = names.holder(key), self._encode(key, value)
        if holder in names.own_claims(cell.name) and key != cell.name:
            names.update(holder, value=data)
        elif holder is not None or names.spec(key) is not None or key == cell.name:
            raise NameTaken(key, holder.node if holder is not None else "")
        else:
            names.claim(key, cell.epoch, cell.name, cell.type_name, cell.life, data)
        return Entry(key, value, cell.name, self._parts.config.name)

    def unregister(self, key: str, process: Process | Ref[Any] | str) -> bool:
        """Take a key back from its process; False when the process does not hold it.

        A process's own name cannot be taken from it.
        """
        cell = self._local(process)
        mine = [c for c in self._parts.names.own_claims(cell.name) if c.key == key]
        claims = [claim for claim in mine if not claim.is_process]
        self._parts.names.release(claims)
        return bool(claims)

    def lookup(self, key: str) -> Entry | None:
        """Who holds the key; None for nobody."""
        claim = self._parts.names.holder(key)
        return self._entry(claim) if claim is not None else None

    def keys(self, process: Process | Ref[Any] | str) -> list[str]:
        """All keys of a process, its name first."""
        name = _name_of(process)
        if self._parts.names.owner(name) is None:
            return []
        return [name, *self._parts.names.held(name)]

    def select(self, prefix: str = "", where: Callable[[Entry], bool] | None = None) -> list[Entry]:
        """Entries whose key starts with ``prefix`` and for which ``where`` holds, by key."""
        found = [entry for entry in self._entries() if entry.key.startswith(prefix)]
        chosen = found if where is None else [entry for entry in found if where(entry)]
        return sorted(chosen, key=lambda entry: entry.key)

    def count(self) -> int:
        """How many keys are held."""
        return self._parts.names.count()

    def update_value(
        self, key: str, process: Process | Ref[Any] | str, change: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        """Change the value of a key that this process holds; returns (new, old).

        Raises ``NotOwner`` for anyone else, ``NameNotFound`` when nobody holds it.
        """
        cell = self._local(process)
        claim = self._parts.names.holder(key)
        if claim is None:
            raise NameNotFound(key)
        if claim.process != cell.name or claim.boot != self._parts.boot:
            raise NotOwner(key, claim.process)
        old = self._entry(claim).value
        new = change(old)
        data = self._encode(key, new)
        self._parts.names.update(claim, value=data)
        return new, old

    # ---- metadata ----------------------------------------------------------------------------

    def put_meta(self, key: str, value: Any) -> None:
        """Set a cluster-wide value (at most 64 KiB encoded); the last writer wins."""
        check_name(key)
        self._parts.names.put(META, key, self._encode(key, value))

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
        return True

    async def flush(self, timeout: float = 5.0) -> None:
        """Return once every live member has all that this node wrote. Raises ``NotReplicated``."""
        seq = self._parts.names.seq
        await self._parts.cluster.replicated(seq, None, timeout, "what was written")

    # ---- small things ------------------------------------------------------------------------

    def _entries(self) -> Iterator[Entry]:
        names = self._parts.names
        for key in list(names.keys()):
            claim = names.holder(key)
            if claim is not None:
                yield self._entry(claim)

    def _entry(self, claim: Claim) -> Entry:
        what = f"the value of {claim.key!r}"
        codec = self._parts.codec
        value = None if claim.value is None else codec.decode(claim.value, what)
        return Entry(claim.key, value, claim.process, claim.node)

    def _encode(self, key: str, value: Any) -> bytes:
        return self._parts.codec.encode(value, f"the value of {key!r}", MAX_META_BYTES)

    def _local(self, process: Process | Ref[Any] | str) -> Cell:
        name = _name_of(process)
        cell = self._cells.get(name)
        if cell is not None:
            return cell
        owner = self._parts.names.owner(name)
        if owner is None:
            raise NameNotFound(name)
        raise NotOwner(name, owner.node)


def _name_of(process: Process | Ref[Any] | str) -> str:
    return process if isinstance(process, str) else process.name
