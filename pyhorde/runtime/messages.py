"""Messages of the runtime. Wire tags 20-39; never reuse one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyhorde.cluster.transport.wire import Lane


@dataclass(frozen=True, slots=True)
class CallRequest:
    """Run a method of a process and answer with ``Reply``. ``timeout`` is what is left of it."""

    tag: ClassVar[int] = 20
    lane: ClassVar[Lane] = Lane.CALL
    id: int
    name: str
    method: str
    arguments: bytes
    request_id: str
    timeout: float


@dataclass(frozen=True, slots=True)
class CastMessage:
    """Run a method of a process; nobody waits."""

    tag: ClassVar[int] = 21
    lane: ClassVar[Lane] = Lane.CALL
    name: str
    method: str
    arguments: bytes


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Start a process here and answer with ``Reply``; its result is the owner's name."""

    tag: ClassVar[int] = 22
    lane: ClassVar[Lane] = Lane.CALL
    id: int
    name: str
    type: str
    arguments: bytes
    start_id: str


@dataclass(frozen=True, slots=True)
class YieldRequest:
    """The final state and answers of a copy of this process that lost against the receiver's."""

    tag: ClassVar[int] = 23
    lane: ClassVar[Lane] = Lane.CALL
    id: int
    name: str
    epoch: int
    node: str
    version: int
    state: bytes | None
    answers: list[Any]


@dataclass(frozen=True, slots=True)
class KeyQuestion:
    """Which of your claims of keys, by their events, are still there? One byte for each."""

    tag: ClassVar[int] = 25
    lane: ClassVar[Lane] = Lane.CALL
    id: int
    table: str
    seqs: list[Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to request ``id``: bytes, or an error as plain data."""

    tag: ClassVar[int] = 24
    lane: ClassVar[Lane] = Lane.CALL
    id: int
    result: bytes | None
    error: list[Any] | None


RUNTIME_MESSAGES = (CallRequest, CastMessage, StartRequest, YieldRequest, KeyQuestion, Reply)
