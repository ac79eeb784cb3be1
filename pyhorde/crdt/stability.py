"""When everybody has seen a deletion, and everything else that was under way when they had.

Two phases, for one cut through history at a time. First everyone confirms what this replica knew
when the round began. Then everyone confirms whatever anyone knew at that moment: so a message that
was sent before its sender saw the deletion has arrived, or would say nothing new, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyhorde.crdt.delta import MAX_EVENT
from pyhorde.crdt.dots import Origin, Vector
from pyhorde.crdt.registers import Stable
from pyhorde.crdt.replica import Replica


class Stability:
    """Finds out, round by round, which events are stable."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._first: dict[Origin, int] | None = None
        self._second: dict[Origin, int] | None = None

    def step(self, vectors: Mapping[Origin, Vector]) -> Stable | None:
        """Go on as far as it goes; returns the outcome of a round that has just been completed.

        ``vectors``: what each other replica that counts has said that it knows.
        """
        said = list(vectors.values())
        if self._first is None:
            self._first, self._second = self._replica.vector, None
        if self._second is None and self._all_cover(said, self._first):
            self._second = _highest([*said, self._replica.vector])
        everyone = [*said, self._replica.vector]
        if self._second is None or not self._all_cover(everyone, self._second):
            return None
        stable, self._first = self._first, None
        heeding = {origin: vector.get(origin, 0) for origin, vector in vectors.items()}
        return Stable(stable, {**heeding, self._replica.origin: self._replica.seq})

    def _all_cover(self, vectors: Iterable[Vector], cut: Vector) -> bool:
        """Whether they have all of it, but for origins that have been retired since."""
        retired = self._replica.retired
        wanted = [(origin, seq) for origin, seq in cut.items() if seq and origin not in retired]
        return all(vector.get(o, 0) >= seq for vector in vectors for o, seq in wanted)


def _highest(vectors: Iterable[Mapping[Origin, int]]) -> dict[Origin, int]:
    highest: dict[Origin, int] = {}
    for vector in vectors:
        for origin, seq in vector.items():
            if seq < MAX_EVENT:  # it has dropped that origin, and knows of no such event
                highest[origin] = max(seq, highest.get(origin, 0))
    return highest
