"""Messages of replication. Wire tags 10-19; never reuse one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyhorde.cluster.transport.wire import Lane


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
