"""How replicas keep up with each other: push at once, repair by version vectors. A pure machine.

Each node pushes its own events to every linked peer: one batch in flight per peer, so batches grow
with the load by themselves. What a push misses (a peer joined late, a link broke) is found by
exchanging version vectors, when two nodes meet and every ``sync_interval`` with one peer, and sent
by whoever has it. That peer is one that is sent something anyway at about that time, so that the
exchange costs no frame of its own, or else a random one.

``acked`` is what a peer has confirmed of this node's events: the ground for every promise that a
write is safe elsewhere.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from pyhorde.cluster.membership import Send
from pyhorde.cluster.messages import SyncAck, SyncData, SyncRequest
from pyhorde.config import ReplicationConfig
from pyhorde.crdt import Delta, Joined, Replica
from pyhorde.seam import Rng

MAX_ORIGINS: Final = 100_000
EARLY: Final = 0.75
"""From this part of ``sync_interval`` on vectors are exchanged with whoever is sent something."""
LATE: Final = 1.25
"""By this part of it at the latest they are exchanged with a random peer."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A join changed the replica; look at these keys and registers again."""

    joined: Joined


@dataclass(frozen=True, slots=True)
class Caught:
    """Everything this peer had at the time of the request has been joined."""

    boot: str


Effect = Send | Learned | Caught


@dataclass(slots=True)
class _Peer:
    acked: int | None = None
    """Own events the peer has confirmed; None until it first says."""
    pushed: int | None = None
    """The own event up to which a push is in flight; None when none is."""
    asked: deque[float] = field(default_factory=deque)
    """When the requests that it has not answered yet were sent."""
    caught: float = -math.inf
    """It has answered, in full, a request of this time."""
    told: int = 0
    """How many of its events it has been told are known here."""
    settled: bool = False
    """It says that it is in sync with the cluster."""


