"""What happened on one node: the last entries, numbered, for whoever wants to read or follow them.

The journal is a ring. A follower has no queue of its own, only the number of the entry that comes
next; so it costs nothing, and one that is too slow finds that the ring has moved on, and is told
how much it has lost. An id is ``<first 8 digits of the boot>-<number>``. The numbers of one boot
begin with 1 and have no gaps.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from pyhorde.cluster.event_loop.lag import Blockage
from pyhorde.cluster.member import Member
from pyhorde.cluster.membership.effects import Changed

SIZE: Final = 1000
"""Entries that are kept."""
BEGINNING: Final = "0"
"""Stands for the id before the oldest entry that is kept."""
MAX_ID: Final = 64
"""Characters of a strange id that are repeated."""
_ID: Final = re.compile(r"[0-9a-f]{8}-\d{1,15}")


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that happened on a node, as that node saw it."""

    id: str
    wall: float
    """When, in seconds since the Unix epoch by that machine's clock."""
    kind: str
    fields: Mapping[str, Any]
    """What JSON can say about it; which there are depends on the kind."""


class Journal:
    """The last ``size`` things that happened. Pure, but for waking those who wait."""

    def __init__(self, boot: str, wall: Callable[[], float], size: int = SIZE) -> None:
        self._prefix = boot[:8]
        self._boot = boot
        self._wall = wall
        self._ring: deque[ClusterEvent] = deque(maxlen=size)
        self._waiters: set[asyncio.Future[None]] = set()
        self.last = 0
        """The number of the newest entry."""
        self.closed = False

    @property
    def oldest(self) -> int:
        """The number of the oldest entry that is kept; one past the newest while there is none."""
        return self.last - len(self._ring) + 1

    def note(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Something happened. ``fields`` are plain data, and are not changed any more."""
        if self.closed:
            return
        self.last += 1
        self._ring.append(ClusterEvent(self.id_of(self.last), self._wall(), kind, fields))
        self._wake()

    def changed(self, change: Changed) -> None:
        """A member's record changed: an entry for each new state, and for each cordon."""
        before, after = change.before, change.after
        boots = before is not None and before.boot != after.boot
        if before is None or boots or before.state != after.state:
            was = None if before is None else before.state
            fields = {**_member(after), "before": was, "cause": change.cause}
            self.note(f"member_{after.state}", fields)
        elif after.boot == self._boot and before == replace(
            after, incarnation=before.incarnation, generation=before.generation
        ):
            self.note("refuted", {**_member(after), "cause": change.cause})
        if after.cordoned != (before is not None and before.cordoned):
            fields = {**_member(after), "cause": change.cause}
            self.note("cordoned" if after.cordoned else "uncordoned", fields)

    def linked(self, member: Member) -> None:
        """A link is up."""
        self.note("link_up", _member(member))

    def unlinked(self, member: Member, reason: str) -> None:
        """A link is gone."""
        self.note("link_lost", {**_member(member), "reason": reason})

    def blocked(self, blockage: Blockage) -> None:
        """Something kept the event loop from running."""
        fields = {"seconds": round(blockage.seconds, 3), "stack": blockage.stack}
        self.note("loop_blocked", fields)

    def follow(self, after: str | None = None) -> Follower:
        """Read what comes from now on, or everything after the entry of this id.

        An id that is not known here, or not any more, gives a ``gap`` and then all that is kept;
        :data:`BEGINNING` gives all that is kept.
        """
        if after is None:
            return Follower(self, self.last + 1)
        if after == BEGINNING:
            return Follower(self, self.oldest)
        missed = self._missed(after)
        if missed is not None and missed <= 0:
            return Follower(self, self.oldest - missed)
        fields = {"after": after[:MAX_ID], "count": missed}
        return Follower(self, self.oldest, self._aside("gap", self.oldest - 1, fields))

    def close(self) -> None:
        """Nothing happens any more: followers end when they have read all. Idempotent."""
        self.closed = True
        self._wake()

    # ---- for followers -----------------------------------------------------------------------

    def id_of(self, number: int) -> str:
        """The id of an entry."""
        return f"{self._prefix}-{number}"

    def entry(self, number: int) -> ClusterEvent | None:
        """The entry of this number, if it is kept."""
        if not self.oldest <= number <= self.last:
            return None
        return next(islice(self._ring, number - self.oldest, None))

    def lost(self, first: int) -> ClusterEvent:
        """What stands for the entries from ``first`` on that are not kept any more."""
        return self._aside("lost", self.oldest - 1, {"count": self.oldest - first})

    async def more(self) -> None:
        """Wait for the next entry, or for the end."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _aside(self, kind: str, number: int, fields: Mapping[str, Any]) -> ClusterEvent:
        """An entry that only one follower sees; its id is that of the one before the next."""
        return ClusterEvent(self.id_of(number), self._wall(), kind, fields)

    def _missed(self, id: str) -> int | None:
        """How many entries after this one are gone, below 0 when it is kept; None: who knows."""
        if not _ID.fullmatch(id) or not id.startswith(self._prefix):
            return None
        number = int(id.partition("-")[2])
        return self.oldest - 1 - number if number <= self.last else None

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Follower:
    """An asynchronous iterator over a journal. Needs no closing."""

    def __init__(self, journal: Journal, first: int, aside: ClusterEvent | None = None) -> None:
        self._journal = journal
        self._next = first
        self._aside = aside

    def take(self) -> ClusterEvent | None:
        """The next entry, if it is there already."""
        if self._aside is not None:
            aside, self._aside = self._aside, None
            return aside
        journal = self._journal
        if self._next < journal.oldest:
            lost = journal.lost(self._next)
            self._next = journal.oldest
            return lost
        entry = journal.entry(self._next)
        if entry is not None:
            self._next += 1
        return entry

    async def ready(self) -> bool:
        """Wait until there is something to take; False at the end of the journal."""
        while self._aside is None and self._next > self._journal.last:
            if self._journal.closed:
                return False
            await self._journal.more()
        return True

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> ClusterEvent:
        event = self.take() if await self.ready() else None
        if event is None:
            raise StopAsyncIteration
        return event


def _member(member: Member) -> dict[str, Any]:
    return {
        "member": member.name,
        "address": member.address,
        "boot": member.boot,
        "incarnation": member.incarnation,
    }
