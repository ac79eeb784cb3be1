"""What membership wants done: the shell runs these, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyhorde.cluster.member import Member


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message to this boot, if there is a link to it.

    ``packet``: as a packet of its own, which may get lost, but waits for nothing.
    """

    boot: str
    message: Any
    packet: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """A member's record changed; ``cause`` says why, for people."""

    before: Member | None
    after: Member
    cause: str


@dataclass(frozen=True, slots=True)
class Redial:
    """The link to this member broke: dial it again now, the answer is evidence."""

    member: Member


@dataclass(frozen=True, slots=True)
class YieldName:
    """Another live node has this node's name and the better right to it: stop."""

    winner: Member


Effect = Send | Changed | Redial | YieldName
