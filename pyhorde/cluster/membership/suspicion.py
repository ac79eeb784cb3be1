"""Suspicions: how long a suspect may take to refute, and when the evidence suffices.

Source: Dadgar, Phillips, Currey, "Lifeguard: Local health awareness for more accurate failure
detection" (2018). Our differences: at least one confirmation is waited for whenever anybody else is
there to give one (so small clusters keep the benefit), the suspect is asked again until it is
decided, and a last check precedes every verdict.

A suspect whose machine lives, as the operating systems at both ends of a stream know, is *stalled*:
it has until ``stall_limit`` after its last sign of life, as long as its machine goes on to live.
Others who cannot see for themselves take the word of a present member that does.

Who hears of a suspicion asks the suspect too. If that stays without an answer for an interval or
two, and confirmations are still wanted, it confirms. Hearsay is no confirmation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pyhorde.cluster.member import DOUBTED, Member, View
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

UNHEARD: Final = 3.0
"""Probe intervals before a suspicion in which its suspect cannot have been silent for longer."""
HOST_FRESH: Final = 2.0
"""Seconds for which a sign of life from a suspect's machine counts."""


def bounds(size: int, config: MembershipConfig) -> tuple[float, float]:
    """Shortest and longest suspicion in seconds, in a cluster of ``size`` present members."""
    scale = max(1.0, math.log10(max(1, size)))
    shortest = config.suspicion_mult * scale * config.probe_interval
    return shortest, shortest * config.suspicion_max_mult


@dataclass(frozen=True, slots=True)
class Company:
    """Who is there to agree with this node."""

    size: int
    """Present members, this node and the suspects included."""
    sound: int
    """Those of them that are in no doubt, this node included."""

    @staticmethod
    def of(view: View) -> Company:
        """The members as they are now."""
        return Company(len(view.present), sum(m.status not in DOUBTED for m in view.present))


def confirmations_wanted(company: Company, config: MembershipConfig) -> int:
    """How many others must agree before the suspicion is at its shortest.

    Nobody waits for suspects to agree; but where there were others, one of them has to.
    """
    able = max(company.sound - 1, min(1, company.size - 2))
    return max(0, min(config.indirect_probes - 1, able))


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
    """When this node asks the suspect again."""
    confirm_at: float
    """When this node, still without an answer, counts as one that does not reach it either."""
    asked: float
    """Since when this node has asked the suspect over the stream."""
    accusers: set[str] = field(default_factory=set)
    witnesses: set[str] = field(default_factory=set)
    """Members whose own re-dial was refused: they hold evidence, not just silence."""
    last_check_until: float | None = None
    last_sign: float = -math.inf
    """When the suspect itself was last heard."""
    host_seen: float = -math.inf
    """When its machine last gave a sign of life."""
    stalled: bool = False
    vouchers: set[str] = field(default_factory=set)
    """Names of those who say that its machine lives."""
    vouched: bool = False
    """Whether one of them is still there to see."""

    @property
    def confirmed(self) -> int:
        """How many have said the same as the first accuser."""
        return max(0, len(self.accusers) - 1)

    def deadline(self, company: Company, config: MembershipConfig) -> float:
        """When to run the last check, or, if that runs already, to give the verdict."""
        if self.last_check_until is not None:
            return self.last_check_until
        return self._end(company, config)

    def look_again(self, now: float, company: Company, config: MembershipConfig) -> None:
        """No verdict yet, when its machine was heard after all while the last check ran."""
        if self.last_check_until is not None and self._end(company, config) > now:
            self.last_check_until = None

    def _end(self, company: Company, config: MembershipConfig) -> float:
        wanted = confirmations_wanted(company, config)
        confirmed = min(wanted, self.confirmed)
        end = self.started + timeout(confirmed, wanted, *bounds(company.size, config))
        if not self.stalled:
            return end
        limit = self.last_sign + config.stall_limit - config.probe_timeout
        if self.host_seen > -math.inf:  # who sees for itself needs nobody's word
            limit = min(limit, self.host_seen + HOST_FRESH)
        elif not self.vouched:
            limit = end
        return max(end, limit)

    def may_confirm(
        self, name: str, company: Company, config: MembershipConfig, now: float
    ) -> bool:
        """Whether the member of this name should confirm now."""
        lacking = self.confirmed < confirmations_wanted(company, config)
        return lacking and now >= self.confirm_at and name not in self.accusers

    def knows(self, accuser: str, *, evidence: bool) -> bool:
        """Whether this accusation adds nothing. Hearsay has no accuser."""
        return not accuser or accuser in (self.witnesses if evidence else self.accusers)

    def add(self, accuser: str, *, evidence: bool) -> None:
        """Note an accusation."""
        if accuser:
            self.accusers.add(accuser)
            if evidence:
                self.witnesses.add(accuser)

    def confirmed_at(self, when: float) -> bool:
        """The suspect's machine confirmed something then; whether that says that it lives now.

        Not if it was before the question that the suspect has not answered.
        """
        if when <= self.asked:
            return False
        self.host_seen = max(self.host_seen, when)
        return True

    def may_stall(self, now: float, patience: float) -> bool:
        """Whether it has been asked for long enough to call its silence a stall."""
        return not self.stalled and now - self.asked >= patience

    def vouched_for(self, voucher: str, me: str) -> None:
        """Somebody, perhaps this node ``me`` itself, says that the suspect's machine lives."""
        if not self.stalled:
            self.stalled, self.last_check_until = True, None
        if voucher not in ("", me):
            self.vouchers.add(voucher)

    def shift(self, seconds: float) -> None:
        """Credit the suspect with time in which this node itself did not run."""
        self.started += seconds
        self.asked += seconds
        self.last_sign += seconds
        self.host_seen += seconds
        self.next_probe += seconds
        self.confirm_at += seconds
        if self.last_check_until is not None:
            self.last_check_until += seconds


