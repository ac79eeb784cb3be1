"""Simulated machines: one boot of a node after the other, each with a world of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from pyhorde.node import Node
from pyhorde.seam import Watchdog
from pyhorde.testing.loop import SimLoop
from pyhorde.testing.network import MachineNetwork, SimNetwork

EPOCH_START = 1_700_000_000.0
"""What wall clocks that go right show at the loop's time 0."""


@dataclass(slots=True)
class Machine:
    """One machine, across the boots of its node."""

    name: str
    gone: asyncio.Future[None]
    """Done when the boot that runs now has ended."""
    boots: int = 0
    node: Node | None = None
    """The node, once it has been started and until it ends."""
    joining: bool = False
    key: str = ""
    """The loop's name for the present boot: callbacks of an older one never run."""
    clock_offset: float = 0.0
    """Seconds by which the wall clock is ahead."""
    clock_drift: float = 0.0
    """Seconds per second by which it gets further ahead."""
    drained: list[str] = field(default_factory=list)
    """Boot ids that left in an orderly way, and that everybody could hear leave."""

    @property
    def runs(self) -> bool:
        """Whether an OS process with a node is there, ready or not."""
        return self.node is not None or self.joining


class SimWorld:
    """A :class:`~pyhorde.seam.World` of one boot of one machine."""

    def __init__(self, loop: SimLoop, network: SimNetwork, machine: Machine) -> None:
        self._loop = loop
        self._machine = machine
        self.rng = Random(f"{loop.seed}/{machine.key}")
        self.network = MachineNetwork(network, machine.name, machine.key)

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        machine, now = self._machine, self._loop.time()
        return EPOCH_START + now * (1 + machine.clock_drift) + machine.clock_offset

    def token(self) -> str:
        return f"{self.rng.randrange(2**128):032x}"

    def watch(
        self,
        beat: Callable[[], float],
        blocked: Callable[[float, str], None],
    ) -> Watchdog | None:
        """None: there is no other thread, and no time passes while code runs."""
        return None
