"""A node with processes that hold keys, and other nodes that claim some too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pyhorde import Process, call, cast
from pyhorde.crdt import Dot, Replica
from pyhorde.runtime.messages import KeyQuestion, Reply
from pyhorde.runtime.record import Claim, Life, Spec, encode_claim
from tests.unit.runtime.stage import Stage, member

ELSEWHERE = "elsewhere:Room"
"""A type that this node does not offer: it takes nothing over."""
LIFE = Life(1, "start")
ABOVE = member("b")
"""A member whose claims beat those of this node."""
BELOW = member("0")
"""A member whose claims lose against those of this node."""


class Room(Process):
    """Registers what it is told to, also whenever it starts."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.heard: list[Any] = []

    async def init(self, resume: Any) -> None:
        if len(self.keys) > 10:
            await self.node.registry.register_many(self.keys, self)
        else:
            for key in self.keys:
                self.node.registry.register(key, "init", self)

    @call
    async def register(self, key: str, value: Any) -> str:
        return str(self.node.registry.register(key, value, self).process)

    @cast
    async def note(self, what: Any, loud: bool = False) -> None:
        self.heard.append((what, loud) if loud else what)

    @cast
    async def crash(self) -> None:
        raise RuntimeError("told to")

    async def handle_info(self, message: Any) -> None:
        self.heard.append(message)


@asynccontextmanager
async def room(*names: str) -> AsyncIterator[Stage]:
    """Node ``a`` with a process ``room`` and these others."""
    async with Stage(Room, others=(ABOVE, BELOW)) as stage:
        for name in ("room", *names):
            await stage.face.start_child(Room, name)
        yield stage


def heard(stage: Stage, name: str = "room") -> list[Any]:
    """What a process of this node was told."""
    found: list[Any] = stage.cells[name].process.heard
    return found


def runs(stage: Stage, name: str, node: str = "b") -> Replica:
    """Another node runs this process, and it is known here."""
    replica = stage.other(node)
    stage.take(replica)
    spec = Spec(ELSEWHERE, b"", "permanent", "none", 1, LIFE)
    replica.put("spec", name, spec.encode(), stage.world.wall(), spec.rank)
    said = Claim(name, Dot(replica.origin, 0), 1, node, ELSEWHERE, LIFE)
    replica.add(name, encode_claim(said))
    stage.bring(replica)
    return replica


def claims(
    stage: Stage,
    key: str,
    process: str = "theirs",
    node: str = "b",
    table: str = "u:",
    data: bytes | None = None,
) -> Dot:
    """Another node, which runs this process, says that it holds the key."""
    if stage.names.spec(process) is None:
        runs(stage, process, node)
    replica = stage.other(node)
    stage.take(replica)
    value = stage.codec.encode("theirs") if data is None else data
    dot = replica.add(key, value, table=table, label=process.encode())
    stage.bring(replica)
    return dot


def questions(stage: Stage) -> list[tuple[str, KeyQuestion]]:
    """What other nodes were asked about their claims so far."""
    return [(boot, each) for boot, each in stage.cluster.sent if isinstance(each, KeyQuestion)]


def answer(stage: Stage, result: bytes, which: int = -1) -> None:
    """The answer to such a question comes in."""
    boot, question = questions(stage)[which]
    stage.cluster.deliver(boot, Reply(question.id, result, None))
