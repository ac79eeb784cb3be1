"""What operators wish of nodes: which are cordoned, and which are the members that count.

Both are registers that all nodes share, so they can be said through any node, also about one that
is away, and outlive its restarts. Each node applies them to itself: it compares what is wished with
its own record, whenever either may have changed, and says so in its record. Placement looks at the
records alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgpack

from pyhorde.cluster.member import Status, View
from pyhorde.errors import ConfigError, NameNotFound
from pyhorde.runtime.parts import Parts

WISHES: Final = "wish"
_MEMBERS: Final = "members"
_CORDON: Final = "cordon:"
MAX_MEMBERS: Final = 10_000


class Wishes:
    """Cordons and the list of members, as this node knows them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def cordon(self, name: str, *, wanted: bool) -> None:
        """Place nothing new on this member (or do again). Raises ``NameNotFound``."""
        if name not in self._parts.cluster.view.by_name:
            raise NameNotFound(name)
        if self._is_cordoned(name) != wanted:
            self._parts.names.put(WISHES, _CORDON + name, b"1" if wanted else None)
            self.apply()

    def is_done(self, name: str, *, wanted: bool) -> bool:
        """Whether this member, if it lives, says of itself what is wished of it."""
        member = self._parts.cluster.view.by_name.get(name)
        if member is None or member.status is not Status.ALIVE:
            return True
        return member.cordoned is (wanted or (bool(self.members) and name not in self.members))

    def set_members(self, names: Iterable[str]) -> None:
        """Only these members count; nothing new is placed on others. No names: all count."""
        given = set(names)
        if (
            isinstance(names, str)
            or len(given) > MAX_MEMBERS
            or not all(isinstance(name, str) for name in given)
        ):
            raise ConfigError("members", "must be names of nodes", 'for example ["a", "b", "c"]')
        self._parts.names.put(WISHES, _MEMBERS, msgpack.packb(sorted(given)))
        self.apply()

    @property
    def members(self) -> frozenset[str]:
        """The members that count; empty when whoever is there does.

        What was agreed on while the cluster ran beats what each node is configured with.
        """
        raw = self._parts.names.get(WISHES, _MEMBERS)
        if raw is None:
            return frozenset(self._parts.config.members)
        try:
            listed = msgpack.unpackb(raw)
        except (msgpack.UnpackException, ValueError):
            return frozenset()  # no node writes such a list
        names = listed if isinstance(listed, list) else []
        return frozenset(name for name in names if isinstance(name, str))

    def quorum(self, view: View) -> tuple[int, int]:
        """How many of those that count are present, and how many are more than half of them.

        The base is fixed: the agreed members, else the configured ones. Without either it is every
        address that is known as a member's that has not left, or as a possible peer's: configured,
        found by discovery, or remembered. So neither a partition nor an outage makes it smaller.
        """
        listed = self.members
        if listed:
            present = sum(1 for m in view.present if m.name in listed)
            return present, len(listed) // 2 + 1
        here = {m.address for m in view.members if m.status is not Status.LEFT}
        known = len(here) + len(self._parts.cluster.dialer.strangers(view))
        return len(view.present), known // 2 + 1

    def apply(self) -> None:
        """Let the own record say what is wished of this node."""
        me = self._parts.cluster.view.me
        listed = self.members
        unlisted = bool(listed) and me.name not in listed
        wanted = unlisted or self._is_cordoned(me.name)
        if wanted != me.cordoned:
            cause = "is not one of the members" if unlisted else "cordoned"
            self._parts.cluster.announce(cause=cause if wanted else "uncordoned", cordoned=wanted)

    def _is_cordoned(self, name: str) -> bool:
        return self._parts.names.get(WISHES, _CORDON + name) is not None
