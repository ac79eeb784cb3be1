"""When a node that starts knows what the cluster knows: a pure machine.

Somebody who is in sync and has told it all makes it sure. Where nobody is, those who start together
have to find out that they are all there is. Each says whether it misses anybody it was told of, and
whom it sees. When all of them are linked with each other, see the same members and miss nobody,
then whoever one of them was told of is among them. Who waited for long enough, and tried all, gives
up on the others; but not before those it met have met theirs, or given up too.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pyhorde.cluster.membership.messages import Reached
from pyhorde.cluster.placement import hash64

FOREVER: Final = 3
"""After so many times its patience a node waits for nobody any more."""


class Standing(IntEnum):
    """How far a node that starts is."""

    SEEKING = 0
    MET = 1
    """It is linked with everybody it was told of."""
    GAVE_UP = 2
    """Some did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a node that starts knows of its own case."""

    me: str
    linked: AbstractSet[str]
    others: AbstractSet[str]
    """Boots of the present members but the own one."""
    missing: bool
    """Whether a possible peer that it was told of is not linked, or may still be told of."""
    tried: bool
    """Whether each of them has been dialled."""
    waited: float
    told: bool
    """Whether every linked peer has told all that it had."""
    by_settled: bool
    """Whether one of these is in sync with the cluster."""
    shut_out: bool
    """Whether a cluster is there that does not let this node in yet."""


class Joining:
    """What those who start together say to each other."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._said: dict[str, Reached] = {}
        self._heard: dict[str, Reached] = {}

    def heard(self, boot: str, message: Reached) -> None:
        """What another one says of itself."""
        self._heard[boot] = message

    def says(self, situation: Situation) -> Reached:
        """What this node says of itself."""
        if not situation.missing and situation.others <= situation.linked:
            standing = Standing.MET
        else:
            standing = Standing.GAVE_UP if self._is_late(situation) else Standing.SEEKING
        met = standing is Standing.MET
        return Reached(int(standing), _digest({situation.me, *situation.others}) if met else 0)

    def news(self, situation: Situation) -> list[tuple[str, Reached]]:
        """Who has to hear that, because they have not heard it yet."""
        mine, linked = self.says(situation), situation.linked
        self._said = {boot: said for boot, said in self._said.items() if boot in linked}
        self._heard = {boot: said for boot, said in self._heard.items() if boot in linked}
        unheard = [boot for boot in sorted(linked) if self._said.get(boot) != mine]
        self._said.update(dict.fromkeys(unheard, mine))
        return [(boot, mine) for boot in unheard]

    def is_over(self, situation: Situation) -> bool:
        """Whether the node knows what the cluster knows, or nobody there can tell it."""
        if not situation.told or (situation.others and not situation.linked):
            return False
        if situation.by_settled:
            return True
        mine = self.says(situation)
        theirs = [self._heard.get(boot) for boot in situation.linked]
        if mine.standing == Standing.MET and all(said == mine for said in theirs):
            return True
        if not self._is_late(situation):
            return False
        ready = all(said is not None and said.standing != Standing.SEEKING for said in theirs)
        return ready or situation.waited >= FOREVER * self._patience

    def _is_late(self, situation: Situation) -> bool:
        waited = situation.waited >= self._patience
        return waited and situation.tried and not situation.shut_out


def _digest(boots: Iterable[str]) -> int:
    return hash64("\n".join(sorted(boots))) >> 11
