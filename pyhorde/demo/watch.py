"""Waiting for something to be so, and finding out where everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TypeVar

from pyhorde.demo.accounting import misplaced
from pyhorde.demo.client import Claim, Client
from pyhorde.demo.cluster import Trio

T = TypeVar("T")
POLL = 0.05


class StoryBroken(Exception):
    """The story cannot go on; the text says what did not happen."""


async def until(
    look: Callable[[], Awaitable[T | None]], seconds: float, complaint: Callable[[], str]
) -> T:
    """Poll ``look`` until it returns something true; :class:`StoryBroken` after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(POLL)
            return found
    except TimeoutError:
        raise StoryBroken(f"after {seconds:g} s: {complaint()}") from None


async def until_true(
    condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]
) -> None:
    """:func:`until` for what can be seen without asking anybody."""

    async def look() -> bool:
        return condition()

    await until(look, seconds, complaint)


class Watch:
    """Looks at all live nodes at once."""

    def __init__(self, trio: Trio, client: Client, meetings: Collection[str]) -> None:
        self._trio = trio
        self._client = client
        self._meetings = meetings
        self._seen = "no node has answered yet"

    async def all_alive(self, seconds: float) -> None:
        """Wait until each node is ready and sees all three alive."""
        await until(self._all_alive, seconds, lambda: self._seen)

    async def settled(self, seconds: float) -> dict[str, Claim]:
        """Wait until each meeting runs exactly once and all nodes agree on where.

        What runs is asked of the supervisors; what the nodes believe, of their registries.
        """
        return await until(self._settled, seconds, lambda: self._seen)

    async def _all_alive(self) -> bool:
        nodes = self._trio.nodes
        if ended := [node for node in nodes.values() if not node.up]:
            raise StoryBroken(f"node {ended[0].name} ended with exit code {ended[0].exit_code}")
        for name, node in nodes.items():
            if not await self._client.ready(node.address):
                self._seen = f"node {name} is not ready"
                return False
            node.ready = True
            if missing := set(nodes) - await self._client.alive_members(node.address):
                self._seen = f"node {name} does not see {', '.join(sorted(missing))} alive"
                return False
        return True

    async def _settled(self) -> dict[str, Claim] | None:
        live = self._trio.live
        running = {name: await self._client.running(address) for name, address in live.items()}
        if silent := [name for name, found in running.items() if found is None]:
            self._seen = f"{', '.join(silent)} did not say what runs there"
            return None
        known = {name: found for name, found in running.items() if found is not None}
        if problems := misplaced(self._meetings, known):
            self._seen = "; ".join(problems)
            return None
        where = {m: next(n for n, found in known.items() if m in found) for m in self._meetings}
        return await self._agreed(where, live.items())

    async def _agreed(
        self, where: dict[str, str], live: Iterable[tuple[str, str]]
    ) -> dict[str, Claim] | None:
        claims: dict[str, Claim] = {}
        for viewer, address in live:
            for meeting, node in where.items():
                claim = await self._client.claim(address, meeting)
                if claim is None or claim.node != node:
                    believed = claim.node if claim else "nowhere"
                    self._seen = f"{meeting} runs on {node}, but {viewer} believes {believed}"
                    return None
                claims[meeting] = claim
        return claims
