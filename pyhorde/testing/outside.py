"""Clients outside of a simulated cluster, and what they were promised."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from pyhorde.errors import (
    BadArguments,
    CannotTravel,
    HordeError,
    InvalidName,
    NameNotFound,
    NameTaken,
    RemoteError,
    StartFailed,
    UnknownMethod,
    UnknownType,
)
from pyhorde.runtime.process import Process
from pyhorde.testing.invariants import LATE

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

FINAL = (
    BadArguments,
    CannotTravel,
    InvalidName,
    NameNotFound,
    NameTaken,
    RemoteError,
    StartFailed,
    UnknownMethod,
    UnknownType,
)
"""Errors that another node would not answer otherwise."""
ATTEMPT = 5.0
"""Seconds after which a client tries through another node."""
LIMIT = 60.0
"""Seconds after which it gives up."""
PAUSE = 0.05


class Outside:
    """What reaches the cluster from outside: each request through some live node.

    A request whose node dies, or does not know, is sent again through another with the same id.
    """

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._rng = Random(f"{cluster.seed}/outside")
        self.promised: set[str] = set()
        """Permanent names whose start was confirmed, and that nobody has asked to end."""
        self.ended: set[str] = set()
        """Names whose end was confirmed, and that nobody has started since."""
        self._firm: set[str] = set()
        """Promised names that every node knows: none may say that there is no such name."""
        self._informed: set[str] = set()
        """Boots of which this can be asked: a node that comes up alone knows nothing."""
        self.deaf = 0
        """While this is not 0, what clients ask for happens, and they do not hear of it."""
        self.calls = 0
        self.attempts = 0

    def now(self) -> float:
        """Seconds, on the clock of the world."""
        return self._cluster.loop.time()

    def machines(self) -> list[str]:
        """The machines that take requests now."""
        return sorted(self._cluster.live)

    # ---- one try through one machine ---------------------------------------------------------

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
        """One call, one try. ``ConnectionResetError`` when the machine crashes meanwhile.

        Checks that it ends in time, and with nothing but a reply or a documented error.
        """
        cluster = self._cluster
        node, since = cluster.node(machine), self.now()
        self.attempts += 1
        strict = name in self._firm and cluster.machines[machine].key in self._informed
        call = node.router.call(name, method, args, kwargs, timeout=timeout, request_id=request_id)
        report = cluster.invariants.report
        try:
            return self._unless_lost(await cluster.on(machine, call))
        except NameNotFound:
            if strict and name in self._firm:
                report(12, f"{machine} says that there is no {name!r}")
            raise
        except (HordeError, ConnectionResetError, asyncio.CancelledError):
            raise
        except BaseException as error:
            report(11, f"{name}.{method} through {machine} ended with {error!r}")
            raise
        finally:
            late = self.now() - since - timeout
            if late > LATE and not cluster.was_hindered(machine, since):
                report(11, f"{name}.{method} through {machine} ended {late:.2f} s late")

    async def start_through(
        self, machine: str, cls: type[Process], name: str, args: Any = (), kwargs: Any = None
    ) -> None:
        """One start, one try."""
        self.ended.discard(name)
        node = self._cluster.node(machine)
        start = node.start_child(cls, name, *args, **(kwargs or {}))
        self._unless_lost(await self._cluster.on(machine, start))
        if cls.restart == "permanent":
            self.promised.add(name)

    async def stop_through(self, machine: str, name: str) -> None:
        """One stop, one try."""
        self.promised.discard(name)
        self._firm.discard(name)
        node = self._cluster.node(machine)
        stop = node.supervisor.terminate_child(name)
        self._unless_lost(await self._cluster.on(machine, stop))
        self.ended.add(name)

    def _unless_lost(self, reply: Any) -> Any:
        if self.deaf:
            raise ConnectionResetError("the reply was lost")
        return reply

    def known_everywhere(self) -> None:
        """From now on, no node may say of a promised name that there is none."""
        self._firm = set(self.promised)
        self._informed = {machine.key for machine in self._cluster.machines.values()}

    def informed(self, key: str) -> None:
        """This boot came up while it could reach all others: it knows what they know."""
        self._informed.add(key)

    # ---- until it is done --------------------------------------------------------------------

    async def call(
        self,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """A call, tried through one node after the other, always with the same request id."""
        self.calls += 1
        limit = LIMIT if timeout is None else timeout
        request_id = request_id or f"outside-{self._rng.randrange(2**64):x}"
        end = self.now() + limit

        def attempt(machine: str) -> Any:
            left = min(ATTEMPT, max(0.1, end - self.now()))
            return self.call_through(
                machine, name, method, args, kwargs, timeout=left, request_id=request_id
            )

        return await self._until_done(attempt, end)

    async def cast(self, name: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """A cast through some live node."""
        machine = self._any()
        node = self._cluster.node(machine)
        await self._cluster.on(machine, node.router.cast(name, method, args, kwargs))

    async def start(self, cls: type[Process], name: str, args: Any, kwargs: Any) -> None:
        """A start, tried until a node confirms it."""
        tries = 0

        async def attempt(machine: str) -> None:
            nonlocal tries
            tries += 1
            try:
                await self.start_through(machine, cls, name, args, kwargs)
            except NameTaken:
                if tries == 1:
                    raise
                if cls.restart == "permanent":
                    self.promised.add(name)  # an earlier try did start it

        await self._until_done(attempt, self.now() + LIMIT)

    async def stop(self, name: str) -> None:
        """A stop, tried until a node confirms it."""

        async def attempt(machine: str) -> None:
            try:
                await self.stop_through(machine, name)
            except NameNotFound:
                self.ended.add(name)

        await self._until_done(attempt, self.now() + LIMIT)

    async def _until_done(self, attempt: Any, end: float) -> Any:
        """Retry on everything that another node, or a later moment, may answer otherwise."""
        self._cluster.check_inside()
        while True:
            try:
                return await self._try(attempt, min(ATTEMPT, end - self.now()) + LATE)
            except FINAL:
                raise
            except (HordeError, ConnectionResetError, LookupError, TimeoutError):
                if self.now() >= end:
                    raise
            await asyncio.sleep(PAUSE)

    async def _try(self, attempt: Any, timeout: float) -> Any:
        trying = asyncio.ensure_future(attempt(self._any()))
        try:
            await asyncio.wait([trying], timeout=timeout)
            if trying.done():
                return trying.result()
        finally:
            trying.cancel()
        raise TimeoutError("no node has answered")

    def _any(self) -> str:
        machines = self.machines()
        if not machines:
            raise LookupError("no node runs")
        return machines[self._rng.randrange(len(machines))]
