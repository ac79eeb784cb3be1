"""How a node meets others: the shell around the timetable of dials.

What a dial leads to is evidence: a refusal, or another boot that answers, speaks against the member
that was expected there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from pyhorde.cluster.dialing import Dialer, Target
from pyhorde.cluster.discovery import Discovery, Surroundings
from pyhorde.cluster.links import Links
from pyhorde.cluster.member import View
from pyhorde.cluster.messages import Reached
from pyhorde.cluster.tasks import Tasks
from pyhorde.errors import ClusterError, DialRefused, HandshakeRefused
from pyhorde.seam import World

log = logging.getLogger("pyhorde.cluster")


class Meeting:
    """Dials whoever is to be dialled."""

    def __init__(
        self,
        dialer: Dialer,
        links: Links,
        world: World,
        view: Callable[[], View],
        on_refused: Callable[[str], None],
    ) -> None:
        self._dialer = dialer
        self._links = links
        self._world = world
        self._view = view
        self._on_refused = on_refused
        self._dials = Tasks()
        self.on_dialled: Callable[[], None] = lambda: None
        """Called when a dial is over: the timetable may have changed."""
        self.discovery: Discovery | None = None
        self._looking = False
        """Whether discovery has not said anything yet."""
        self._shut_out: set[str] = set()
        """Addresses where somebody else counts as the node of this name."""
        self._said: dict[str, bool] = {}
        self._heard: dict[str, bool] = {}
        """``Reached`` as last said to each link, and as last heard from it."""

    def next_deadline(self) -> float | None:
        """When ``dial_due`` has something next."""
        return self._dialer.next_deadline(self._view(), self._links.boots)

    def dial_due(self, now: float) -> None:
        """Dial in the background whoever is due."""
        for target in self._dialer.due(self._view(), self._links.boots, now):
            _ = self._dials.spawn(self._dial(target), f"dial {target.address}")

    def hurry(self, address: str) -> None:
        """Dial this address as soon as possible."""
        self._dialer.hurry(address)

    def found(self, source: str, addresses: Iterable[str]) -> None:
        """These are the addresses that a source knows now."""
        self._dialer.found(source, addresses)
        self.on_dialled()

    async def discover(self, sources: Iterable[Any], around: Surroundings, patience: float) -> None:
        """Look for possible peers, for ever; for ``patience`` seconds joining waits for answers."""
        self.discovery = Discovery(sources, around, self.found)
        self._looking = bool(self.discovery.figures)
        await self.discovery.start()
        _ = self._dials.spawn(self._first_look(self.discovery, patience), "first discovery")

    async def _first_look(self, discovery: Discovery, patience: float) -> None:
        await discovery.first(patience)
        self._looking = False
        self.on_dialled()

    def missing(self) -> list[str]:
        """Addresses of possible peers that are not known to be linked."""
        return self._dialer.unlinked_seeds(self._view(), self._links.boots)

    def all_tried(self) -> bool:
        """Whether each of them has been dialled at least once."""
        return not self._looking and self._dialer.all_seeds_tried(self._view().me.address)

    @property
    def shut_out(self) -> bool:
        """Whether a cluster is there that does not let this node in as long as it knows another
        one of its name."""
        return bool(self._shut_out)

    def heard(self, boot: str, message: Reached) -> None:
        """What another one that joins says of those that it was told of."""
        self._heard[boot] = message.all

    def all_met(self) -> bool:
        """Whether nobody is missing that this node, or one of those it met, was told of.

        Those it met hear from here whether this node misses anybody.
        """
        all_here = not self._looking and not self.missing()
        boots = self._links.boots
        self._heard = {boot: said for boot, said in self._heard.items() if boot in boots}
        self._said = {boot: said for boot, said in self._said.items() if boot in boots}
        for boot in boots:
            if self._said.get(boot) is not all_here:
                self._said[boot] = all_here
                self._links.send(boot, Reached(all_here))
        return all_here and all(self._heard.get(boot) for boot in boots)

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
                self._dialer.reached(target.address, view.me.name)
            else:
                self._failed(target, error)
            self._shut_out.discard(target.address)
            if error.why == "name":
                self._shut_out.add(target.address)
        except ClusterError as error:
            self._shut_out.discard(target.address)
            self._failed(target, error)
            if isinstance(error, DialRefused) and target.boot is not None:
                self._on_refused(target.boot)
        else:
            self._shut_out.discard(target.address)
            self._dialer.reached(target.address, member.name)
            if target.boot is not None and target.boot != member.boot:
                self._on_refused(target.boot)
        self.on_dialled()

    def _failed(self, target: Target, error: ClusterError) -> None:
        view = self._view()
        news = self._dialer.failed(target.address, str(error), view, self._world.now())
        expected = view.by_boot.get(target.boot or "")
        if news and (expected is None or expected.present):
            fields = {"address": target.address, "error": str(error), "next": "trying again"}
            log.warning("peer_unreachable", extra={"fields": fields})
