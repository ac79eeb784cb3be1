"""How replicas keep up with each other: push at once, repair by version vectors. A pure machine.

Each node pushes its own events to its linked peers (in a large cluster: to relays, which pass them
on). What a push misses (a peer joined late, a link broke) is found by exchanging version vectors,
when two nodes meet and every ``sync_interval`` with one peer, and sent by whoever has it. That peer
is one that is sent something anyway at about that time, so that the exchange costs no frame of its
own, or else a random one.

``acked`` is what a peer has confirmed of this node's events: the ground for every promise that a
write is safe elsewhere. What peers say that they know is also the ground for forgetting deletions,
and once in a while two nodes compare digests: a difference is a bug, and is counted and repaired.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

from pyhorde.cluster.membership.effects import Send
from pyhorde.cluster.replication.messages import (
    Audit,
    Differs,
    Forget,
    SyncAck,
    SyncData,
    SyncRequest,
)
from pyhorde.cluster.replication.relays import relays, share
from pyhorde.cluster.replication.sender import Pushes, Sender
from pyhorde.config import ReplicationConfig
from pyhorde.crdt import Delta, Joined, Replica
from pyhorde.crdt.bounds import check
from pyhorde.crdt.delta import MAX_EVENT
from pyhorde.crdt.registers import Stable
from pyhorde.crdt.stability import Stability
from pyhorde.seam import Rng

MAX_ORIGINS: Final = 100_000
AHEAD: Final = 65_536
"""By so many events others may be ahead of what an origin that is linked has said itself."""
EARLY: Final = 0.75
"""From this part of ``sync_interval`` on vectors are exchanged with whoever is sent something."""
LATE: Final = 1.25
"""By this part of it at the latest they are exchanged with a random peer."""
FIRST_PATIENCE: Final = 1.0
"""Seconds of silence after which a joining node asks everybody else, too."""
TOLD_RETIRED: Final = 8
"""So many of the origins retired last are named to peers, so that these do not send them."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A join changed the replica; look at these keys and registers again."""

    joined: Joined


@dataclass(frozen=True, slots=True)
class Caught:
    """Everything this peer had at the time of the request has been joined."""

    boot: str


@dataclass(frozen=True, slots=True)
class Repairs:
    """An audit has found that what is held of this peer's is wrong; it is being repaired."""

    boot: str
    what: str


Effect = Send | Learned | Caught | Repairs


@dataclass(slots=True)
class Statistics:
    """What went wrong, and what was forgotten, since the start."""

    gaps: int = 0
    skewed: int = 0
    repairs: int = 0
    forgotten_deletions: int = 0
    ahead: int = 0
    """How often more was said of an origin's events than that origin says there are."""


@dataclass(slots=True)
class _Peer:
    out: Sender
    since: float
    """When the link came up."""
    asked: deque[float] = field(default_factory=deque)
    """When the requests that it has not answered yet were sent."""
    doubtful: int = 0
    """So many of the answers still to come count for nothing: something could not be joined."""
    caught: float = -math.inf
    """It has answered, in full, a request of this time."""
    settled: bool = False
    """It says that it is in sync with the cluster."""
    sure: bool = False
    """It was when it began an answer that is here by now."""
    said: int | None = None
    """How many own events it says, or showed, that there are."""
    ahead: int = 0
    """By how many events others are believed to be ahead of that."""


