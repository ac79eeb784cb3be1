"""Whom to dial, and when: a pure machine.

Targets are the seeds (configured peers, and what discovery knows now), present members without a
link, and dead members, which are re-dialled for as long as they are remembered so that the halves
of a partition find each other.
Each address has its own pause, doubled by every failure; a lost link resets it. What is neither a
seed nor a member's address any more is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from pyhorde.cluster.member import Status, View
from pyhorde.config import MembershipConfig
from pyhorde.seam import Rng

FORMER_FACTOR: Final = 2.5
"""Dead members are dialled this many times more slowly than ``redial_max``."""
STRANGER_FACTOR: Final = 30.0
"""And this many times in the end, where nobody ever answered: perhaps there never was anybody."""
MAX_DIALS: Final = 64
"""So many dials are under way at a time."""


@dataclass(frozen=True, slots=True)
class Target:
    """Dial ``address``; ``boot`` is the member expected there, None for a configured peer."""

    address: str
    boot: str | None


@dataclass(slots=True)
class _Attempt:
    due: float = 0.0
    last: float = -math.inf
    pause: float = 0.0
    busy: bool = False
    tried: bool = False
    reached: str | None = None
    is_own: bool = False
    """Whether it led back to this node, the last time."""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Whom to dial in this view with these links."""

    view: View
    linked: frozenset[str]
    targets: tuple[Target, ...]


