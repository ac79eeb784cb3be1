"""What can be waited for: a change, copies on other nodes, what the others know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyhorde.cluster.event_loop.stall import StallGuard
from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.replication.replication import Effect, Replication
from pyhorde.cluster.transport.links import Links
from pyhorde.cluster.waiting import Waiting
from pyhorde.errors import NotReplicated
from pyhorde.seam import World

LOOK_AGAIN: Final = 0.5
"""Seconds after which who waits for the others looks at them again: time may excuse them."""


class Acknowledgements:
    """What the other members have confirmed, and what they have told."""

    def __init__(
        self,
        replication: Replication,
        waiting: Waiting,
        detector: Membership,
        links: Links,
        stall_guard: StallGuard,
        world: World,
    ) -> None:
        self._replication = replication
        self._waiting = waiting
        self._detector = detector
        self._links = links
        self._stall_guard = stall_guard
        self._world = world
        self.run: Callable[[list[Effect]], None] = lambda _: None
        """Carries out what replication wants done."""
        self.closed = False
        """Whether this node has stopped."""

    async def changed(self, timeout: float) -> bool:
        """Wait until anything about the cluster changes.

        False after ``timeout`` seconds, and at once when this node has stopped.
        """
        return not self.closed and await self._waiting.for_change(timeout)

    def missing(self, seq: int) -> tuple[str, ...]:
        """Names of the other present members that have not confirmed own event ``seq``."""
        others = self._detector.view.others
        return tuple(m.name for m in others if self._replication.acked(m.boot) < seq)

    async def replicated(self, seq: int, copies: int | None, timeout: float, what: str) -> None:
        """Wait until ``copies`` other nodes (all present ones: None) have own events to ``seq``.

        With fewer others than ``copies``, all of them are enough. Of all, those are not waited for
        that join, and are told everything by somebody else; and those stalled for long, which ask
        before they go on; if at least one other has it. Raises ``NotReplicated``.
        """
        deadline = self._world.now() + timeout
        while True:
            missing = self.missing(seq)
            others = len(self._detector.view.others)
            wanted = self._all_but_excused(seq) if copies is None else min(copies, others)
            if others - len(missing) >= wanted:
                return
            left = deadline - self._world.now()
            if self.closed or left <= 0:
                raise NotReplicated(what, missing, timeout)
            await self._waiting.for_confirmation(seq, min(left, LOOK_AGAIN))

    def _all_but_excused(self, seq: int) -> int:
        now, known, others = self._world.now(), self._replication, self._detector.view.others
        silent = [m for m in others if known.acked(m.boot) < seq]
        excused = sum(self._oversleeps(m) or known.is_joining(m.boot, now) for m in silent)
        return max(len(others) - excused, min(1, excused))

    def _oversleeps(self, member: Member) -> bool:
        """Whether it has stood still for so long that it asks the others before it goes on."""
        stalled = member.status is Status.STALLED
        return (
            stalled
            and self._detector.roster.age(member.name, self._world.now())
            > self._stall_guard.patience
        )

    async def caught_up(self, since: float, timeout: float) -> None:
        """Wait until everything is here that the live members had at ``since``.

        Gives up on members that do not answer, or cannot be linked, within ``timeout`` seconds.
        """
        deadline = self._world.now() + timeout
        while True:
            lagging = self._replication.lagging(since)
            for boot in lagging:
                if not self._replication.asking(boot, since):
                    self.run(self._replication.ask(boot, self._world.now()))
            unlinked = [m for m in self._detector.view.others if m.status is Status.ALIVE]
            unlinked = [m for m in unlinked if m.boot not in self._links.boots]
            if not (lagging or unlinked):
                return
            if not await self.changed(deadline - self._world.now()):
                return
