"""What was acknowledged and what is remembered: the pure bookkeeping behind the verdict.

A line is *acknowledged* once a node answered 200 to it. From then on a replicated meeting must
never forget it; a checkpoint meeting may forget the last moments before a crash, and nothing else.
Times are seconds on the demo's own clock and always come in from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any


@dataclass(frozen=True, slots=True)
class Wait:
    """One acknowledged line: when it was first sent, and when it was answered."""

    asked: float
    answered: float

    @property
    def seconds(self) -> float:
        return self.answered - self.asked


@dataclass(frozen=True, slots=True)
class Held:
    """The lines a meeting says it remembers: 1 to ``last`` without ``missing``."""

    last: int
    missing: frozenset[int] = frozenset()
    digest: str = ""

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Held:
        """From the answer of ``Meeting.summary``."""
        return cls(summary["last"], frozenset(summary["missing"]), summary["digest"])

    def lacks(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Those of ``numbers`` that are not remembered, in order."""
        return tuple(sorted(n for n in numbers if n > self.last or n in self.missing))


@dataclass(frozen=True, slots=True)
class Excuse:
    """A checkpoint meeting may have lost what was acknowledged in this span of time."""

    since: float
    until: float

    def covers(self, moment: float) -> bool:
        return self.since <= moment <= self.until


@dataclass(frozen=True, slots=True)
class Loss:
    """What one look at a meeting found missing; ``unexcused`` is what must not be missing."""

    lost: tuple[int, ...] = ()
    unexcused: tuple[int, ...] = ()


@dataclass(slots=True)
class Ledger:
    """One meeting as its callers know it."""

    name: str
    durable: bool
    path: list[str] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    lost: int = 0
    resent: int = 0
    retries: int = 0
    _asked: dict[int, float] = field(default_factory=dict)
    _answered: dict[int, float] = field(default_factory=dict)

    @property
    def acknowledged(self) -> frozenset[int]:
        """The numbers of all acknowledged lines."""
        return frozenset(self._answered)

    def ask(self, number: int, now: float) -> None:
        """A line goes out; trying it again does not restart its wait."""
        self._asked.setdefault(number, now)

    def acknowledge(self, number: int, now: float) -> None:
        """A line that went out was answered 200."""
        self.waits.append(Wait(self._asked.pop(number), now))
        self._answered[number] = now

    def pause(self, since: float = -inf) -> float:
        """The longest that a line answered at or after ``since`` had to wait for its answer."""
        return max((w.seconds for w in self.waits if w.answered >= since), default=0.0)

    def heard_since(self, moment: float) -> bool:
        """Whether a line that was sent after ``moment`` has been answered."""
        return any(wait.asked >= moment for wait in reversed(self.waits))

    def moved_to(self, node: str) -> bool:
        """Note where the meeting runs now; whether that is another node than before."""
        moved = bool(self.path) and self.path[-1] != node
        if moved or not self.path:
            self.path.append(node)
        return moved

    def audit(self, due: Collection[int], held: Held, excuse: Excuse | None = None) -> Loss:
        """Compare ``due``, acknowledged before the meeting was asked, with what it holds."""
        lost = held.lacks(due)
        self.lost += len(lost)
        if self.durable or excuse is None:
            return Loss(lost, unexcused=lost)
        return Loss(lost, tuple(n for n in lost if not excuse.covers(self._answered[n])))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Continuity held if there is no reason against it."""

    reasons: tuple[str, ...]

    @property
    def held(self) -> bool:
        return not self.reasons


@dataclass(slots=True)
class Account:
    """All ledgers, and every reason found why continuity did not hold."""

    ledgers: dict[str, Ledger]
    reasons: list[str] = field(default_factory=list)

    def blame(self, reason: str) -> None:
        """Note a reason, once."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def audit(
        self, step: str, name: str, due: Collection[int], held: Held, excuse: Excuse | None = None
    ) -> Loss:
        """:meth:`Ledger.audit`, with the blame for what must not be missing."""
        loss = self.ledgers[name].audit(due, held, excuse)
        if loss.unexcused:
            count, lines = len(loss.unexcused), spans(loss.unexcused)
            self.blame(f"{step}: {name} forgot acknowledged lines: {count} in all, {lines}")
        return loss

    def compare(self, node: str, name: str, held: Held, expected: Held) -> None:
        """At the end contents must equal what was fed, through whichever node one asks."""
        if missing := held.lacks(range(1, expected.last + 1)):
            self.blame(f"asked through {node}, {name} lacks lines {spans(missing)}")
        elif held != expected:
            self.blame(
                f"asked through {node}, {name} holds {held.last} lines with the digest"
                f" {held.digest}; fed were {expected.last} with {expected.digest}"
            )

    @property
    def verdict(self) -> Verdict:
        return Verdict(tuple(self.reasons))

    @property
    def total(self) -> int:
        """Acknowledged lines in all meetings."""
        return sum(len(ledger.acknowledged) for ledger in self.ledgers.values())

    def lost(self, *, durable: bool) -> int:
        """Lines lost, and sent again, by the meetings of one kind."""
        return sum(x.lost for x in self.ledgers.values() if x.durable is durable)


def expect(lines: Sequence[str]) -> Held:
    """What a meeting must hold that was fed exactly these lines."""
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return Held(last=len(lines), digest=digest)


def misplaced(names: Iterable[str], running: Mapping[str, Collection[str]]) -> list[str]:
    """Which of ``names`` do not run exactly once; ``running``: node → names running there."""
    found = []
    for name in names:
        nodes = sorted(node for node, here in running.items() if name in here)
        if len(nodes) != 1:
            found.append(f"{name} runs " + (f"on {' and '.join(nodes)}" if nodes else "nowhere"))
    return found


def spans(numbers: Iterable[int]) -> str:
    """Numbers in order for people to read: ``3-5, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
