"""Messages of membership. Wire tags 1-9; never reuse one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyhorde.cluster.member import Member
from pyhorde.cluster.transport.wire import Lane


@dataclass(frozen=True, slots=True)
class Update:
    """News about one member: what is said, by whom, and whether they hold positive evidence."""

    member: Member
    accuser: str = ""
    evidence: bool = False

    def to_wire(self) -> list[Any]:
        """Plain data for messages."""
        return [self.member.to_wire(), self.accuser, self.evidence]

    @classmethod
    def from_wire(cls, raw: Any) -> Update:
        """Check and rebuild. Raises ``ValueError``."""
        if not isinstance(raw, list) or len(raw) != 3 or not isinstance(raw[1], str):
            raise ValueError("update: expected member, accuser, evidence")
        return cls(Member.from_wire(raw[0]), raw[1], bool(raw[2]))


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? ``target`` is the boot that is meant, at the incarnation that is known of it.

    ``vitals`` is how the sender is: see :class:`~pyhorde.cluster.vitals.Vitals`.
    """

    tag: ClassVar[int] = 1
    lane: ClassVar[Lane] = Lane.CONTROL
    seq: int
    target: str
    known: int
    vitals: list[Any]
    updates: list[Any]


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to ``Ping`` number ``seq``: ``boot`` is here.

    ``member`` is its own record; None when the asker knows it as it is.
    """

    tag: ClassVar[int] = 2
    lane: ClassVar[Lane] = Lane.CONTROL
    seq: int
    boot: str
    member: list[Any] | None
    vitals: list[Any]
    updates: list[Any]


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Please ping ``target`` and pass its ack on to me."""

    tag: ClassVar[int] = 3
    lane: ClassVar[Lane] = Lane.CONTROL
    seq: int
    target: str
    updates: list[Any]


@dataclass(frozen=True, slots=True)
class Gossip:
    """News that should not wait for the next probe."""

    tag: ClassVar[int] = 4
    lane: ClassVar[Lane] = Lane.CONTROL
    updates: list[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """All members the sender knows, each with the seconds it has been absent.

    ``reply`` asks for the receiver's table in return.
    """

    tag: ClassVar[int] = 5
    lane: ClassVar[Lane] = Lane.CONTROL
    members: list[Any]
    reply: bool


@dataclass(frozen=True, slots=True)
class Nack:
    """I have pinged for you, as you asked in ``PingRequest`` number ``seq``: no answer so far."""

    tag: ClassVar[int] = 6
    lane: ClassVar[Lane] = Lane.CONTROL
    seq: int


@dataclass(frozen=True, slots=True)
class Reached:
    """I am joining too: how far I am, and a digest of the members that I see.

    See :mod:`pyhorde.cluster.membership.joining`.
    """

    tag: ClassVar[int] = 7
    lane: ClassVar[Lane] = Lane.CONTROL
    standing: int
    members: int


MEMBERSHIP_MESSAGES = (Ping, Ack, PingRequest, Gossip, Table, Nack)
