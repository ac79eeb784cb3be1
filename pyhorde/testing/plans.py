"""Plans of bad days: drawn from a seed, swarm style, and made smaller when they find something.

Which kinds of faults a day has at all is drawn first: days with few kinds reach states that a bit
of everything never does. A plan has rounds. In each, faults come; then they end, and the cluster
has to come to rest within a bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Self

from pyhorde.testing import shapes
from pyhorde.testing.faults import KINDS, ON_ONE_MACHINE, Fault

MOST_NODES = 26
ROUND = 75.0
"""Seconds in which the faults of one round begin and end."""
SHORT, MIDDLE, LONG = (0.01, 0.5), (0.5, 6.0), (8.0, 40.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to a cluster. ``processes`` and the like are drawn from the seed as well."""

    seed: int
    nodes: int
    rounds: tuple[tuple[Fault, ...], ...]

    @classmethod
    def draw(cls, seed: int, nodes: int, minutes: float, kinds: Sequence[str] = ()) -> Self:
        """The seed's day: as many rounds as fit, of about 100 seconds each with their rest."""
        drawing = Drawing(Random(f"{seed}/plan"), machine_names(nodes), kinds)
        count = max(1, round(minutes * 60 / (ROUND + 25)))
        return cls(seed, nodes, tuple(drawing.round() for _ in range(count)))

    @property
    def faults(self) -> int:
        """How many there are."""
        return sum(len(faults) for faults in self.rounds)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, {self.nodes} nodes"]
        for number, faults in enumerate(self.rounds, 1):
            lines.append(f"round {number}")
            lines += [f"  {fault}" for fault in faults]
        return "\n".join(lines)

    def to_json(self) -> str:
        """As JSON text."""
        rounds = [[fault.to_json() for fault in faults] for faults in self.rounds]
        data = {"seed": self.seed, "nodes": self.nodes, "rounds": rounds}
        return json.dumps(data, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write it into a file."""
        path.write_text(self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it again. Raises ``ValueError`` for what is no plan."""
        try:
            return cls._from_json(json.loads(path.read_text()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _from_json(cls, data: Any) -> Self:
        if not isinstance(data, dict) or not {"seed", "nodes", "rounds"} <= data.keys():
            raise ValueError("a plan has a seed, a number of nodes and rounds")
        seed, nodes, rounds = data["seed"], data["nodes"], data["rounds"]
        if type(seed) is not int:
            raise ValueError(f"seed: not an integer: {seed!r}")
        if type(nodes) is not int or not 1 <= nodes <= MOST_NODES:
            raise ValueError(f"nodes: not a number from 1 to {MOST_NODES}: {nodes!r}")
        if not isinstance(rounds, list) or not all(isinstance(r, list) for r in rounds):
            raise ValueError("rounds: not a list of lists of faults")
        plan = cls(seed, nodes, tuple(tuple(map(Fault.from_json, faults)) for faults in rounds))
        there = set(machine_names(nodes))
        for fault in (fault for faults in plan.rounds for fault in faults):
            for name in {*fault.on, *(name for pair in fault.pairs for name in pair)} - there:
                raise ValueError(f"{fault.kind}: no machine {name!r} among {nodes}")
        return plan

    # ---- smaller plans -----------------------------------------------------------------------

    def shrink(self, fails: Callable[[Plan], bool], most_tries: int = 200) -> Plan:
        """A smaller plan for which ``fails`` still holds, after at most so many tries."""
        plan: Plan = self
        tries = 0
        smaller = True
        while smaller:
            smaller = False
            for candidate in plan.smaller():
                tries += 1
                if tries > most_tries:
                    return plan
                if fails(candidate):
                    plan, smaller = candidate, True
                    break
        return plan

    def smaller(self) -> Iterator[Plan]:
        """Plans with a bit less, the boldest first."""
        for end in range(1, len(self.rounds)):
            yield replace(self, rounds=self.rounds[:end])
        if len(self.rounds) > 1:
            yield replace(self, rounds=self.rounds[1:])
        for number, faults in enumerate(self.rounds):
            half = len(faults) // 2
            if half > 1:
                yield self._with(number, faults[:half])
                yield self._with(number, faults[half:])
            for i in range(len(faults)):
                yield self._with(number, faults[:i] + faults[i + 1 :])
        for number, faults in enumerate(self.rounds):
            for i, fault in enumerate(faults):
                if fault.lasts > 1:
                    half_as_long = fault.lasting(fault.lasts / 2)
                    yield self._with(number, (*faults[:i], half_as_long, *faults[i + 1 :]))

    def _with(self, number: int, faults: tuple[Fault, ...]) -> Plan:
        rounds = list(self.rounds)
        rounds[number] = faults
        return replace(self, rounds=tuple(rounds))


def machine_names(count: int) -> list[str]:
    """``a``, ``b``, ``c`` ..."""
    return [chr(ord("a") + i) for i in range(count)]


class Drawing:
    """Draws rounds of faults."""

    def __init__(self, rng: Random, names: Sequence[str], kinds: Sequence[str]) -> None:
        self._rng = rng
        self._names = list(names)
        self._length = ROUND
        self._after: Fault | None = None
        """The fault that the next one follows."""
        unknown = sorted(set(kinds) - KINDS.keys())
        if unknown:
            raise ValueError(
                f"no kind of fault: {', '.join(unknown)}; there are {', '.join(KINDS)}"
            )
        allowed = list(kinds or KINDS)
        if len(self._names) < 2:  # there are no paths
            allowed = [kind for kind in allowed if kind in ON_ONE_MACHINE] or ["stall"]
        few = [kind for kind in allowed if rng.random() < 0.3] or [rng.choice(allowed)]
        self._kinds = allowed if kinds else few
        self._busy = rng.choice((1, 2, 4))

    def round(self, length: float = ROUND) -> tuple[Fault, ...]:
        """The faults of one round of so many seconds, in order of time."""
        self._length = length
        faults: list[Fault] = []
        for _ in range(1 + int(self._rng.expovariate(1 / self._busy))):
            self._after = self._rng.choice(faults) if faults and self._rng.random() < 0.5 else None
            faults += self._faults(self._rng.choice(self._kinds))
        return tuple(sorted(faults, key=lambda fault: fault.at))

    def _faults(self, kind: str) -> list[Fault]:
        rng = self._rng
        lasts = round(rng.uniform(*rng.choice((SHORT, MIDDLE, LONG))), 3)
        lasts = min(lasts, self._length / 2)
        at = self._moment(lasts)
        make = getattr(self, f"_{kind.replace('-', '_')}", None)
        if make is not None:
            found: list[Fault] = make(at, lasts)
            return found
        if kind in ("loss", "bursts", "delay", "narrow"):
            return [self._on_paths(kind, at, lasts)]
        return [Fault(kind=kind, at=at, lasts=lasts, on=(self._machine(),))]

    def _moment(self, lasts: float) -> float:
        """Some time; or shortly after another fault begins or ends, where the worst things are."""
        rng, after = self._rng, self._after
        if after is None:
            at = rng.uniform(0, self._length - lasts)
        else:
            at = after.at + rng.choice((0.0, after.lasts)) + rng.expovariate(1 / 2)
        return round(min(at, self._length - lasts), 3)

    def _machine(self) -> str:
        """Some machine; or, of those that the fault before this one concerns, one."""
        after = self._after
        concerned = sorted({*after.on, *(pair[0] for pair in after.pairs)}) if after else []
        names = concerned if concerned and self._rng.random() < 0.5 else self._names
        return self._rng.choice(names)

    # ---- machines ----------------------------------------------------------------------------

    def _crash_during(self, at: float, lasts: float) -> list[Fault]:
        rng = self._rng
        steps, name = 1 + int(rng.expovariate(1 / 20)), self._machine()
        return [Fault(kind="crash-during", at=at, lasts=lasts, on=(name,), amount=steps)]

    def _slow(self, at: float, lasts: float) -> list[Fault]:
        rng = self._rng
        cost = rng.choice((0.0005, 0.005, 0.03))
        return [Fault(kind="slow", at=at, lasts=lasts, on=(self._machine(),), amount=cost)]

    def _deaf(self, at: float, lasts: float) -> list[Fault]:
        return [Fault(kind="deaf", at=at, lasts=min(lasts, 8.0))]

    def _clock(self, at: float, lasts: float) -> list[Fault]:
        rng = self._rng
        jump = round(rng.choice((0.1, 5, 300)) * rng.uniform(-1, 1), 3)
        return [Fault(kind="clock", at=at, lasts=lasts, on=(self._machine(),), amount=jump)]

    def _stall(self, at: float, lasts: float) -> list[Fault]:
        """One in two comes again and again."""
        rng = self._rng
        name, count = self._machine(), rng.choice((1, 1, 1, 4))
        lasts = min(lasts, self._length / (count + 1))
        gap = lasts + rng.uniform(0.1, 5)
        times = [at + i * gap for i in range(count)]
        return [
            Fault(kind="stall", at=round(t, 3), lasts=lasts, on=(name,))
            for t in times
            if t + lasts <= self._length
        ]

    # ---- paths -------------------------------------------------------------------------------

    def _cut(self, kind: str, at: float, lasts: float, pairs: set[shapes.Pair]) -> list[Fault]:
        return [Fault(kind=kind, at=at, lasts=lasts, pairs=tuple(sorted(pairs)))]

    def _parts(self) -> tuple[list[str], list[str]]:
        shuffled = self._rng.sample(self._names, len(self._names))
        size = 1 + self._rng.randrange(max(1, len(shuffled) - 1))
        return shuffled[:size], shuffled[size:]

    def _split(self, at: float, lasts: float) -> list[Fault]:
        return self._cut("split", at, lasts, shapes.split(*self._parts()))

    def _one_way(self, at: float, lasts: float) -> list[Fault]:
        one, two = self._rng.sample(self._names, 2)
        return self._cut("one-way", at, lasts, shapes.one_way(one, two))

    def _bridge(self, at: float, lasts: float) -> list[Fault]:
        left, right = self._parts()
        return self._cut("bridge", at, lasts, shapes.split(left, right[1:]))

    def _ring(self, at: float, lasts: float) -> list[Fault]:
        order = self._rng.sample(self._names, len(self._names))
        return self._cut("ring", at, lasts, shapes.ring(order))

    def _islands(self, at: float, lasts: float) -> list[Fault]:
        return self._cut("islands", at, lasts, shapes.islands(self._parts()[0], self._names))

    def _clog(self, at: float, lasts: float) -> list[Fault]:
        """Swizzle: a few machines one by one, and free again in another order."""
        rng = self._rng
        some = rng.sample(self._names, 1 + rng.randrange(len(self._names)))
        begins = sorted(rng.uniform(at, at + lasts / 2) for _ in some)
        ends = [rng.uniform(at + lasts / 2, at + lasts) for _ in some]
        return [
            Fault(kind="clog", at=round(begin, 3), lasts=round(end - begin, 3), on=(name,))
            for name, begin, end in zip(some, begins, ends, strict=True)
        ]

    def _reset(self, at: float, lasts: float) -> list[Fault]:
        one, two = self._rng.sample(self._names, 2)
        return [Fault(kind="reset", at=at, pairs=((one, two),))]

    def _reply_lost(self, at: float, lasts: float) -> list[Fault]:
        one, two = self._rng.sample(self._names, 2)
        return [Fault(kind="reply-lost", at=at, lasts=min(lasts, 2.0), pairs=((one, two),))]

    def _firewall(self, at: float, lasts: float) -> list[Fault]:
        """In one direction, or in both, or all around one machine."""
        rng = self._rng
        one, two = rng.sample(self._names, 2)
        around = shapes.islands([one], self._names)
        pairs = rng.choice((shapes.one_way(one, two), shapes.split([one], [two]), around))
        return self._cut("firewall", at, lasts, pairs)

    def _on_paths(self, kind: str, at: float, lasts: float) -> Fault:
        rng = self._rng
        choices: dict[str, Sequence[float]] = {
            "loss": (0.02, 0.2),
            "bursts": (1.0, 10.0),
            "delay": (0.05, 0.4),
            "narrow": (4_000, 50_000),
        }
        pairs = [(one, two) for one in self._names for two in self._names if one != two]
        some = pairs if rng.random() < 0.5 else rng.sample(pairs, 1 + rng.randrange(len(pairs)))
        amount = rng.choice(choices[kind])
        return Fault(kind=kind, at=at, lasts=lasts, pairs=tuple(sorted(some)), amount=amount)