class Suspicions:
    """All suspicions of one node."""

    def __init__(self, config: MembershipConfig, rng: Rng) -> None:
        self._config = config
        self._rng = rng
        self._by_boot: dict[str, Suspicion] = {}

    def get(self, boot: str) -> Suspicion | None:
        """The suspicion of this boot."""
        return self._by_boot.get(boot)

    def open(self, boot: str, now: float, heard: float = -math.inf) -> Suspicion:
        """The suspicion of this boot, last heard at ``heard``; a new one is asked about at once."""
        suspicion = self._by_boot.get(boot)
        if suspicion is None:
            # Not all at the same moment: the first to confirm spare the others the message.
            confirm_at = now + self._config.probe_interval * self._rng.uniform(1, 2)
            suspicion = self._by_boot[boot] = Suspicion(boot, now, now, confirm_at, now)
            suspicion.last_sign = max(heard, now - UNHEARD * self._config.probe_interval)
        return suspicion

    def drop(self, boot: str) -> None:
        """It is decided, one way or the other."""
        self._by_boot.pop(boot, None)

    def credit(self, seconds: float) -> None:
        """This node stood still for so long: nobody is to blame for that time."""
        for suspicion in self._by_boot.values():
            suspicion.shift(seconds)

    def deadlines(self, company: Company) -> Iterator[float]:
        """When each suspicion wants attention."""
        for suspicion in self._by_boot.values():
            yield min(suspicion.next_probe, suspicion.deadline(company, self._config))

    def proven(self, me: str, others: Iterable[Member]) -> list[Suspicion]:
        """Those that ``me`` holds evidence for and one other too, or nobody else is there."""
        seen = [s for s in self if me in s.witnesses]
        rest = {member.boot for member in others} - {s.boot for s in seen}
        return [s for s in seen if len(s.witnesses) > 1 or not rest]

    def __len__(self) -> int:
        return len(self._by_boot)

    def __iter__(self) -> Iterator[Suspicion]:
        """All of them; they may be dropped on the way."""
        for suspicion in list(self._by_boot.values()):
            if self._by_boot.get(suspicion.boot) is suspicion:
                yield suspicion
