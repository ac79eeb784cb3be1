"""A cell on its own: a process that does what the test asks for, a keeper and an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pyhorde import Process, Resume, call, cast
from pyhorde.cluster.transport.codec import Codec
from pyhorde.config import RuntimeConfig
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.setting import Setting
from tests.unit.runtime.stage import outcome

CODEC = Codec()


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Worker(Process):
    """Does whatever the test asks for."""

    shutdown = 2.0

    def __init__(self, count: int = 0) -> None:
        self.state = count
        self.log: list[Any] = []
        self.gate = asyncio.Event()
        self.running = 0
        self.ended: list[str] = []
        self.before_terminate: Callable[[], Any] | None = None

    @call
    async def add(self, by: int = 1) -> int:
        self.state += by
        return self.state

    @call
    async def hold(self, label: str = "") -> str:
        self.running += 1
        self.log.append(("begin", label, self.running))
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
            self.log.append(("end", label))
        return label

    @call
    async def clings(self) -> None:
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.log.append("clings")

    @call
    async def fail(self, text: str = "no") -> None:
        self.state += 1
        raise ValueError(text)

    @call
    async def fail_hostile(self) -> None:
        raise Hostile

    @call
    async def fail_badly(self) -> None:
        raise ValueError("\ud800" + "x" * 1_000_000)

    @call
    async def give(self, what: str) -> Any:
        return {"object": object(), "big": "x" * 2_000_000, "surrogate": "\ud800"}[what]

    @call
    async def cancel_itself(self) -> None:
        raise asyncio.CancelledError

    @call
    async def end(self, reason: str = "normal") -> str:
        self._context.request_stop(reason)
        return "bye"

    @call
    def plain(self) -> int:
        return self.state

    @cast
    async def note(self, label: str) -> None:
        self.log.append(label)

    @cast
    async def crash(self, label: str = "boom") -> None:
        raise ValueError(label)

    @cast
    async def crash_by_cancelling(self) -> None:
        raise asyncio.CancelledError

    @cast
    async def hold_cast(self) -> None:
        await self.gate.wait()
        raise ValueError("after the gate")

    async def handle_info(self, message: Any) -> None:
        self.log.append(message)
        if message == "crash":
            raise ValueError("info")

    async def terminate(self, reason: str) -> None:
        self.ended.append(reason)
        if self.before_terminate is not None:
            await self.before_terminate()

    async def merge(self, other: Resume) -> None:
        self.log.append(("merge", other.state))
        if other.state == "raise":
            raise ValueError("merge")
        if other.state == "cancel":
            raise asyncio.CancelledError
        if other.state == "hang":
            await asyncio.sleep(10_000)
        if other.state == "gate":
            await self.gate.wait()


class Lent:
    """A context that goes straight to the cell."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def request_stop(self, reason: str) -> None:
        self.cell.request_stop(reason)


class Keeping:
    """A keeper that the test can hold up or make fail."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.error: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def after(self, cell: Cell) -> None:
        self.kept.append(cell.process.state if cell.process else None)
        await self.settled()

    async def settled(self) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error


class Watching:
    """An owner that writes down."""

    def __init__(self) -> None:
        self.exits: list[tuple[str, str | None]] = []

    def exited(self, cell: Cell, reason: str, error: BaseException | None) -> None:
        self.exits.append((reason, type(error).__name__ if error is not None else None))


class Rig:
    """One cell, its keeper and its owner."""

    def __init__(self, cls: type[Process] = Worker, **settings: Any) -> None:
        self.owner = Watching()
        self.keeper = Keeping()
        config = RuntimeConfig(**{"start_timeout": 5.0, "merge_timeout": 3.0, **settings})
        setting = Setting("a", CODEC, config, self.owner)
        arguments = CODEC.encode([[], {}])
        self.cell = Cell("name", "m:Worker", cls, arguments, 1, setting, self.keeper)
        self.numbers = iter(range(1_000_000))

    async def start(self, resume: Resume | None = None, answers: Any = ()) -> Any:
        context: Any = Lent(self.cell)
        await self.cell.start(context, resume, list(answers))
        return self.cell.process

    async def call(self, method: str, *args: Any, request_id: str = "") -> Any:
        arguments = CODEC.encode([list(args), {}])
        request_id = request_id or f"r{next(self.numbers)}"
        return CODEC.decode(await self.cell.call(method, arguments, request_id))

    def calling(self, method: str, *args: Any, request_id: str = "") -> asyncio.Task[Any]:
        return asyncio.create_task(outcome(self.call(method, *args, request_id=request_id)))

    async def merge(self, other: Resume, answers: Any = ()) -> None:
        await self.cell.merge(other, list(answers))

    def cast(self, method: str, *args: Any) -> None:
        self.cell.cast(method, CODEC.encode([list(args), {}]))


async def running(cls: type[Process] = Worker, **settings: Any) -> tuple[Rig, Any]:
    rig = Rig(cls, **settings)
    return rig, await rig.start()


def lost(state: Any, node: str = "b/1", epoch: int = 1) -> Resume:
    return Resume("conflict", state, 1, epoch, node)


def starting(**attributes: Any) -> type[Worker]:
    return type("Starting", (Worker,), attributes)


async def raising(error: BaseException) -> None:
    raise error


def init(error: BaseException) -> Any:
    return lambda self, resume: raising(error)
