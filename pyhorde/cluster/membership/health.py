"""How well a node is: its own health as it judges others by, and what it tells them of itself.

*Health.* A node that misses what others answer may be the one to blame: it is overloaded, or its
own connection is bad. The worse its score, the more time it gives those it probes. Source: Dadgar,
Phillips, Currey, "Lifeguard" (2018), section IV-A; the weights for a late event loop are ours.

*Vitals* ride on pings and acks, so every member hears them from every other once in a round of
probes. They are no part of a member's record: they change all the time, and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

WORST: Final = 7
"""The highest score; everything takes ``1 + score`` times as long."""
UNFIT: Final = 4
"""From this score on a node's silence about others is no confirmation of anything."""


class Health:
    """A score from 0, well, to ``WORST``."""

    def __init__(self) -> None:
        self.score = 0

    @property
    def factor(self) -> int:
        """How many times longer this node waits for others."""
        return 1 + self.score

    @property
    def fit(self) -> bool:
        """Whether what this node does not hear means anything."""
        return self.score < UNFIT

    def better(self) -> None:
        """Somebody answered in time."""
        self.score = max(0, self.score - 1)

    def worse(self, points: int) -> None:
        """Something speaks against this node itself."""
        self.score = min(WORST, self.score + max(0, points))


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a node says of itself in passing."""

    processes: int = 0
    """How many processes run there."""
    health: int = 0
    """Its score of :class:`Health`."""
    lag: int = 0
    """The longest its event loop was late of late, milliseconds."""

    def to_wire(self) -> list[Any]:
        """Plain data for messages."""
        return [self.processes, self.health, self.lag]

    @classmethod
    def from_wire(cls, raw: list[Any]) -> Vitals:
        """Check and rebuild. Raises ``ValueError``."""
        if len(raw) != 3 or not all(type(n) is int and 0 <= n < 2**53 for n in raw):
            raise ValueError("vitals: expected three numbers")
        return cls(*raw)


class Signs:
    """When each linked boot was last heard, and what it said of itself then."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}
        self.vitals: dict[str, Vitals] = {}
        self.latest = -math.inf
        """When anybody at all was last heard."""

    def of(self, boot: str, now: float) -> None:
        """A boot that is listened to from now on."""
        self.heard[boot] = self.latest = now

    def again(self, boot: str, now: float) -> None:
        """One more sign of life, if this boot is listened to."""
        if boot in self.heard:
            self.heard[boot] = self.latest = now

    def note(self, boot: str, vitals: Vitals) -> None:
        """What it says of itself."""
        if boot in self.heard:
            self.vitals[boot] = vitals

    def strangers(self, known: AbstractSet[str]) -> list[str]:
        """Those that nobody is interested in any more."""
        return [boot for boot in self.heard if boot not in known]

    def forget(self, boot: str) -> None:
        """Do not listen to this boot any more."""
        self.heard.pop(boot, None)
        self.vitals.pop(boot, None)


@dataclass(slots=True)
class Statistics:
    """What happened since the start; times in seconds."""

    probes: int = 0
    failed_probes: int = 0
    answer_time: float = 0.0
    """From a probe to its answer, averaged over the last ones."""
    suspicions: int = 0
    refutations: int = 0
    """How often this node had to say that it lives."""
    stalls: int = 0
    """How often this node itself stood still."""
    deaths: int = 0
    """Verdicts of this node."""
    detection_time: float = 0.0
    """From the last sign of life to this node's last verdict."""
