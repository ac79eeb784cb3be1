"""Workloads on the registry: keys that processes hold, and metadata that comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyhorde.errors import HordeError, NameTaken
from pyhorde.runtime.process import Process, Resume, call
from pyhorde.testing.work import CALL_TIMEOUT, Workload


class Tenant(Process):
    """Holds keys, and has them again wherever it goes. What it lost to another it forgets."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state: list[str] = []

    async def init(self, resume: Resume | None) -> None:
        """Register everything again."""
        for key in list(self.state):
            self._register(key)

    def _register(self, key: str) -> None:
        try:
            self.node.registry.register(key, len(key), self)
        except NameTaken:
            self.state = [each for each in self.state if each != key]
        else:
            self.state = [*(each for each in self.state if each != key), key]

    @call
    async def take(self, key: str) -> bool:
        """Hold one more key; whether that was possible."""
        self._register(key)
        return key in self.state

    @call
    async def drop(self, key: str) -> bool:
        """Hold it no more; whether it did."""
        self.state = [each for each in self.state if each != key]
        return bool(self.node.registry.unregister(key, self))

    @call
    async def holds(self) -> list[str]:
        """What it thinks that it holds."""
        return sorted(self.state)

    @call
    async def sees(self, prefix: str) -> dict[str, str]:
        """Who holds which key, as its node sees it."""
        entries = self.node.registry.select(prefix, lambda entry: entry.key != entry.process)
        return {entry.key: entry.process for entry in entries}

    async def handle_info(self, message: Any) -> None:
        """A key was lost to another process; it may have been taken again since."""
        if isinstance(message, tuple) and message[0] == "key_lost":
            key = message[1]
            holder = self.node.registry.lookup(key)
            if holder is None or holder.process != self.name:
                self.state = [each for each in self.state if each != key]

    async def merge(self, other: Resume) -> None:
        """Whatever either of the two held."""
        for key in other.state:
            self._register(key)


class Tenancies(Workload):
    """Processes take and drop keys, now and then the same one: who thinks to hold one, does."""

    processes = (Tenant,)
    clients = 2
    tenants = 3
    doors = 6

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.names = [f"{self.prefix}tenant-{i}" for i in range(self.tenants)]

    async def prepare(self) -> None:
        for name in self.names:
            await self.started(Tenant, name)

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        name = self.names[self._rng.randrange(self.tenants)]
        door = f"{self.prefix}door-{self._rng.randrange(self.doors)}"
        try:
            await self.ask(name, self._rng.choice(("take", "take", "drop")), door, over=over)
        except TimeoutError:
            return

    async def audit(self) -> None:
        told = {name: await self.ask(name, "holds") for name in self.names}
        meant = {(door, name) for name, doors in told.items() for door in doors}
        for name in self.names:
            seen = set((await self.ask(name, "sees", f"{self.prefix}door-")).items())
            for door, holder in sorted(meant - seen):
                self.problem(f"{holder} thinks that it holds {door}; where {name} runs it does not")
            for door, holder in sorted(seen - meant):
                self.problem(f"where {name} runs {holder} holds {door}, and does not know")

    async def tidy(self) -> None:
        await self.stopped(self.names)


class Board(Process):
    """Writes metadata on whatever node it runs."""

    durability = "none"

    @call
    async def post(self, key: str, value: int) -> bool:
        """Write, and wait until all members have it; whether that is worth anything."""
        self.node.registry.put_meta(key, value)
        return await self._is_safe()

    @call
    async def erase(self, key: str) -> bool:
        """Delete what is there; whether something was, and all members know."""
        return bool(self.node.registry.delete_meta(key)) and await self._is_safe()

    async def _is_safe(self) -> bool:
        await self.node.registry.flush(3.0)
        return len(self.node.view.others) > 0

    @call
    async def reads(self, key: str) -> int | None:
        """The value, if there is one."""
        value: int | None = self.node.registry.meta(key)
        return value


class Notices(Workload):
    """What was written and deleted by one who saw it never comes back; what was not, stays."""

    processes = (Board,)
    clients = 2
    boards = 3

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.names = [f"{self.prefix}board-{i}" for i in range(self.boards)]
        self._count = 0
        self.deleted: list[str] = []
        """Notices whose deletion was confirmed."""
        self.kept: dict[str, int] = {}
        """Notices that were confirmed, and that nobody tried to delete."""

    async def prepare(self) -> None:
        for name in self.names:
            await self.started(Board, name)

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        self._count += 1
        key, value = f"{self.prefix}notice-{self._count}", self._count
        try:
            if not await self._post(key, value):
                return
            if self._count % 4 == 0:
                self.kept[key] = value
            elif await self.ask(self._board(), "erase", key, over=over):
                self.deleted.append(key)
        except TimeoutError:
            return

    async def _post(self, key: str, value: int) -> bool:
        """One try: a second one could be carried out after the notice has been deleted."""
        machines = self.access.machines()
        if not machines:
            return False
        self._requests += 1
        try:
            safe = await self.access.call_through(
                machines[self._rng.randrange(len(machines))],
                self._board(),
                "post",
                [key, value],
                {},
                timeout=CALL_TIMEOUT,
                request_id=f"{self.prefix}notice-{self._requests}",
            )
        except (HordeError, ConnectionError):
            return False
        self.done += 1
        return bool(safe)

    def _board(self) -> str:
        return self.names[self._rng.randrange(self.boards)]

    async def audit(self) -> None:
        for name in self.names:
            for key in self.deleted[-20:]:
                if await self.ask(name, "reads", key) is not None:
                    self.problem(f"{key} was deleted and is back where {name} runs")
            for key, value in list(self.kept.items())[-10:]:
                if (found := await self.ask(name, "reads", key)) != value:
                    self.problem(f"{key} is {found!r} where {name} runs, not {value}")

    async def tidy(self) -> None:
        for key in self.kept:
            await self.ask(self.names[0], "erase", key)
        self.kept.clear()
        await self.stopped(self.names)
