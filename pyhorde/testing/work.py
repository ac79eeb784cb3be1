"""What a workload is, and its way to a cluster.

A workload is what clients do to a cluster while it has a bad day, and what they were told. It runs
unchanged against simulated and real nodes: it knows an :class:`Access`, nothing else. ``prepare``
runs while all is well, ``work`` all through the faults (several at once), ``audit`` once the
cluster is quiet again, ``tidy`` at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar, Protocol

from pyhorde.errors import HordeError, NameNotFound, NameTaken
from pyhorde.runtime.process import Process

GIVE_UP = 30.0
"""Seconds after which a client stops sending one request again."""
CALL_TIMEOUT = 5.0
PAUSE = 0.1


class Access(Protocol):
    """The way to a cluster: one try through one machine.

    Every method may raise ``HordeError``, or ``ConnectionError`` when the machine is gone.
    """

    def machines(self) -> Sequence[str]:
        """Those that take requests now, as far as is known."""
        ...

    def now(self) -> float:
        """Seconds."""
        ...

    async def call_through(
        self,
        machine: str,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float,
        request_id: str | None,
    ) -> Any:
        """Call a method of the named process."""

    async def start_through(
        self, machine: str, cls: type[Process], name: str, args: Sequence[Any] = ()
    ) -> None:
        """Start a process somewhere in the cluster."""

    async def stop_through(self, machine: str, name: str) -> None:
        """End a process for good."""


class Workload:
    """One kind of work. ``prefix`` keeps its names apart from those of others."""

    processes: ClassVar[tuple[type[Process], ...]] = ()
    clients: ClassVar[int] = 1
    """How many ``work`` at once."""

    def __init__(self, access: Access, rng: Random, prefix: str, pace: float = 1.0) -> None:
        self.access = access
        self.prefix = prefix
        self.pace = pace
        """Mean seconds between two requests of one client."""
        self.done = 0
        """Requests answered."""
        self.problems: list[str] = []
        self._rng = rng
        self._requests = 0

    async def prepare(self) -> None:
        """Start what is needed. All is well."""

    async def work(self, number: int, over: Callable[[], bool]) -> None:
        """Be one client until it is over."""
        while not over():
            await asyncio.sleep(self._rng.expovariate(1 / self.pace))
            await self.step(number, over)

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        """One thing that a client does."""

    async def audit(self) -> None:
        """Compare what is with what clients were told; ``problems`` gets what does not fit."""

    async def tidy(self) -> None:
        """End all processes of this workload."""

    # ---- for workloads -----------------------------------------------------------------------

    def problem(self, text: str) -> None:
        """Something is wrong."""
        self.problems.append(f"{type(self).__name__}: {text}")

    async def ask(
        self, name: str, method: str, *args: Any, over: Callable[[], bool] = lambda: False
    ) -> Any:
        """A call until it is answered: through any machine, always with the same request id.

        Raises ``TimeoutError`` after :data:`GIVE_UP` seconds, or when it is over.
        """
        self._requests += 1
        request_id = f"{self.prefix}{type(self).__name__}-{self._requests}"

        async def attempt(machine: str) -> Any:
            return await self.access.call_through(
                machine, name, method, list(args), {}, timeout=CALL_TIMEOUT, request_id=request_id
            )

        answer = await self.insist(attempt, over)
        self.done += 1
        return answer

    async def insist(
        self, attempt: Callable[[str], Awaitable[Any]], over: Callable[[], bool] = lambda: False
    ) -> Any:
        """Try through one machine after the other until one answers."""
        end = self.access.now() + GIVE_UP
        last: Exception | None = None
        while self.access.now() < end and not over():
            machines = self.access.machines()
            if machines:
                try:
                    return await attempt(machines[self._rng.randrange(len(machines))])
                except (HordeError, ConnectionError) as error:
                    last = error
            await asyncio.sleep(PAUSE)
        raise TimeoutError(f"given up; the last answer: {last!r}")

    async def started(self, cls: type[Process], name: str, *args: Any) -> None:
        """Start a process while all is well."""

        async def attempt(machine: str) -> None:
            try:
                await self.access.start_through(machine, cls, name, args)
            except NameTaken:
                return

        await self.insist(attempt)
        self.done += 1

    async def stopped(self, names: Iterable[str]) -> None:
        """End processes while all is well."""
        for name in names:
            await self.insist(partial(self._stop, name))
            self.done += 1

    async def _stop(self, name: str, machine: str) -> None:
        try:
            await self.access.stop_through(machine, name)
        except NameNotFound:
            return
