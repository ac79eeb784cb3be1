"""The processes that the integration tests run."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pyhorde import Ignore, Process, Resume, call, cast


class Tally(Process):
    """Counts, and remembers why it was started again."""

    durability = "none"

    def __init__(self, start: int = 0) -> None:
        self.state: dict[str, Any] = {"count": start}
        self.past: list[dict[str, Any]] = []

    async def init(self, resume: Resume | None) -> None:
        if resume is not None:
            state = dict(resume.state) if resume.state is not None else None
            self.past.append({"kind": resume.kind, "node": resume.node, "state": state})

    @call
    async def increment(self, by: int = 1) -> int:
        self.state["count"] += by
        return self.state["count"]

    @call
    async def slow_increment(self) -> int:
        await asyncio.sleep(0.01)
        return await self.increment()

    @cast
    async def add(self, by: int) -> None:
        self.state["count"] += by

    @call
    async def get(self) -> int:
        return self.state["count"]

    @call
    async def history(self) -> list[dict[str, Any]]:
        return self.past

    @call
    async def place(self) -> tuple[str, int]:
        return self.node.name, self.epoch

    @call
    async def save(self) -> None:
        await self.checkpoint()

    @call
    async def fail(self) -> None:
        raise ValueError("no such luck")

    @cast
    async def explode(self) -> None:
        raise RuntimeError("out of order")

    @call
    async def finish(self, reason: str = "normal") -> str:
        self.stop(reason)
        return "bye"


class Checkpointed(Tally):
    durability = "checkpoint"


class Replicated(Tally):
    durability = "replicated"


class Transient(Replicated):
    restart = "transient"


class Temporary(Replicated):
    restart = "temporary"


class Unwilling(Process):
    """Does not want to start."""

    async def init(self, resume: Resume | None) -> None:
        raise Ignore("not today")


class Broken(Process):
    """Cannot start."""

    async def init(self, resume: Resume | None) -> None:
        raise ValueError("no database")


class Poison(Tally):
    """Starts once; every later start fails."""

    starts: ClassVar[dict[str, int]] = {}

    async def init(self, resume: Resume | None) -> None:
        self.starts[self.name] = self.starts.get(self.name, 0) + 1
        if resume is not None:
            raise RuntimeError("poisoned")


class Gated(Replicated):
    """A later start takes until the gate is opened."""

    gate: ClassVar[asyncio.Event]
    waiting: ClassVar[asyncio.Event]

    async def init(self, resume: Resume | None) -> None:
        await super().init(resume)
        if resume is not None:
            self.waiting.set()
            await self.gate.wait()


class Stuck(Tally):
    """A call that lasts until its node goes."""

    shutdown = 0.1
    entered: ClassVar[asyncio.Event]

    @call
    async def hang(self) -> None:
        self.entered.set()
        await asyncio.Event().wait()


class Diary(Process):
    """Keeps what it is told, and takes over what a duplicate was told."""

    durability = "replicated"
    ended: ClassVar[dict[tuple[str, str], str]] = {}
    """Why a diary ended, by its name and node."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"entries": [], "merges": []}

    @call
    async def write(self, entry: str) -> None:
        self.state["entries"].append(entry)

    @call
    async def read(self) -> dict[str, Any]:
        return {**self.state, "node": self.node.name}

    async def merge(self, other: Resume) -> None:
        theirs = [e for e in other.state["entries"] if e not in self.state["entries"]]
        self.state["merges"].append({"kind": other.kind, "entries": other.state["entries"]})
        self.state["entries"] += theirs

    async def terminate(self, reason: str) -> None:
        self.ended[self.name, self.node.name] = reason


ALL = (
    Tally,
    Checkpointed,
    Replicated,
    Transient,
    Temporary,
    Unwilling,
    Broken,
    Poison,
    Gated,
    Stuck,
    Diary,
)
