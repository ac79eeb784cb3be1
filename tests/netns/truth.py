"""What is true of five nodes, whatever each of them believes; and whether they agree with it."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from tests.netns.nodes import DEADLINE, POLL, Horde

KNOWN: Final = "/v1/processes"
LOCAL: Final = "/v1/processes?local=1"
REST: Final = 3.5
"""Seconds without any change that count as rest: nothing that nodes put off waits longer."""

Place = tuple[str, str, int]
"""A process: its name, its node, its epoch."""


class Truth:
    """Asks each node what it believes and what it really runs."""

    def __init__(self, horde: Horde) -> None:
        self._horde = horde

    async def homes(self) -> dict[str, str]:
        """Where each name really runs; of two nodes, one."""
        return {name: node for name, node, _ in await self._running()}

    async def busiest(self) -> str:
        """The node that runs most."""
        ((node, _),) = Counter((await self.homes()).values()).most_common(1)
        return node

    async def packets(self) -> dict[str, dict[str, float]]:
        """How many packets each node has sent, and received, so far."""
        counted = re.compile(r"^pyhorde_packets_(\w+)_total (\S+)$", re.MULTILINE)
        told = {}
        for node in self._horde.names:
            found = counted.findall(await self._horde.text(node, "/metrics"))
            told[node] = {what: float(count) for what, count in found}
        return told

    # ---- complaints --------------------------------------------------------------------------

    async def not_ready(self) -> str:
        """Which nodes do not say that they are ready; empty if all do."""
        answers = await self._horde.ask_all("/readyz")
        missing = [node for node, body in answers.items() if body is None]
        return f"not ready: {missing}" if missing else ""

    async def not_met(self) -> str:
        """Which node is not ready, or does not see exactly all of them alive; empty if none."""
        if said := await self.not_ready():
            return said
        addresses = self._horde.hosts.addresses
        alive = {name: (address, "alive") for name, address in addresses.items()}
        for node, body in (await self._horde.ask_all("/v1/members")).items():
            rows = body["members"] if body else []
            seen = {row["name"]: (row["address"], row["state"]) for row in rows}
            if seen != alive or len(rows) != len(alive):
                return f"{node} sees {seen}"
        return ""

    async def not_running(self, names: Iterable[str], nodes: Iterable[str] = ()) -> str:
        """Which names do not run exactly once in these nodes together; empty if none."""
        return _odd((name for name, _, _ in await self._running(nodes)), names)

    async def moved(self, homes: dict[str, str]) -> str:
        """Which names do not run there and only there; empty if none."""
        places = ((name, node) for name, node, _ in await self._running())
        return _odd(places, homes.items())

    # ---- rest --------------------------------------------------------------------------------

    async def rest(self, names: Iterable[str], within: float = DEADLINE) -> float:
        """Wait until every node agrees with the truth and nothing changes any more.

        That is: all nodes are alive, and exactly these names run, each once, where every node says
        that they do. Returns since when (monotonic) it has been so.
        """
        wanted = sorted(names)
        start = since = time.monotonic()
        before: list[Place] = []
        while True:
            running = await self._running()
            said = await self._disagreement(wanted, running)
            now = time.monotonic()
            if said or running != before:
                before, since = running, now
            elif now - since >= REST:
                return since
            problem = said or "it keeps changing"
            assert now - start < within + REST, f"no rest within {within:g} s: {problem}"
            await asyncio.sleep(POLL)

    async def _disagreement(self, names: list[str], running: list[Place]) -> str:
        said = await self.not_met() or _odd((name for name, _, _ in running), names)
        if said:
            return said
        for node, body in (await self._horde.ask_all(KNOWN)).items():
            if odd := set(_places(body)) ^ set(running):
                return f"{node} is wrong about {sorted(odd, key=repr)}"
        return ""

    async def _running(self, nodes: Iterable[str] = ()) -> list[Place]:
        """What really runs in these nodes (in all: none named), sorted."""
        answers = await self._horde.ask_all(LOCAL, nodes)
        return sorted(place for body in answers.values() for place in _places(body))


def _places(body: Any) -> list[Place]:
    rows = body["processes"] if body else []
    return [(row["name"], row["node"], row["epoch"]) for row in rows]


def _odd(found: Iterable[Any], wanted: Iterable[Any]) -> str:
    """What is there too often or too rarely."""
    counts = Counter(found)
    counts.subtract(Counter(wanted))
    odd = {each: f"{count:+d}" for each, count in sorted(counts.items()) if count}
    return f"too many or too few: {odd}" if odd else ""
