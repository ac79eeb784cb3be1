"""Two simulated machines on one network, and what arrives at either of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pyhorde.testing import Conditions, SimLoop, SimNetwork
from pyhorde.testing.network import MachineNetwork

FAR = Conditions(latency_min=0.01, latency_mean=0.5)
A_TO_B, B_TO_A = ("a", "b"), ("b", "a")
CLOSED = "closed by the peer"


class Wire:
    """Two machines, one listening on ``b:1``, and what arrives at either end."""

    def __init__(self, seed: int) -> None:
        self.loop = SimLoop(seed)
        self.network = SimNetwork(self.loop, seed)
        self.ends: list[Any] = []
        self.heard: list[object] = []
        """What the far end got, and how it ended."""
        self.answers: list[object] = []
        """The same for the dialling end."""

    async def listen(self) -> None:
        await MachineNetwork(self.network, "b", "b#1").listen("b:1", self._accept)

    def _accept(self, stream: Any) -> None:
        self.ends.append(stream)
        stream.trust()
        stream.attach(Reader(self.heard))

    async def dial(self, timeout: float = 5.0) -> Any:
        dialling = MachineNetwork(self.network, "a", "a#1").dial("b:1", timeout)
        stream = await self.loop.run_as("a#1", dialling)
        stream.trust()
        stream.attach(Reader(self.answers))
        await asyncio.sleep(0.001)
        return stream

    async def linked(self) -> Any:
        await self.listen()
        return await self.dial()


class Reader:
    """Owns one end of a stream, and notes what it is told."""

    def __init__(self, into: list[object]) -> None:
        self._into = into

    def frames_received(self, some: Sequence[bytes]) -> None:
        self._into.extend(some)

    def stream_closed(self, reason: str) -> None:
        self._into.append(reason)

    def resume_writing(self) -> None:
        raise AssertionError("nothing was paused")


def play(story: Callable[[Wire], Awaitable[Any]], seed: int = 1) -> Any:
    wire = Wire(seed)
    try:
        return wire.loop.run_until_complete(story(wire))
    finally:
        wire.loop.close()
        assert wire.loop.failures == []


def frames(count: int) -> list[bytes]:
    return [bytes([number]) for number in range(count)]


def send_all(stream: Any, some: list[bytes]) -> None:
    for frame in some:
        stream.send(frame)


def kill(wire: Wire, machine: str, key: str, *, silent: bool = False) -> None:
    wire.loop.kill(key)
    if silent:
        wire.network.silence(machine)
    wire.network.process_killed(machine)
