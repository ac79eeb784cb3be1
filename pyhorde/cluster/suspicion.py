"""How long a suspect may take to refute: formulas, and one suspicion's clock.

Source: Dadgar, Phillips, Currey, "Lifeguard: Local health awareness for more accurate failure
detection" (2018). Our differences: at least one confirmation is waited for whenever anybody else is
there to give one (so small clusters keep the benefit), the suspect is asked again until it is
decided, and a last check precedes every verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pyhorde.config import MembershipConfig


def bounds(size: int, config: MembershipConfig) -> tuple[float, float]:
    """Shortest and longest suspicion in seconds, in a cluster of ``size`` present members."""
    scale = max(1.0, math.log10(max(1, size)))
    shortest = config.suspicion_mult * scale * config.probe_interval
    return shortest, shortest * config.suspicion_max_mult


def confirmations_wanted(size: int, config: MembershipConfig) -> int:
    """How many others must agree before the suspicion is at its shortest."""
    return max(0, min(config.indirect_probes - 1, size - 2))


def timeout(confirmed: int, wanted: int, shortest: float, longest: float) -> float:
    """Seconds from the start of a suspicion to its end: falls with the log of confirmations."""
    if wanted < 1:
        return shortest
    done = math.log(confirmed + 1) / math.log(wanted + 1)
    return max(shortest, longest - done * (longest - shortest))


@dataclass(slots=True)
class Suspicion:
    """One suspected boot, from the point of view of this node."""

    boot: str
    started: float
    next_probe: float
    accusers: set[str] = field(default_factory=set)
    witnesses: set[str] = field(default_factory=set)
    """Members whose own re-dial was refused: they hold evidence, not just silence."""
    last_check_until: float | None = None

    def deadline(self, size: int, config: MembershipConfig) -> float:
        """When to run the last check, or, if that runs already, to give the verdict."""
        if self.last_check_until is not None:
            return self.last_check_until
        wanted = confirmations_wanted(size, config)
        confirmed = min(wanted, max(0, len(self.accusers) - 1))
        return self.started + timeout(confirmed, wanted, *bounds(size, config))

    def shift(self, seconds: float) -> None:
        """Credit the suspect with time in which this node itself did not run."""
        self.started += seconds
        self.next_probe += seconds
        if self.last_check_until is not None:
            self.last_check_until += seconds
