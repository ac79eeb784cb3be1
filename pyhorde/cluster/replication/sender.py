"""What flows to one peer: pushes of own events, and answers to its requests. A pure machine.

A few messages at most are under way unconfirmed, so that neither end is flooded, and batches grow
with the load by themselves: less than a full chunk is pushed only when nothing is under way. While
an answer is under way nothing is pushed; pushing goes on where the answer ended. The next answer
waits until the one before has been confirmed, and has only what is still lacking then: a peer asks
once a second, however long an answer takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from pyhorde.cluster.replication.messages import SyncData
from pyhorde.crdt import Delta, Replica
from pyhorde.crdt.dots import Vector
from pyhorde.crdt.replica import CHUNK_ROWS

WINDOW: Final = 4
"""Messages under way to one peer."""
KEPT_PUSHES: Final = 8


class _Push(NamedTuple):
    seq: int
    to: int
    message: SyncData


class Pushes:
    """The latest pushes of this node, so that what goes to many peers is made once."""

    def __init__(self, replica: Replica, chunk_bytes: int) -> None:
        self.replica = replica
        self.chunk_bytes = chunk_bytes
        self.relayed = False
        """Whether peers are to pass pushes on."""
        self.settled = False
        """Whether this node is in sync with the cluster."""
        self._made: dict[int, _Push] = {}

    def after(self, frm: int) -> tuple[int, SyncData]:
        """The own events after ``frm``, as many as one message takes, and the last of them."""
        seq = self.replica.seq
        made = self._made.get(frm)
        is_short = made is not None and made.to == made.seq < seq
        if made is None or is_short or made.message.relay != self.relayed:
            delta = self.replica.own_delta(frm, self.chunk_bytes)
            message = SyncData(delta.to_wire(), last=True, answer=False, relay=self.relayed)
            made = _Push(seq, delta.segments[0].to, message)
            self._made.pop(frm, None)
            if len(self._made) >= KEPT_PUSHES:
                del self._made[next(iter(self._made))]
            self._made[frm] = made
        return made.to, made.message


class _Kind(Enum):
    ANSWER = 1
    CATCH_UP = 2
    REPAIR = 3


class Sender:
    """One peer, as the sender sees it."""

    def __init__(self, boot: str, pushes: Pushes) -> None:
        self.boot = boot
        self.acked: int | None = None
        """Own events the peer has confirmed; None until it first says."""
        self.vector: dict[str, int] = {}
        """What the peer has said that it knows."""
        self._pushes = pushes
        self._replica = pushes.replica
        self._sent = 0
        self._flying = 0
        self._is_stuck = False
        """Something was under way when somebody looked last, and nothing was confirmed since."""
        self._due: deque[_Kind] = deque()
        self._kind: _Kind | None = None
        self._is_answered = True
        """Whether all of the latest answer has been confirmed."""
        self._rest: Iterator[Delta] = iter(())
        self._ahead: Delta | None = None
        self._upto = 0
        self._settled = False
        """Whether this node was in sync when what is being sent now began."""

    def requested(self, vector: dict[str, int]) -> None:
        """The peer has asked for all that it lacks."""
        self.vector = vector
        self.acked = 0  # it may have had to learn own events anew
        self._confirm(vector)
        if self._is_answered:
            self._flying = 0
        self._due.append(_Kind.ANSWER)

    def confirmed(self, vector: dict[str, int]) -> None:
        """The peer has joined one message."""
        self._landed(self._flying - 1)
        for origin, seq in vector.items():
            self.vector[origin] = max(seq, self.vector.get(origin, 0))
        self._confirm(vector)

    def learned(self, vector: dict[str, int]) -> None:
        """The peer has learned of own events from somebody else."""
        self._confirm(vector)

    def _landed(self, flying: int) -> None:
        self._flying = max(0, flying)
        self._is_stuck = False
        if self._kind is None and not self._flying:
            self._is_answered = True

    def _confirm(self, vector: dict[str, int]) -> None:
        self.acked = max(self.acked or 0, vector.get(self._replica.origin, 0))
        self._sent = max(self._sent, self.acked)

    def review(self) -> bool:
        """Called now and then: whether what was under way for all the time since is given up."""
        if not (self._flying and self._is_stuck):
            self._is_stuck = self._flying > 0
            return False
        self._landed(0)
        self._sent = self.acked or 0
        return True

    def repair(self) -> None:
        """Send every register, whatever the peer has."""
        self._due.append(_Kind.REPAIR)

    def ready(self, *, push: bool) -> list[SyncData]:
        """What may be sent now; ``push``: whether own events go to this peer directly."""
        messages: list[SyncData] = []
        while self._flying < WINDOW:
            if self._kind is None and self._due:
                if not self._is_answered:
                    break
                self._begin(self._due.popleft(), self.vector)
            if self._kind is not None:
                messages.append(self._next_piece())
            elif push and (message := self._next_push()) is not None:
                messages.append(message)
            else:
                break
        return messages

    def _begin(self, kind: _Kind, vector: Vector) -> None:
        replica = self._replica
        self._kind, self._upto, self._is_answered = kind, replica.seq, False
        self._settled = self._pushes.settled
        if kind is _Kind.REPAIR:
            self._rest = replica.all_registers(self._pushes.chunk_bytes)
        else:
            self._rest = replica.answer(vector, self._pushes.chunk_bytes, self.boot)
        self._ahead = next(self._rest, None)

    def _next_piece(self) -> SyncData:
        delta, self._ahead = self._ahead, next(self._rest, None)
        kind, last = self._kind, self._ahead is None
        if last:
            self._kind = None
            if kind is not _Kind.REPAIR:
                self._sent = max(self._sent, self._upto)
        if delta is not None:
            self._flying += 1
        elif not self._flying:
            self._is_answered = True
        wire = (delta or Delta()).to_wire()
        answer, repair = kind is _Kind.ANSWER, kind is _Kind.REPAIR
        return SyncData(wire, last=last, answer=answer, repair=repair, settled=self._settled)

    def _next_push(self) -> SyncData | None:
        replica = self._replica
        waiting = replica.seq - self._sent
        if self.acked is None or waiting <= 0 or (self._flying and waiting < CHUNK_ROWS):
            return None
        if not replica.can_push(self._sent):
            self._begin(_Kind.CATCH_UP, {**self.vector, replica.origin: self._sent})
            return self._next_piece()
        self._sent, message = self._pushes.after(self._sent)
        self._flying += 1
        return message