class Replication:
    """What to send to whom."""

    def __init__(self, replica: Replica, config: ReplicationConfig, rng: Rng) -> None:
        self.replica = replica
        self._config = config
        self._rng = rng
        self._peers: dict[str, _Peer] = {}
        self._push_at: float | None = None
        self._sync_from = 0.0
        self._next_sync = 0.0
        self.settled = False
        """What peers are told: whether this node is in sync with the cluster."""

    def acked(self, boot: str) -> int:
        """How many own events this linked peer has confirmed."""
        peer = self._peers.get(boot)
        return peer.acked or 0 if peer else 0

    def start(self, now: float) -> None:
        """Begin the periodic exchange."""
        self._sync_from = now + self._config.sync_interval * self._rng.uniform(0, 1)
        self._next_sync = self._sync_from + self._config.sync_interval

    def next_deadline(self) -> float:
        """When ``tick`` wants to be called."""
        return self._next_sync if self._push_at is None else min(self._push_at, self._next_sync)

    def linked(self, boot: str, now: float) -> list[Effect]:
        """A link is up: ask at once for what is missing here."""
        self._peers[boot] = _Peer()
        return self.ask(boot, now)

    def ask(self, boot: str, now: float) -> list[Effect]:
        """Request what this linked peer has more."""
        peer = self._peers[boot]
        peer.asked.append(now)
        peer.told = self.replica.known(boot)
        return [Send(boot, SyncRequest(self.replica.vector, self.settled))]

    def heard(self) -> tuple[bool, bool]:
        """Whether every linked peer has told all it knew when it was met, and a settled one has."""
        told = [peer for peer in self._peers.values() if peer.caught > -math.inf]
        return len(told) == len(self._peers), any(peer.settled for peer in told)

    def lagging(self, since: float) -> list[str]:
        """Linked peers of which it is not known here what they had at ``since``."""
        return sorted(boot for boot, peer in self._peers.items() if peer.caught < since)

    def asking(self, boot: str, since: float) -> bool:
        """Whether a request not older than ``since`` is under way to this peer."""
        peer = self._peers.get(boot)
        return peer is not None and bool(peer.asked) and peer.asked[-1] >= since

    def unlinked(self, boot: str) -> None:
        """The link is gone, and with it what was in flight."""
        self._peers.pop(boot, None)

    def written(self, now: float) -> None:
        """The own replica was written to: push soon."""
        if self._push_at is None:
            self._push_at = now + self._config.push_delay

    def tick(self, now: float, company: Collection[str] = ()) -> list[Effect]:
        """Do what is due. ``company``: who is sent something now anyway."""
        effects: list[Effect] = []
        if self._push_at is not None and now >= self._push_at:
            self._push_at = None
            batches: dict[int, list[SyncData]] = {}
            for boot in sorted(self._peers):
                effects += self._push(boot, batches)
        if now >= self._sync_from:
            effects += self._sync(now, company)
        return effects

    def _sync(self, now: float, company: Collection[str]) -> list[Effect]:
        late = now >= self._next_sync
        peers = [boot for boot in company if boot in self._peers]
        if not (peers or late):
            return []
        self._sync_from = now + self._config.sync_interval * EARLY
        self._next_sync = now + self._config.sync_interval * self._rng.uniform(1, LATE)
        effects: list[Effect] = []
        peers = sorted(peers or self._peers)
        for boot in self._rng.sample(peers, min(1, len(peers))):
            self._peers[boot].pushed = None
            effects += self.ask(boot, now)
        return effects

    def received(self, boot: str, message: Any, now: float, wall: float) -> list[Effect]:
        """A message from a linked boot. Raises ``ValueError``, changing nothing, for a bad one."""
        match message:
            case SyncRequest():
                return self._requested(boot, _vector(message.vector), settled=message.settled)
            case SyncData():
                return self._take(boot, message, now, wall)
            case SyncAck():
                return self._acknowledged(boot, _vector(message.vector))
            case _:
                raise ValueError(f"no replication message: {message!r}")

    def _requested(self, boot: str, vector: dict[str, int], *, settled: bool) -> list[Effect]:
        self._heard(boot, vector)
        if boot in self._peers:
            self._peers[boot].settled = settled
        deltas = self.replica.deltas_for(vector, self._config.chunk_bytes)
        messages = [SyncData(d.to_wire(), last=False, answer=True) for d in deltas]
        messages.append(SyncData(Delta().to_wire(), last=True, answer=True))
        effects: list[Effect] = [Send(boot, message) for message in messages]
        peer = self._peers.get(boot)
        if peer is not None and vector.get(self.replica.origin, 0) < self.replica.seq:
            peer.pushed = self.replica.seq
        return effects

    def _take(self, boot: str, message: SyncData, now: float, wall: float) -> list[Effect]:
        delta = Delta.from_wire(message.delta)
        joined = self.replica.join(delta, wall)
        effects: list[Effect] = [Learned(joined)] if joined else []
        if not message.answer and delta.segments:
            known = {s.origin: self.replica.known(s.origin) for s in delta.segments}
            effects.append(Send(boot, SyncAck(known)))
        elif message.answer and message.last:
            effects += self._answered(boot)
        if joined.gaps:
            effects += self.ask(boot, now)
        return effects

    def _answered(self, boot: str) -> list[Effect]:
        peer = self._peers.get(boot)
        if peer is None:
            return []
        if peer.asked:
            peer.caught = peer.asked.popleft()
        known = self.replica.known(boot)
        if known <= peer.told:
            return [Caught(boot)]
        peer.told = known
        return [Send(boot, SyncAck({boot: known})), Caught(boot)]

    def _acknowledged(self, boot: str, vector: dict[str, int]) -> list[Effect]:
        peer = self._peers.get(boot)
        before = peer.acked if peer else None
        self._heard(boot, vector)
        if peer is None:
            return []
        if peer.pushed is not None and vector.get(self.replica.origin, 0) >= peer.pushed:
            peer.pushed = None
        elif before == peer.acked:
            return []
        return self._push(boot, {})

    def _heard(self, boot: str, vector: dict[str, int]) -> None:
        peer = self._peers.get(boot)
        if peer is not None:
            peer.acked = max(peer.acked or 0, vector.get(self.replica.origin, 0))

    def _push(self, boot: str, batches: dict[int, list[SyncData]]) -> list[Effect]:
        """Peers that have confirmed equally much are sent the same messages, from ``batches``."""
        peer = self._peers[boot]
        if peer.acked is None or peer.pushed is not None or peer.acked >= self.replica.seq:
            return []
        if peer.acked not in batches:
            deltas = self.replica.own_deltas(peer.acked, self._config.chunk_bytes)
            messages = [SyncData(d.to_wire(), last=True, answer=False) for d in deltas]
            batches[peer.acked] = messages
        peer.pushed = self.replica.seq
        return [Send(boot, message) for message in batches[peer.acked]]


def _vector(raw: Any) -> dict[str, int]:
    if not isinstance(raw, dict) or len(raw) > MAX_ORIGINS:
        raise ValueError("vector: expected a map")
    for origin, seq in raw.items():
        if not isinstance(origin, str) or type(seq) is not int or not 0 <= seq < 2**53:
            raise ValueError("vector: bad entry")
    return raw
