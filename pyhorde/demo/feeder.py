"""The voice of one meeting: sends its lines one by one, and never gives up on a line."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyhorde.demo.accounting import Account, Held, Ledger, expect
from pyhorde.demo.client import Answer

RETRY_PAUSE = 0.02


class Caller(Protocol):
    """The one thing a feeder needs of :class:`~pyhorde.demo.client.Client`."""

    async def call(
        self, address: str, name: str, method: str, *args: Any, request_id: str | None = None
    ) -> Answer:
        """Call a method of a process through the node at ``address``."""


class Feeder:
    """Feeds ``script`` to a meeting, over and over, through nodes chosen at random."""

    def __init__(
        self,
        ledger: Ledger,
        account: Account,
        script: Sequence[str],
        client: Caller,
        live: Callable[[], Sequence[str]],
    ) -> None:
        self.ledger = ledger
        self.fed = 0
        self._account = account
        self._script = script
        self._client = client
        self._live = live

    def text(self, number: int) -> str:
        """Line ``number`` (from 1)."""
        return self._script[(number - 1) % len(self._script)]

    @property
    def expected(self) -> Held:
        """What the meeting holds when nothing was lost."""
        return expect([self.text(number) for number in range(1, self.fed + 1)])

    async def run(self, stop: asyncio.Event, gap: float) -> None:
        """Send a line every ``gap`` seconds until ``stop`` is set; finishes the line at hand."""
        while not stop.is_set():
            await self.deliver(self.fed + 1)
            self.fed += 1
            await asyncio.sleep(gap * random.uniform(0.5, 1.5))

    async def deliver(self, number: int, attempt: str = "first") -> None:
        """Send one line until it is acknowledged.

        All tries share one request id, so it takes effect once. A line that a meeting has
        forgotten is a new ``attempt`` with an id of its own.
        """
        clock = asyncio.get_running_loop().time
        request_id = f"{self.ledger.name}-{number}-{attempt}"
        self.ledger.ask(number, clock())
        while not await self._try(number, request_id):
            self.ledger.retries += 1
            await asyncio.sleep(RETRY_PAUSE)
        self.ledger.acknowledge(number, clock())

    async def resend(self, numbers: Sequence[int], step: str) -> None:
        """Deliver forgotten lines once more."""
        for number in numbers:
            await self.deliver(number, attempt=f"again after {step}")
            self.ledger.resent += 1

    async def _try(self, number: int, request_id: str) -> bool:
        address = random.choice(list(self._live()))
        name = self.ledger.name
        args = (number, self.text(number))
        answer = await self._client.call(address, name, "add_line", *args, request_id=request_id)
        if not answer.ok and not answer.try_another:
            self._account.blame(f"a caller of {name} got an error: {answer.problem}")
        return answer.ok
