"""Clients that write into ledgers while hosts fail, and the account of every call they made.

A ledger appends what it is given, whatever is there already; a merge keeps what either side had.

A client gives each entry a request id and repeats the call, through one node after the other, until
it is acknowledged. So after the faults each entry has been acknowledged, and must be in its ledger
exactly once.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.netns.nodes import APP, DEADLINE, Horde

LEDGERS: Final = tuple(f"ledger-{n:02d}" for n in range(12))
CLIENTS: Final = 2
"""On each host."""
PATIENCE: Final = 2.0
"""Seconds that one try may take: then another node is asked."""
PAUSE: Final = (0.1, 0.3)
RETRY: Final = 0.05
ACKNOWLEDGED: Final = "acknowledged"
UNDECIDED: Final = {"call_timeout", "not_replicated", "unreachable"}
"""Outcomes after which an entry may be there or not, and is sent again."""
MERGES: Final = ("merged", "reclaimed")
"""What nodes log when they put two copies together."""


@dataclass
class Entry:
    """One entry, and what became of each try."""

    text: str
    ledger: str
    tries: list[tuple[str, str]] = field(default_factory=list)
    by: str = ""
    """The node through which it was acknowledged."""
    at: float = 0.0
    """When, in seconds of the wall clock."""
    position: int = 0
    """As the how-manieth of its ledger."""


class Accounts:
    """Ledgers and their clients. Leaving the context stops the clients.

    The seed decides what is written where, and whom clients ask next.
    """

    def __init__(self, horde: Horde, seed: int) -> None:
        self._horde = horde
        self._seed = seed
        self._clients: list[asyncio.Task[None]] = []
        self._over = False
        self.sent: list[Entry] = []

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self._begin(n, name) for n, name in enumerate(LEDGERS)))
        self._clients = [
            asyncio.create_task(self._client(home, number))
            for home in self._horde.names
            for number in range(CLIENTS)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _begin(self, number: int, name: str) -> None:
        node = self._horde.names[number % len(self._horde.names)]
        body = {"type": APP, "name": name}
        status, answer = await self._horde.ask(node, "POST", "/v1/processes", body, DEADLINE)
        assert status == 201, answer

    # ---- clients -----------------------------------------------------------------------------

    async def _client(self, home: str, number: int) -> None:
        rng = random.Random(f"{self._seed}/{home}/{number}")
        count = 0
        while not self._over:
            await asyncio.sleep(rng.uniform(*PAUSE))
            count += 1
            entry = Entry(f"{home}{number}-{count}", rng.choice(LEDGERS))
            self.sent.append(entry)
            node = home
            while not await self._acknowledged(entry, node):
                await asyncio.sleep(RETRY)
                node = rng.choice(self._horde.names)

    async def _acknowledged(self, entry: Entry, node: str) -> bool:
        """Send it through this node, once."""
        body = {"method": "add", "args": [entry.text], "timeout": PATIENCE}
        body["request_id"] = entry.text
        path = f"/v1/processes/{entry.ledger}/call"
        status, answer = await self._horde.ask(node, "POST", path, body, PATIENCE + 1)
        entry.tries.append((node, _outcome(status, answer)))
        if status == 200:
            entry.by, entry.at, entry.position = node, time.time(), answer["result"]
        return status == 200

    # ---- what they were told -----------------------------------------------------------------

    def acknowledged(self, nodes: str, since: float, until: float = math.inf) -> list[Entry]:
        """What was acknowledged through one of these nodes in this time."""
        return [e for e in self.sent if e.by and e.by in nodes and since <= e.at < until]

    async def unwritten(self, nodes: str, since: float) -> str:
        """Which ledgers these nodes have acknowledged no entry of since then; empty if none."""
        written = {entry.ledger for entry in self.acknowledged(nodes, since)}
        missing = sorted(set(LEDGERS) - written)
        return f"nothing is written through {nodes} into {missing}" if missing else ""

    async def stop(self) -> None:
        """Begin no further entry, and wait until each that was begun is acknowledged."""
        self._over = True
        await self._horde.until(self._pending, "every entry is acknowledged in the end")
        await asyncio.gather(*self._clients)

    async def _pending(self) -> str:
        waiting = [entry for entry in self.sent if not entry.by]
        return f"not acknowledged: {waiting}" if waiting else ""

    def outcomes(self) -> Counter[str]:
        """How often each outcome of a try was seen."""
        return Counter(outcome for entry in self.sent for _, outcome in entry.tries)

    # ---- the audit ---------------------------------------------------------------------------

    async def audit(self) -> None:
        """At rest: each entry is in its ledger once, whoever is asked, and every answer was true.

        What a ledger answered is the place of the entry in it, unless two copies were merged.
        """
        wrong = self.outcomes().keys() - UNDECIDED - {ACKNOWLEDGED}
        assert not wrong, [entry for entry in self.sent if wrong & {o for _, o in entry.tries}]
        merged = {e["name"] for what in MERGES for e in self._horde.logs.events(what)}
        for name in LEDGERS:
            mine = {entry.text: entry for entry in self.sent if entry.ledger == name}
            for node in self._horde.names:
                held = await self._entries(node, name)
                _compare(f"{name}, asked through {node},", mine, held, in_order=name not in merged)
        assert not self._horde.logs.complaints(), self._horde.logs.complaints()

    async def _entries(self, node: str, name: str) -> list[str]:
        body = {"method": "entries", "timeout": DEADLINE}
        path = f"/v1/processes/{name}/call"
        status, answer = await self._horde.ask(node, "POST", path, body, DEADLINE)
        assert status == 200, f"{node} about {name}: {answer}"
        result: list[str] = answer["result"]
        return result


def _compare(what: str, mine: dict[str, Entry], held: list[str], *, in_order: bool) -> None:
    lost = [entry for text, entry in mine.items() if text not in held]
    assert not lost, f"{what} has lost {lost}"
    twice = [text for text, count in Counter(held).items() if count > 1]
    assert not twice, f"{what} holds twice {[mine.get(text, text) for text in twice]}"
    assert set(held) == mine.keys(), f"{what} holds what nobody sent: {set(held) - mine.keys()}"
    moved = [mine[text] for n, text in enumerate(held, 1) if in_order and mine[text].position != n]
    assert not moved, f"{what} holds elsewhere than it has said {moved}"


def _outcome(status: int, answer: Any) -> str:
    if status == 200:
        return ACKNOWLEDGED
    return "unreachable" if status == 0 else answer["error"]["code"]
