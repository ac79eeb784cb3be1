"""A scene: five nodes at work, something that happens to them, and how it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

from tests.netns.accounts import LEDGERS, Accounts
from tests.netns.hosts import Hosts
from tests.netns.nodes import Horde
from tests.netns.truth import Truth


@dataclass
class Scene:
    """Everything a test needs; ``figures`` is what it measures, in seconds and counts."""

    hosts: Hosts
    horde: Horde
    truth: Truth
    accounts: Accounts
    names: tuple[str, ...] = LEDGERS
    """What runs."""
    figures: dict[str, float] = field(default_factory=dict)
    began: float = 0.0
    """When the fault began, in seconds of the wall clock."""

    async def begin(self) -> dict[str, str]:
        """Wait until there is work in every ledger. The next thing is the fault; its time counts.

        Returns where each ledger is.
        """
        await self.is_written("".join(self.horde.names))
        homes = await self.truth.homes()
        self.began = time.time()
        return homes

    def note(self, what: str) -> None:
        """Measure how long ago the fault began."""
        self.figures[what] = time.time() - self.began

    def note_events(self, what: str, member: str = "") -> int:
        """Measure when events of this name (about this member) were logged; returns how many."""
        events = self.horde.logs.events(what, self.began)
        times = [e.at - self.began for e in events if member in ("", e["member"])]
        self.figures[f"{what}, times"] = len(times)
        if times:
            self.figures[f"first {what}"], self.figures[f"last {what}"] = times[0], times[-1]
        return len(times)

    async def runs_on(self, *sides: str, within: float) -> None:
        """Wait until the nodes of each side together run everything once."""
        for side in sides:
            there = partial(self.truth.not_running, self.names, side)
            await self.horde.until(there, f"{side} run everything", within)
            self.note(f"{side} run all")

    async def is_written(self, *sides: str) -> None:
        """Wait until each of these sides has acknowledged something new for every ledger."""
        now = time.time()
        for side in sides:
            write = partial(self.accounts.unwritten, side, now)
            await self.horde.until(write, f"something new is written into every ledger via {side}")

    async def heal(self) -> None:
        """End the fault in the switch, and see how it ends."""
        self.figures["dropped"] = self.hosts.heal()
        assert self.figures["dropped"], "the fault has hit nothing"
        await self.end()

    async def end(self) -> None:
        """The fault is over; clients go on until all have met, then comes rest, then the audit."""
        over = time.monotonic()
        await self.horde.until(self.truth.not_met, "all nodes see each other alive again")
        self.figures["met after"] = time.monotonic() - over
        await self.accounts.stop()
        self.figures["acknowledged after"] = time.monotonic() - over
        self.figures["at rest after"] = await self.truth.rest(self.names) - over
        await self.accounts.audit()
        self.figures["audited after"] = time.monotonic() - over
        self.figures |= self.accounts.outcomes()
