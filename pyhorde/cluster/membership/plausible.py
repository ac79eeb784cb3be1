"""What may be said of members: nothing that would outlive whoever said it. Pure.

A member's record only rises: to a higher incarnation by the member itself, to a higher generation
with each start. Whoever is said to be higher has to go above that. So a number near its end, by a
flipped bit or a wrong unit, would be the last, and the member could never come back. A record that
is further ahead than a cluster could get is refused, with the whole message that has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyhorde.cluster.member import Member, View

MAX_AHEAD: Final = 1_000_000
"""So many refutations and announcements may have passed this node by."""
FIRST_INCARNATION: Final = 2**40
"""The highest incarnation of somebody who has not been heard of before."""
FAR: Final = 366 * 86_400_000
"""Milliseconds by which two clocks may differ. A generation is the time of a start."""
MAX_MEMBERS: Final = 4_096
"""Present and former ones. The records of more are refused."""
MAX_NEWS: Final = 256
"""Records in one message that is no table."""


class Plausible:
    """Judges records from others; ``generation`` is the own one, when this node started."""

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._began = 0.0

    def start(self, now: float) -> None:
        """The own generation is of this time."""
        self._began = now

    def latest(self, now: float) -> int:
        """The highest generation that anybody can have now."""
        return self._generation + int((now - self._began) * 1000) + FAR

    def check(self, members: Iterable[Member], view: View, now: float) -> None:
        """Raise ``ValueError`` for a record that cannot be."""
        latest, fresh = self.latest(now), 0
        for member in members:
            known = view.by_name.get(member.name)
            fresh += known is None
            if member.generation > latest:
                raise ValueError(f"member {member.name!r}: a generation far from what can be")
            most = FIRST_INCARNATION
            if known is not None and known.boot == member.boot:
                most = known.incarnation + MAX_AHEAD
            if member.incarnation > most:
                raise ValueError(f"member {member.name!r}: an incarnation far from what can be")
            other = view.by_boot.get(member.boot)
            if other is not None and other.name != member.name:
                raise ValueError(f"member {member.name!r}: the boot of {other.name!r}")
        if fresh and len(view.members) + fresh > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} members")
