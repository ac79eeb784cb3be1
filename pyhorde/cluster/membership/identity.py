"""A node's own record: what it answers to what others say about it and about its name.

Only the node itself raises its incarnation, and it does so whenever it is held for anything but
alive. Of two boots of one name the one of the higher identity counts; so a boot that meets traces
of an earlier one takes the name over with a still higher generation. When the other one turns out
to be alive, and of the better right, this one yields.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import YieldName


@dataclass(frozen=True, slots=True)
class Speak:
    """Tell everyone the new own record."""

    me: Member
    cause: str


@dataclass(frozen=True, slots=True)
class Contradict:
    """Tell the one who said it what holds already."""


class Identity:
    """What a node remembers of those who had its name."""

    def __init__(self) -> None:
        self._predecessors: set[str] = set()

    def answer(
        self, me: Member, said: Member, linked: AbstractSet[str]
    ) -> Speak | Contradict | YieldName | None:
        """What to do about ``said``, a record of this node's name."""
        if me.status is Status.LEFT:
            return None
        if said.boot != me.boot:
            return self._about_my_name(me, said, linked)
        if said.status is Status.ALIVE:
            return None
        if said.incarnation < me.incarnation:
            return Contradict()
        return Speak(renewed(replace(me, incarnation=said.incarnation)), "refuted")

    def _about_my_name(
        self, me: Member, said: Member, linked: AbstractSet[str]
    ) -> Speak | Contradict | YieldName:
        if said.identity < me.identity:
            return Contradict()
        if said.present and self._is_alive(me, said, linked):
            return YieldName(said)
        self._predecessors.add(said.boot)
        return Speak(renewed(replace(me, generation=said.generation + 1)), "took its name over")

    def _is_alive(self, me: Member, said: Member, linked: AbstractSet[str]) -> bool:
        """Whether the other boot lives, or is just not known to be dead yet.

        One address has room for one node, so a record of the own address is an old one. But who is
        linked, or answers to being replaced with a still higher generation, lives.
        """
        lives = said.boot in linked or said.boot in self._predecessors
        return lives or said.address != me.address


def renewed(me: Member) -> Member:
    """The record at its next incarnation, which nobody has said anything about yet."""
    return replace(me, incarnation=me.incarnation + 1)
