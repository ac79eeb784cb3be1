"""What can happen to the network of a simulated cluster, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from pyhorde.testing import shapes
from pyhorde.testing.conditions import Conditions
from pyhorde.testing.machines import Machine
from pyhorde.testing.network import SimNetwork


class Cables(ABC):
    """The cables between the machines of :class:`~pyhorde.testing.SimCluster`."""

    machines: dict[str, Machine]
    network: SimNetwork

    @abstractmethod
    def _machine(self, name: str) -> Machine:
        """The machine of this name. Raises ``LookupError``."""

    @abstractmethod
    def happened(self, *what: object) -> None:
        """Keep it for whoever wants to know what the day was like."""

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut all paths between machines of different groups; machines in no group keep theirs."""
        if len(groups) < 2:
            raise ValueError("a partition has two groups of machines, or more")
        self._cut(shapes.split(*groups))

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from ``source`` to ``target``; the other direction works."""
        self._cut(shapes.one_way(source, target))

    def bridge(self, left: Iterable[str], right: Iterable[str]) -> None:
        """Two sides that cannot talk, and whoever is in neither talks to both."""
        self._cut(shapes.split(left, right))

    def ring(self) -> None:
        """Each machine reaches only its two neighbours."""
        self._cut(shapes.ring(list(self.machines)))

    def isolate(self, *names: str) -> None:
        """Each of these is alone."""
        for name in names:
            self._machine(name)
        self._cut(shapes.islands(names, list(self.machines)))

    def _cut(self, pairs: Iterable[shapes.Pair]) -> None:
        pairs = sorted(pairs)
        self._check_paths(pairs)
        self.happened("cut", *(f"{source}>{target}" for source, target in pairs))
        self.network.block(pairs)

    def reset(self, one: str, two: str) -> None:
        """Break the connections between two machines, which can dial each other again at once."""
        self._check_paths([(one, two)])
        self.happened("reset", one, two)
        self.network.reset(one, two)

    def conditions(self, conditions: Conditions, *pairs: shapes.Pair) -> None:
        """How these paths are, or all: delay, loss, bandwidth."""
        self._check_paths(pairs)
        self.happened("conditions", conditions, *(f"{one}>{two}" for one, two in pairs))
        if not pairs:
            self.network.usual(conditions)
        for pair in pairs:
            self.network.special(pair, conditions)

    def _check_paths(self, pairs: Iterable[Any]) -> None:
        for pair in pairs:
            if isinstance(pair, str) or len(pair) != 2:
                raise TypeError(f"a path is a pair of machines, ('a', 'b') for example: {pair!r}")
            for name in pair:
                self._machine(name)

    def heal(self) -> None:
        """End every fault of the network."""
        self.happened("heal")
        self.network.heal()