class DialSchedule:
    """The timetable of dials."""

    def __init__(self, seeds: Iterable[str], config: MembershipConfig, rng: Rng) -> None:
        self.seeds = tuple(seeds)
        self._sources = {"": self.seeds}
        self._config = config
        self._rng = rng
        self._attempts: dict[str, _Attempt] = {}
        self._plan: _Plan | None = None
        self._busy = 0
        """Dials under way."""

    def due(self, view: View, linked: AbstractSet[str], now: float) -> list[Target]:
        """Targets to dial now; each is busy until its result is reported."""
        ready: list[Target] = []
        room = MAX_DIALS - self._busy
        for target in self._targets(view, linked):
            if len(ready) >= room:
                break
            attempt = self._attempts.setdefault(target.address, _Attempt())
            if not attempt.busy and attempt.due <= now:
                attempt.busy, attempt.due = True, now + self._config.redial_min
                attempt.last = now
                ready.append(target)
        self._busy += len(ready)
        return ready

    def next_deadline(self, view: View, linked: AbstractSet[str]) -> float | None:
        """When ``due`` has something next; None when all are linked or being dialled.

        And while as many are being dialled as may be: the end of a dial is waited for.
        """
        if self._busy >= MAX_DIALS:
            return None
        targets = self._targets(view, linked)
        if not targets:
            return None
        attempts = [self._attempts.get(target.address) for target in targets]
        return min((a.due if a else 0.0 for a in attempts if not (a and a.busy)), default=None)

    def reached(self, address: str, name: str) -> None:
        """The dial led to the node of this name.

        Should that give no link, the next dial still comes ``redial_min`` after this one.
        """
        attempt = self._attempts.setdefault(address, _Attempt())
        self._over(attempt)
        attempt.pause = 0.0
        attempt.reached, attempt.last_error = name, ""
        self._plan = None

    def failed(self, address: str, error: str, view: View, now: float) -> bool:
        """The dial failed. True when this is the first failure in a row, or a new reason."""
        attempt = self._attempts.setdefault(address, _Attempt())
        config = self._config
        news = attempt.last_error != error
        self._over(attempt)
        attempt.last_error = error
        if self._is_former(address, view):
            slowest = STRANGER_FACTOR if attempt.reached is None else FORMER_FACTOR
            least, most = config.redial_max * FORMER_FACTOR, config.redial_max * slowest
        else:
            least, most = config.redial_min, config.redial_max
        pause = attempt.pause = min(most, max(least, attempt.pause * 2))
        attempt.due = now + pause * self._rng.uniform(0.75, 1.25)
        self._plan = None
        return news

    def itself(self, address: str, name: str, now: float) -> None:
        """The dial led back to this node: perhaps to another one, another time."""
        self.reached(address, name)
        attempt = self._attempts[address]
        attempt.is_own, attempt.due = True, now + self._config.redial_max

    def _over(self, attempt: _Attempt) -> None:
        self._busy -= attempt.busy
        attempt.busy, attempt.tried, attempt.is_own = False, True, False

    def hurry(self, address: str) -> None:
        """Dial this address as soon as possible, with short pauses again.

        That is at once, but not sooner than ``redial_min`` after the last dial: a peer whose link
        breaks as soon as it is up is not dialled without end.
        """
        attempt = self._attempts.setdefault(address, _Attempt())
        attempt.due, attempt.pause = attempt.last + self._config.redial_min, 0.0

    def found(self, source: str, addresses: Iterable[str]) -> None:
        """These, and no others, are the seeds that a source of them knows now."""
        self._sources[source] = tuple(sorted(addresses))
        self.seeds = tuple(dict.fromkeys(a for found in self._sources.values() for a in found))
        self._plan = None

    def strangers(self, view: View) -> list[str]:
        """The seeds that are no member's address, under whatever name it was dialled."""
        here = {member.address for member in view.members}
        there = {seed: self._attempts.get(seed) for seed in self.seeds if seed not in here}
        return [
            seed
            for seed, attempt in there.items()
            if attempt is None or attempt.reached is None or attempt.reached not in view.by_name
        ]

    def unlinked_seeds(self, view: View, linked: AbstractSet[str]) -> list[str]:
        """The configured peers, but the own address, that are not known to be linked."""
        near = {view.me.address} | {m.address for m in view.members if m.boot in linked}
        others = [seed for seed in self.seeds if seed not in near]
        return [seed for seed in others if not self._is_linked(seed, view, linked)]

    def all_seeds_tried(self, own: str) -> bool:
        """Whether each configured peer but the own address has been dialled at least once."""
        attempts = (self._attempts.get(seed) for seed in self.seeds if seed != own)
        return all(attempt is not None and attempt.tried for attempt in attempts)

    def _targets(self, view: View, linked: AbstractSet[str]) -> tuple[Target, ...]:
        plan = self._plan
        if plan is None or plan.view is not view or plan.linked != linked:
            self._forget(view)
            targets = tuple(self._find_targets(view, linked))
            plan = self._plan = _Plan(view, frozenset(linked), targets)
        return plan.targets

    def _find_targets(self, view: View, linked: AbstractSet[str]) -> list[Target]:
        targets: dict[str, Target] = {}
        # Present members last: what their address answers is evidence, and must be about them.
        for member in sorted(view.members, key=lambda m: m.present):
            if member.boot == view.me.boot or member.boot in linked:
                continue
            if member.present or member.status is Status.DEAD:
                targets[member.address] = Target(member.address, member.boot)
        reachable = {view.me.address} | {m.address for m in view.members if m.boot in linked}
        for seed in self.seeds:
            attempt = self._attempts.get(seed)
            again = attempt is not None and attempt.is_own
            if seed not in reachable and (again or not self._is_linked(seed, view, linked)):
                targets.setdefault(seed, Target(seed, None))
        return [target for target in targets.values() if target.address not in reachable]

    def _is_linked(self, seed: str, view: View, linked: AbstractSet[str]) -> bool:
        attempt = self._attempts.get(seed)
        if attempt is None or attempt.reached is None:
            return False
        member = view.by_name.get(attempt.reached)
        return member is not None and (member.boot in linked or member.boot == view.me.boot)

    def _is_former(self, address: str, view: View) -> bool:
        here = [m for m in view.members if m.address == address]
        return any(m.status is Status.DEAD for m in here) and not any(m.present for m in here)

    def _forget(self, view: View) -> None:
        kept = {member.address for member in view.members} | set(self.seeds)
        for address in [a for a, attempt in self._attempts.items() if not attempt.busy]:
            if address not in kept:
                del self._attempts[address]
