"""Messages of membership and replication. Wire tags 1-19; never reuse one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyhorde.cluster.member import Member
from pyhorde.cluster.wire import Lane


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

    See :mod:`pyhorde.cluster.joining`.
    """

    tag: ClassVar[int] = 7
    lane: ClassVar[Lane] = Lane.CONTROL
    standing: int
    members: int


MEMBERSHIP_MESSAGES = (Ping, Ack, PingRequest, Gossip, Table, Nack)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """My version vector: send what I lack. ``settled``: I am in sync with the cluster myself."""

    tag: ClassVar[int] = 10
    lane: ClassVar[Lane] = Lane.CALL
    vector: dict[str, Any]
    settled: bool = False


@dataclass(frozen=True, slots=True)
class SyncData:
    """A delta. ``last`` ends the answer to a ``SyncRequest``; pushes are always last.

    ``relay``: please pass it on to those peers that count on you for it; ``relayed``: somebody did,
    and its origin wants to hear that it came. ``repair``: registers that
    are to be believed although their events are known. ``settled``: the sender was in sync with the
    cluster when it began to answer.
    """

    tag: ClassVar[int] = 11
    lane: ClassVar[Lane] = Lane.BULK
    delta: list[Any]
    last: bool
    answer: bool
    relay: bool = False
    relayed: bool = False
    repair: bool = False
    settled: bool = False


@dataclass(frozen=True, slots=True)
class SyncAck:
    """How far the sender knows these origins, after joining what it was sent.

    ``relayed``: what it joined was passed on by somebody else.
    """

    tag: ClassVar[int] = 12
    lane: ClassVar[Lane] = Lane.CALL
    vector: dict[str, Any]
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """What I hold of your claims: up to event ``seq`` there live so many, with this sum of numbers.

    ``registers`` is the digest of all my registers and ``knowledge`` that of my vector, None while
    something is under way.
    """

    tag: ClassVar[int] = 13
    lane: ClassVar[Lane] = Lane.CALL
    seq: int
    live: int
    total: int
    registers: int
    knowledge: int | None


@dataclass(frozen=True, slots=True)
class Differs:
    """Your ``Audit`` is wrong, in claims or in registers: repair it."""

    tag: ClassVar[int] = 14
    lane: ClassVar[Lane] = Lane.CALL
    claims: bool
    registers: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Everybody has seen the deletions among these events, and I have forgotten them.

    ``heeding``: who everybody is, each with an event of its own after which it had seen them.
    """

    tag: ClassVar[int] = 15
    lane: ClassVar[Lane] = Lane.CALL
    vector: dict[str, Any]
    heeding: dict[str, Any]


REPLICATION_MESSAGES = (SyncRequest, SyncData, SyncAck, Audit, Differs, Forget)