class Replication:
    """What to send to whom."""

    def __init__(self, replica: Replica, config: ReplicationConfig, rng: Rng) -> None:
        self.replica = replica
        self.statistics = Statistics()
        self._config = config
        self._rng = rng
        self._peers: dict[str, _Peer] = {}
        self._pushes = Pushes(replica, config.chunk_bytes)
        self._direct: frozenset[str] | None = None
        """To whom own events are pushed; None: to everybody."""
        self._floors: dict[str, int] = {}
        """Below these events deletions were forgotten by whoever sent what it holds."""
        self._overdue = 0
        """The own event that everybody should have confirmed by the next look."""
        self._stability = Stability(replica)
        self._first = ""
        """The peer that this node, while it joins, is told everything by."""
        self._first_spoke = 0.0
        self._push_at: float | None = None
        self._sync_from = 0.0
        self._next_sync = 0.0
        self._next_audit = math.inf

    @property
    def settled(self) -> bool:
        """What peers are told: whether this node is in sync with the cluster."""
        return self._pushes.settled

    @settled.setter
    def settled(self, settled: bool) -> None:
        self._pushes.settled = settled

    def is_joining(self, boot: str, now: float) -> bool:
        """Whether this linked peer has asked for nothing yet: another one tells it everything."""
        peer = self._peers.get(boot)
        return peer is not None and peer.out.acked is None and now - peer.since > FIRST_PATIENCE

    def acked(self, boot: str) -> int:
        """How many own events this linked peer has confirmed."""
        peer = self._peers.get(boot)
        return peer.out.acked or 0 if peer else 0

    def start(self, now: float) -> None:
        """Begin the periodic exchange."""
        self._sync_from = now + self._config.sync_interval * self._rng.uniform(0, 1)
        self._next_sync = self._sync_from + self._config.sync_interval
        self._next_audit = now + self._config.audit_interval * self._rng.uniform(0.5, 1)

    def next_deadline(self) -> float:
        """When ``tick`` wants to be called."""
        return self._next_sync if self._push_at is None else min(self._push_at, self._next_sync)

    def linked(self, boot: str, now: float) -> list[Effect]:
        """A link is up: ask at once for what is missing here.

        A node that joins asks one peer first, and the others when it has all that this one has.
        """
        self.replica.revive(boot)
        self._peers[boot] = _Peer(Sender(boot, self._pushes), now, ahead=AHEAD)
        self._choose()
        if not self.settled:
            if self._first in self._peers:
                return []
            self._first, self._first_spoke = boot, now
        return self.ask(boot, now)

    def _ask_the_rest(self, now: float) -> list[Effect]:
        """Whom this joining node has not asked yet, unless the first is still speaking."""
        if self._first in self._peers and now - self._first_spoke < FIRST_PATIENCE:
            return []
        self._first = ""
        waiting = [b for b, p in self._peers.items() if not p.asked and p.caught == -math.inf]
        return [effect for boot in sorted(waiting) for effect in self.ask(boot, now)]

    def unlinked(self, boot: str) -> None:
        """The link is gone, and with it what was in flight."""
        if self._peers.pop(boot, None) is not None:
            self._choose()

    def _choose(self) -> None:
        large = len(self._peers) > self._config.relay_above
        chosen = relays(self.replica.origin, self._peers) if large else None
        self._direct = frozenset(chosen) if chosen is not None else None
        self._pushes.relayed = large

    def ask(self, boot: str, now: float) -> list[Effect]:
        """Request what this linked peer has more."""
        self._peers[boot].asked.append(now)
        vector = self.replica.vector
        for origin in list(self.replica.retired)[-TOLD_RETIRED:]:
            if origin != boot:  # that would say that all its events are safe here
                vector[origin] = MAX_EVENT
        return [Send(boot, SyncRequest(vector, self.settled))]

    def heard(self) -> tuple[bool, bool]:
        """Whether every linked peer has told all it knew when it was met, and a settled one has."""
        told = [peer for peer in self._peers.values() if peer.caught > -math.inf]
        return len(told) == len(self._peers), any(peer.sure for peer in told)

    def lagging(self, since: float) -> list[str]:
        """Linked peers of which it is not known here what they had at ``since``."""
        return sorted(boot for boot, peer in self._peers.items() if peer.caught < since)

    def asking(self, boot: str, since: float) -> bool:
        """Whether a request not older than ``since`` is under way to this peer."""
        peer = self._peers.get(boot)
        return peer is not None and bool(peer.asked) and peer.asked[-1] >= since

    def written(self, now: float) -> bool:
        """The own replica was written to: push soon. False when that is due anyway."""
        if self._push_at is not None:
            return False
        self._push_at = now + self._config.push_delay
        return True

    def push(self) -> list[Effect]:
        """Push what was written."""
        self._push_at = None
        return [effect for boot in sorted(self._peers) for effect in self._flow(boot)]

    # ---- time --------------------------------------------------------------------------------

    def tick(self, now: float, company: Collection[str] = ()) -> list[Effect]:
        """Do what is due. ``company``: who is sent something now anyway."""
        effects = [] if self.settled else self._ask_the_rest(now)
        if self._push_at is not None and now >= self._push_at:
            effects += self.push()
        if now >= self._sync_from:
            effects += self._sync(now, company)
        if now >= self._next_audit:
            self._next_audit = now + self._config.audit_interval * self._rng.uniform(0.75, 1.25)
            effects += self._audit()
        return effects

    def _flow(self, boot: str, *, overdue: bool = False) -> list[Effect]:
        direct = overdue or self._direct is None or boot in self._direct
        return [Send(boot, message) for message in self._peers[boot].out.ready(push=direct)]

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
            effects += self.ask(boot, now)
        for boot in sorted(self._peers):
            out = self._peers[boot].out
            given_up, overdue = out.review(), (out.acked or 0) < self._overdue
            if given_up or overdue:
                effects += self._flow(boot, overdue=overdue)
        self._overdue = self.replica.seq
        return effects

    def forget(self, holding: Collection[str]) -> list[Effect]:
        """Forget what everybody has seen: of deletions, these boots, all that count, as well.

        No deletion is forgotten while one of them is not linked.
        """
        vectors = {boot: peer.out.vector for boot, peer in self._peers.items()}
        known = self.replica.vector
        for vector in vectors.values():
            known = {o: min(seq, vector.get(o, 0)) for o, seq in known.items()}
        self.replica.forget_removals(known)
        acked = [peer.out.acked for peer in self._peers.values() if peer.out.acked is not None]
        self.replica.forget_overwritten(min(acked, default=self.replica.seq))
        if any(boot not in self._peers for boot in holding):
            return []
        return self._forgot(self._stability.step(vectors)) if self.replica.deletions else []

    def _forgot(self, stable: Stable | None) -> list[Effect]:
        """Forget deletions that are stable; others do it too now, so that nobody is the last."""
        if stable is None or not self._forget_upto(stable):
            return []
        message = Forget(stable.events, stable.heeding)
        return [Send(boot, message) for boot in sorted(self._peers)]

    def _forget_upto(self, stable: Stable) -> int:
        deleted, events = self.replica.deleted(), stable.events
        which = [d for d in deleted if d[1].dot.seq <= events.get(d[1].dot.origin, 0)]
        count = self.replica.forget_deletions(which, stable)
        self.statistics.forgotten_deletions += count
        return count

    # ---- messages ----------------------------------------------------------------------------

    def received(self, boot: str, message: Any, now: float, wall: float) -> list[Effect]:
        """A message from a boot. Raises ``ValueError``, changing nothing, for a bad one.

        What comes after the end of its link is dropped.
        """
        peer = self._peers.get(boot)
        if peer is None:
            return []
        match message:
            case SyncRequest():
                vector, wrong = self._said(boot, message.vector)
                again = message.settled and not peer.settled and peer.caught > -math.inf
                peer.settled = message.settled
                peer.out.requested(vector)
                again_effects = self._make_sure(boot, now) if again else []
                return wrong + self._flow(boot) + again_effects
            case SyncData():
                return self._take(boot, message, now, wall)
            case SyncAck():
                vector, wrong = self._said(boot, message.vector)
                return wrong + self._acknowledged(boot, message, vector)
            case Audit():
                return self._audited(boot, message)
            case Differs():
                return self._repair(boot, message, now)
            case Forget():
                self._forget_upto(Stable(_vector(message.vector), _vector(message.heeding)))
                return []
            case _:
                raise ValueError(f"no replication message: {message!r}")

    def _said(self, boot: str, raw: Any) -> tuple[dict[str, int], list[Effect]]:
        """What a peer says that it knows; and what to do about it if that cannot be.

        Who knows more of this node's events than there are was told so by somebody, and would not
        hear of the real ones: it has to learn them anew.
        """
        vector, mine = _vector(raw), self.replica.origin
        peer = self._peers[boot]
        peer.said = max(peer.said or 0, vector.get(boot, 0))
        if vector.get(mine, 0) <= self.replica.seq:
            return vector, []
        self.statistics.ahead += 1
        return {**vector, mine: 0}, [Send(boot, Differs(claims=True, registers=False))]

    def _believable(self, boot: str, delta: Delta, now: float) -> tuple[Delta, list[Effect]]:
        """The delta without what others say of a linked origin that it has not said itself.

        It may be a little ahead of what it said last; more comes from the origin, which is asked.
        """
        far = {
            segment.origin
            for segment in delta.segments
            if segment.origin != boot
            and (peer := self._peers.get(segment.origin)) is not None
            and peer.said is not None
            and segment.to > max(peer.said, self.replica.known(segment.origin)) + peer.ahead
        }
        for segment in delta.segments:
            if segment.origin == boot:
                peer = self._peers[boot]
                peer.said = max(peer.said or 0, segment.to)
        if not far:
            return delta, []
        self.statistics.ahead += len(far)
        kept = tuple(segment for segment in delta.segments if segment.origin not in far)
        asked = [o for o in sorted(far) if not self._peers[o].asked]
        return replace(delta, segments=kept), [e for o in asked for e in self.ask(o, now)]

    def _take(self, boot: str, message: SyncData, now: float, wall: float) -> list[Effect]:
        delta = Delta.from_wire(message.delta)
        check(delta, wall, self.replica.limits)
        delta, asked = self._believable(boot, delta, now)
        peer = self._peers[boot]
        if boot == self._first:
            self._first_spoke = now
        joined = self.replica.join(delta, wall, repair=message.repair)
        for held in delta.held:
            for origin, floor in held.forgotten.floors.items():
                self._floors[origin] = max(floor, self._floors.get(origin, 0))
        self.statistics.skewed += joined.skewed
        self.statistics.gaps += len(joined.gaps)
        if joined.wrote:
            self.written(now)
        effects: list[Effect] = [Learned(joined)] if joined else []
        effects += asked
        effects += self._confirm(boot, message, delta)
        if message.relay and not joined.gaps:
            effects += self._pass_on(boot, message)
        if joined.gaps:
            peer.doubtful = len(peer.asked)
        if message.answer and message.last:
            peer.sure = peer.sure or message.settled
            effects += self._answered(boot, peer, now)
        elif joined.gaps and not peer.asked:
            effects += self.ask(boot, now)
        return effects

    def _confirm(self, boot: str, message: SyncData, delta: Delta) -> list[Effect]:
        """Tell who sent it, or the origin of what was passed on, what is known here now."""
        known = {s.origin: self.replica.known(s.origin) for s in delta.segments}
        if message.relayed:
            return [Send(o, SyncAck(known, relayed=True)) for o in known if o in self._peers]
        if not delta:
            return []
        # How far this node itself is tells which of its events did not heed these yet.
        return [Send(boot, SyncAck({**known, self.replica.origin: self.replica.seq}))]

    def _pass_on(self, boot: str, message: SyncData) -> list[Effect]:
        others = {self.replica.origin, *self._peers} - {boot}
        again = SyncData(message.delta, last=True, answer=False, relayed=True)
        return [Send(other, again) for other in share(boot, self.replica.origin, others)]

    def _answered(self, boot: str, peer: _Peer, now: float) -> list[Effect]:
        asked = peer.asked.popleft() if peer.asked else peer.caught
        if peer.doubtful:
            peer.doubtful -= 1
            return [] if peer.asked else self.ask(boot, now)
        peer.caught = asked
        again = self._make_sure(boot, now) if peer.settled else []
        if self.settled or boot != self._first:
            return [*again, Caught(boot)]
        self._first = ""
        return [*again, *self._ask_the_rest(now), Caught(boot)]

    def _make_sure(self, boot: str, now: float) -> list[Effect]:
        """What a peer told before it was in sync may have lacked something."""
        return [] if self.settled or self._peers[boot].sure else self.ask(boot, now)

    def _acknowledged(self, boot: str, message: SyncAck, vector: dict[str, int]) -> list[Effect]:
        out = self._peers[boot].out
        if message.relayed:
            out.learned(vector)
            return []
        out.confirmed(vector)
        return self._flow(boot)

    # ---- audits ------------------------------------------------------------------------------

    def _audit(self) -> list[Effect]:
        effects: list[Effect] = []
        for boot in self._rng.sample(sorted(self._peers), min(1, len(self._peers))):
            seq, live, total = self.replica.digest().get(boot, (0, 0, 0))
            registers = self.replica.register_digest
            effects.append(Send(boot, Audit(seq, live, total, registers, self._knowledge())))
        return effects

    def _knowledge(self) -> int | None:
        """A digest of the vector; None while more is known of registers than it says."""
        known = self.replica.vector
        self._floors = {o: n for o, n in self._floors.items() if known.get(o, n) < n}
        if self.replica.is_ahead or self._floors:
            return None
        said = repr(sorted((o, seq) for o, seq in known.items() if seq))
        return int.from_bytes(blake2b(said.encode(), digest_size=7).digest())

    def _audited(self, boot: str, audit: Audit) -> list[Effect]:
        seq, live, total = self.replica.digest()[self.replica.origin]
        claims = audit.seq == seq and (audit.live, audit.total) != (live, total)
        known = self._knowledge()
        alike = known is not None and audit.knowledge == known
        registers = alike and audit.registers != self.replica.register_digest
        if not (claims or registers):
            return []
        effects: list[Effect] = [Send(boot, Differs(claims, registers))]
        if registers:
            self._peers[boot].out.repair()
            effects += self._flow(boot)
        return effects

    def _repair(self, boot: str, found: Differs, now: float) -> list[Effect]:
        what = [word for word in ("claims", "registers") if getattr(found, word)]
        self.statistics.repairs += len(what)
        effects: list[Effect] = [Repairs(boot, " and ".join(what))]
        if found.registers:
            self._peers[boot].out.repair()
            effects += self._flow(boot)
        if found.claims:
            peer = self._peers[boot]
            peer.ahead = 0  # perhaps somebody has made its events up, and does it again
            self.replica.forget(boot, MAX_EVENT if peer.said is None else peer.said)
            effects += self.ask(boot, now)
        return effects


def _vector(raw: Any) -> dict[str, int]:
    if not isinstance(raw, dict) or len(raw) > MAX_ORIGINS:
        raise ValueError("vector: expected a map")
    for origin, seq in raw.items():
        if not isinstance(origin, str) or type(seq) is not int or not 0 <= seq <= MAX_EVENT:
            raise ValueError("vector: bad entry")
    return raw
