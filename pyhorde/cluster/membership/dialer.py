"""How a node meets others: the shell around the timetable of dials.

What a dial leads to is evidence: a refusal, or another boot that answers, speaks against the member
that was expected there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from pyhorde.cluster.discovery import Discovery, Surroundings
from pyhorde.cluster.member import View
from pyhorde.cluster.membership.dial_schedule import DialSchedule, Target
from pyhorde.cluster.membership.joining import Situation
from pyhorde.cluster.tasks import Tasks
from pyhorde.cluster.transport.links import Links
from pyhorde.config import MembershipConfig
from pyhorde.errors import ClusterError, DialRefused, HandshakeRefused
from pyhorde.seam import World

log = logging.getLogger("pyhorde.cluster")

SHUT_OUT: Final = 10.0
"""Seconds at least for which it counts that somebody else has this node's name."""


class Dialer:
    """Dials whoever is to be dialled."""

    def __init__(
        self,
        dialer: DialSchedule,
        links: Links,
        world: World,
        view: Callable[[], View],
        on_refused: Callable[[str], None],
        config: MembershipConfig,
    ) -> None:
        self._shut_out_for = max(SHUT_OUT, 1.25 * config.redial_max + 2 * config.dial_timeout + 1)
        self._schedule = dialer
        self._links = links
        self._world = world
        self._view = view
        self._on_refused = on_refused
        self._dials = Tasks()
        self.on_dialled: Callable[[], None] = lambda: None
        """Called when a dial is over: the timetable may have changed."""
        self.discovery: Discovery | None = None
        self.looking = False
        """Whether discovery has not said anything yet."""
        self._shut_out: dict[str, float] = {}
        """Addresses where somebody else counts as the node of this name, and when that was said."""

    def next_deadline(self) -> float | None:
        """When ``dial_due`` has something next."""
        return self._schedule.next_deadline(self._view(), self._links.boots)

    def dial_due(self, now: float) -> None:
        """Dial in the background whoever is due."""
        for target in self._schedule.due(self._view(), self._links.boots, now):
            _ = self._dials.spawn(self._dial(target), f"dial {target.address}")

    def hurry(self, address: str) -> None:
        """Dial this address as soon as possible."""
        self._schedule.hurry(address)

    def found(self, source: str, addresses: Iterable[str]) -> None:
        """These are the addresses that a source knows now."""
        self._schedule.found(source, addresses)
        self.on_dialled()

    async def discover(self, sources: Iterable[Any], around: Surroundings, patience: float) -> None:
        """Look for possible peers, for ever; for ``patience`` seconds joining waits for answers."""
        self.discovery = Discovery(sources, around, self.found)
        self.looking = bool(self.discovery.figures)
        await self.discovery.start()
        _ = self._dials.spawn(self._first_look(self.discovery, patience), "first discovery")

    async def _first_look(self, discovery: Discovery, patience: float) -> None:
        await discovery.first(patience)
        self.looking = False
        self.on_dialled()

    def _finds_nobody(self) -> bool:
        """Whether discovery may still find the others: it has found nobody who answered."""
        looks = self.discovery is not None and bool(self.discovery.figures)
        return looks and not self._links.boots

    def strangers(self, view: View) -> list[str]:
        """Addresses of possible peers - configured, found, or remembered - that are no member's."""
        return self._schedule.strangers(view)

    def missing(self) -> list[str]:
        """Addresses of possible peers that are not known to be linked."""
        return self._schedule.unlinked_seeds(self._view(), self._links.boots)

    def situation(self, told: bool, by_settled: bool, waited: float) -> Situation:  # noqa: FBT001
        """How far the start of this node is, after ``waited`` seconds."""
        view, now = self._view(), self._world.now()
        return Situation(
            me=view.me.boot,
            linked=self._links.boots,
            others={member.boot for member in view.others},
            missing=self.looking or bool(self.missing()) or self._finds_nobody(),
            tried=not self.looking and self._schedule.all_seeds_tried(view.me.address),
            waited=waited,
            told=told,
            by_settled=by_settled,
            shut_out=any(now - said < self._shut_out_for for said in self._shut_out.values()),
        )

    async def aclose(self) -> None:
        """Stop dialling and looking. Idempotent."""
        if self.discovery is not None:
            await self.discovery.aclose()
        await self._dials.aclose()

    async def _dial(self, target: Target) -> None:
        view = self._view()
        try:
            member = await self._links.dial(target.address)
        except HandshakeRefused as error:
            if error.why == "self":
                self._schedule.itself(target.address, view.me.name, self._world.now())
            else:
                self._failed(target, error)
            self._shut_out.pop(target.address, None)
            if error.why == "name":
                self._shut_out[target.address] = self._world.now()
        except ClusterError as error:
            self._shut_out.pop(target.address, None)
            self._failed(target, error)
            if isinstance(error, DialRefused) and target.boot is not None:
                self._on_refused(target.boot)
        else:
            self._shut_out.pop(target.address, None)
            self._schedule.reached(target.address, member.name)
            if target.boot is not None and target.boot != member.boot:
                self._on_refused(target.boot)
        self.on_dialled()

    def _failed(self, target: Target, error: ClusterError) -> None:
        view = self._view()
        news = self._schedule.failed(target.address, str(error), view, self._world.now())
        expected = view.by_boot.get(target.boot or "")
        if news and (expected is None or expected.present):
            fields = {"address": target.address, "error": str(error), "next": "trying again"}
            log.warning("peer_unreachable", extra={"fields": fields})
