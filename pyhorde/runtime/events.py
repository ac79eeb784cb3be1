"""Who listens to which registry, and what they are told: from joins, own writes and new views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pyhorde.cluster.membership.membership import Changed
from pyhorde.cluster.transport.codec import Codec
from pyhorde.crdt import Joined
from pyhorde.crdt.joined import Added, Removed
from pyhorde.crdt.rows import Run, Stored, value_of
from pyhorde.errors import CannotTravel
from pyhorde.runtime.keys import DUPLICATE, UNIQUE, Held, Keys, process_of
from pyhorde.runtime.names import Names
from pyhorde.runtime.record import META, Claim
from pyhorde.runtime.watching import (
    Event,
    MetaChanged,
    Registered,
    Unreadable,
    Unregistered,
    Watch,
)


class Events:
    """The watches of one node. Nothing is done while there are none."""

    def __init__(self, keys: Keys, names: Names, codec: Codec) -> None:
        self._keys = keys
        self._names = names
        self._codec = codec
        self._watches: dict[str, list[Watch]] = {}
        self._closed = False
        keys.on_claimed = self._claimed
        keys.on_released = self._released

    def listen(self, table: str) -> Watch:
        """A new watch over one registry."""
        watch = Watch(lambda closed: self._close(table, closed))
        if self._closed:
            watch.close()
            return watch
        self._watches.setdefault(table, []).append(watch)
        self._listen_to_names()
        return watch

    def close(self) -> None:
        """End all watches, and those to come: the node stops."""
        self._closed = True
        for watches in list(self._watches.values()):
            for watch in list(watches):
                watch.close()

    def _close(self, table: str, watch: Watch) -> None:
        watches = self._watches.get(table, [])
        if watch in watches:
            watches.remove(watch)
        if not watches:
            self._watches.pop(table, None)
        self._listen_to_names()

    def _listen_to_names(self) -> None:
        self._names.on_moved = self._moved if UNIQUE in self._watches else None

    def _tell(self, table: str, count: int, make: Callable[[], Iterator[Event]]) -> None:
        for watch in self._watches.get(table, ()):
            watch.put(count, make())

    # ---- what happened -----------------------------------------------------------------------

    def learned(self, joined: Joined) -> None:
        """Others' rows and metadata have changed."""
        if not self._watches:
            return
        renewed = {
            (added.table, added.origin, key, process_of(stored))
            for added in joined.added
            if not added.table.startswith(DUPLICATE)
            for key, stored in zip(added.run.keys, added.run.stored, strict=True)
        }
        for removed in joined.removed:
            process = process_of(removed.stored)
            if (removed.table, removed.origin, removed.key, process) not in renewed:
                self._gone(removed)
        for added in joined.added:
            self._came(added)
        self.meta_changed(key for table, key in joined.registers if table == META)

    def _came(self, added: Added) -> None:
        node = self._node(added.origin)
        if node and added.table in self._watches:
            run = added.run
            self._tell(added.table, len(run.keys), lambda: self._registered(run, node))

    def _gone(self, removed: Removed) -> None:
        node = self._node(removed.origin)
        if node and removed.table in self._watches:
            process = process_of(removed.stored)
            self._tell(removed.table, 1, lambda: iter([Unregistered(removed.key, process, node)]))

    def _claimed(self, table: str, process: str, keys: list[str], value: bytes | None) -> None:
        node = self._node(self._keys.replica.origin)
        self._tell(
            table,
            len(keys),
            lambda: (Registered(key, self._value(key, value), process, node) for key in keys),
        )

    def _released(self, table: str, held: list[Held]) -> None:
        self._tell(
            table,
            len(held),
            lambda: (Unregistered(each.key, each.process, each.node) for each in held),
        )

    def view_changed(self, change: Changed) -> None:
        """A member came or went, and with it all that it claims."""
        before, after = change.before, change.after
        was = before is not None and before.present
        if before is not None and was and (before.boot != after.boot or not after.present):
            self._all_of(before.boot, lambda run: self._unregistered(run, before.name))
        if after.present and not (was and before is not None and before.boot == after.boot):
            self._all_of(after.boot, lambda run: self._registered(run, after.name))

    def _all_of(self, boot: str, events: Callable[[Run], Iterator[Event]]) -> None:
        replica = self._keys.replica
        for table in self._watches:
            for _, origin, shelf in replica.shelves(table):
                if origin == boot:
                    for run in shelf.rows.runs(0, replica.known(origin)):
                        self._tell(table, len(run.keys), partial(events, run))

    def meta_changed(self, keys: Iterable[str]) -> None:
        """Metadata has been written."""
        for key in keys:
            data = self._names.get(META, key)
            event = MetaChanged(key, self._value(key, data), deleted=data is None)
            self._tell(UNIQUE, 1, partial(iter, (event,)))

    def _moved(self, name: str, before: Claim | None, after: Claim | None) -> None:
        """The process of this name runs elsewhere, no more, or for the first time."""
        event: Event
        if after is not None:
            event = Registered(name, None, name, after.node)
        else:
            event = Unregistered(name, name, before.node if before is not None else "")
        self._tell(UNIQUE, 1, partial(iter, (event,)))

    # ---- making events -----------------------------------------------------------------------

    def _registered(self, run: Run, node: str) -> Iterator[Event]:
        for key, stored in zip(run.keys, run.stored, strict=True):
            value = self._value(key, value_of(stored))
            yield Registered(key, value, process_of(stored), node)

    def _unregistered(self, run: Run, node: str) -> Iterator[Event]:
        stored: Stored
        for key, stored in zip(run.keys, run.stored, strict=True):
            yield Unregistered(key, process_of(stored), node)

    def _value(self, key: str, data: bytes | None) -> Any:
        if data is None:
            return None
        try:
            return self._codec.decode(data, f"the value of {key!r}")
        except CannotTravel as error:
            return Unreadable(data, error.problem)

    def _node(self, origin: str) -> str:
        member = self._keys.member(origin)
        return member.name if member is not None else ""
