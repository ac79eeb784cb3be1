"""A few replicas, a bad network between them, and an oracle that remembers every write.

What the network promises is what a link promises: the deltas of one transfer arrive in order, and
when one is lost, so is the rest of that transfer. Apart from that a transfer may be late, overtaken
by others, cut short, or repeated in part at any later time. Its pieces are made one by one, when
they are sent; anything may happen in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import msgpack

from pyhorde.crdt import Delta, Dot, Joined, Replica, log, transfer
from pyhorde.crdt.registers import Stable
from pyhorde.crdt.replica import DEFAULT_CHUNK_BYTES
from pyhorde.crdt.stability import Stability
from tests.laws.oracle import (
    MAX_SKEW,
    Name,
    Node,
    Oracle,
    dots_of,
    order_of,
    orders_of,
    registers_of,
    remembered,
    seen,
)

START = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


@contextmanager
def limits(kills: int, window: int = 16_384, hashes: int = 50_000) -> Iterator[None]:
    """Remember so many removals per origin; lists are about so many rows or registers at once."""
    with (
        patch.object(log, "KEPT_KILLS", kills),
        patch.object(transfer, "WINDOW", window),
        patch.object(transfer, "CHUNK_HASHES", hashes),
    ):
        yield


def packed(delta: Delta) -> bytes:
    """The delta as it travels."""
    encoded: bytes = msgpack.packb(delta.to_wire())
    return encoded


def unpacked(part: bytes) -> Delta:
    """The delta as it arrives."""
    return Delta.from_wire(msgpack.unpackb(part))


def carry(deltas: Iterable[Delta], to: Replica, wall: float = START) -> None:
    """Deliver a whole transfer."""
    for delta in deltas:
        to.join(unpacked(packed(delta)), wall)


def pushes(replica: Replica, frm: int, chunk_bytes: int) -> Iterator[Delta]:
    """Own events after ``frm``, as long as they suffice."""
    while frm < replica.seq and replica.can_push(frm):
        delta = replica.own_delta(frm, chunk_bytes)
        yield delta
        frm = delta.segments[0].to


@dataclass
class Transfer:
    """Deltas to one origin: those under way, and those that are still to be made."""

    to: str
    rest: Iterator[Delta]
    sent: deque[bytes] = field(default_factory=deque)

    def send(self) -> bool:
        """The next piece sets out; False when there is none."""
        delta = next(self.rest, None)
        if delta is not None:
            self.sent.append(packed(delta))
        return delta is not None


class World:
    """All numbers that choose something may be any natural number."""

    def __init__(self, offsets: tuple[float, ...]) -> None:
        self.now = START
        self.oracle = Oracle()
        self.stopped: list[str] = []
        self.transfers: list[Transfer] = []
        self.boots = 0
        self.rounds: dict[str, Stability] = {}
        self.stable: list[Stable] = []
        self.nodes = [self._boot(offset) for offset in offsets]

    @property
    def replicas(self) -> list[Replica]:
        return [node.replica for node in self.nodes]

    def _boot(self, offset: float) -> Node:
        self.boots += 1
        return Node(Replica(f"{self.boots * 7 % 10}-boot-{self.boots}", MAX_SKEW), offset)

    def _node(self, pick: int) -> Node:
        return self.nodes[pick % len(self.nodes)]

    def _wall(self, node: Node) -> float:
        self.now += 0.001
        return self.now + node.offset

    def check(self, node: Node, wall: float | None = None) -> None:
        self.oracle.check(node, wall)
        if self.oracle.spreading:
            parts = [part for transfer in self.transfers for part in transfer.sent]
            self.oracle.spread(self.replicas, parts)

    # ---- claims ---------------------------------------------------------------------------------

    def add(self, who: int, table: str, key: str, value: bytes | None, label: bytes) -> None:
        node = self._node(who)
        dot = node.replica.add(key, value, table=table, label=label)
        self.oracle.claimed(dot, (table, key, value, label))
        self.check(node)

    def add_all(self, who: int, table: str, keys: list[str], label: bytes) -> None:
        node = self._node(who)
        seqs = node.replica.add_all(keys, table=table, label=label)
        assert len(seqs) == len(keys)
        for seq, key in zip(seqs, keys, strict=True):
            self.oracle.claimed(Dot(node.replica.origin, seq), (table, key, None, label))
        self.check(node)

    def _live(self, node: Node, pick: int) -> Dot | None:
        own = node.replica.claims_of(node.replica.origin)
        return own[pick % len(own)].dot if own else None

    def remove(self, who: int, pick: int) -> None:
        node = self._node(who)
        if (dot := self._live(node, pick)) is not None:
            node.replica.remove(dot)
            self.oracle.claims[dot.origin][dot.seq].removed = node.replica.seq
            self.check(node)

    def replace(self, who: int, pick: int, value: bytes | None) -> None:
        node = self._node(who)
        if (dot := self._live(node, pick)) is not None:
            new = node.replica.replace(dot, value)
            old = self.oracle.claims[dot.origin][dot.seq]
            old.removed = new.seq
            table, key, _, label = old.row
            self.oracle.claimed(new, (table, key, value, label))
            self.check(node)

    # ---- registers ------------------------------------------------------------------------------

    def put(self, who: int, name: Name, value: bytes | None, rank: int = 0) -> None:
        node = self._node(who)
        replica, wall = node.replica, self._wall(node)
        before, seq, covers = replica.register(*name), replica.seq, replica.covers
        least = node.ranks.get(name, 0)
        if before is None or before.rank < least:
            rank = max(rank, least)  # a rank that was seen may be forgotten by the replica only
        written = replica.put(*name, value, wall, rank, note=b"note")
        assert written == (before is None or before.rank <= rank), "a lower rank may not write"
        if not written:
            assert (replica.register(*name), replica.seq) == (before, seq)
            return
        new = registers_of(replica)[name]
        assert (new.value, new.deleted) == (b"note" if value is None else value, value is None)
        assert before is None or order_of(new) > order_of(before), "a later put did not win"
        self.oracle.check_later(replica, name, order_of(new), covers)
        node.ticks += 1
        self.oracle.wrote(name, new)
        self.check(node, wall)

    def forget_deletions(self, who: int, pick: int) -> None:
        """A replica forgets some of its deletions, whoever knows them."""
        node = self._node(who)
        which = node.replica.deleted()
        which = [each for place, each in enumerate(which) if pick == 0 or (pick >> place) & 1]
        for name, register in which:
            self.oracle.forgot(name, order_of(register))
        assert node.replica.forget_deletions(which) == len(which)
        self.check(node)

    def forget_stable_deletions(self, who: int) -> None:
        """A replica forgets the deletions that everybody knows, with all that was known then."""
        node = self._node(who)
        spreading = {(each.name, each.order) for each in self.oracle.spreading}
        which = [e for e in node.replica.deleted() if (e[0], order_of(e[1])) not in spreading]
        for name, register in which:
            self.oracle.forgot(name, order_of(register))
        node.replica.forget_deletions(which)
        self.check(node)

    def go_round(self, who: int, back: int, without: int | None = None) -> None:
        """A replica finds out, from what others said some time ago, what everybody knows.

        ``without``: one that does not count.
        """
        node = self._node(who)
        stability = self.rounds.setdefault(node.replica.origin, Stability(node.replica))
        said = {
            other.replica.origin: other.vectors[-1 - back % min(3, len(other.vectors))]
            for place, other in enumerate(self.nodes)
            if other is not node and place != without
        }
        stable = stability.step(said)
        if stable is not None:
            self.stable.append(stable)
            self._forget_stable(node, stable)

    def hear_of_round(self, who: int, pick: int) -> None:
        """A replica is told, at last, what somebody found out."""
        if self.stable:
            self._forget_stable(self._node(who), self.stable[pick % len(self.stable)])

    def _forget_stable(self, node: Node, stable: Stable) -> None:
        deleted, events = node.replica.deleted(), stable.events
        which = [e for e in deleted if e[1].dot.seq <= events.get(e[1].dot.origin, 0)]
        for name, register in which:
            self.oracle.forgot(name, order_of(register))
        node.replica.forget_deletions(which, stable)
        self.check(node)

    # ---- forgetting what is of no consequence ---------------------------------------------------

    def forget_removals(self, who: int, whom: int) -> None:
        self._node(who).replica.forget_removals(self._node(whom).replica.vector)

    def forget_overwritten(self, who: int, pick: int) -> None:
        replica = self._node(who).replica
        replica.forget_overwritten(pick % (replica.seq + 1))

    def audit(self, who: int, whom: int, pick: int) -> None:
        """A row gets lost, which is noticed, and all of its origin is learned anew."""
        node, replica, origin = self._node(who), self._node(who).replica, self._origin(whom)
        rows = replica.claims_of(origin)
        if origin != replica.origin and rows:
            before = replica.digest()[origin]
            replica._kill(replica._logs[origin], rows[pick % len(rows)].dot.seq, Joined())
            after = replica.digest()[origin]
            assert after[0] == before[0]
            assert after != before, "the digest does not show it"
            replica.forget(origin)
            node.relearn(origin)
            self.check(node)

    def _origin(self, pick: int) -> str:
        origins = [*(replica.origin for replica in self.replicas), *self.stopped]
        return origins[pick % len(origins)]

    # ---- stopping -------------------------------------------------------------------------------

    def restart(self, who: int) -> None:
        """Kill -9 and a new start: all it knew is lost, the new one has a new origin."""
        pick = who % len(self.nodes)
        old = self.nodes[pick]
        self.stopped.append(old.replica.origin)
        self.nodes[pick] = self._boot(old.offset)

    def retire(self, who: int, pick: int, *, sweep: bool = True) -> None:
        """A replica takes an origin for gone, rightly or not."""
        node, origin = self._node(who), self._origin(pick)
        if origin == node.replica.origin:
            return
        node.replica.retire(origin)
        node.relearn(origin)
        assert not node.replica.carries(origin)
        assert node.replica.claims_of(origin) == []
        if sweep:
            self.sweep(who)
        self.check(node)

    def sweep(self, who: int) -> None:
        node = self._node(who)
        while node.replica.sweep() is not None:
            self.check(node)
        for table in node.replica.tables():
            assert set(node.replica.index(table).dots) == set(node.replica.keys(table))

    def revive(self, who: int, pick: int) -> None:
        """A replica takes an origin for gone no more."""
        node = self._node(who)
        if retired := list(node.replica.retired):
            origin = retired[pick % len(retired)]
            node.replica.revive(origin)
            node.relearn(origin)
            self.check(node)

    # ---- talking --------------------------------------------------------------------------------

    def ask(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        """``who`` sends the vector it has, or had ``back`` steps ago; ``whom`` answers."""
        asking, asked = self._node(who), self._node(whom)
        if asking is not asked:
            vector = asking.vectors[-1 - back % len(asking.vectors)]
            if not back:
                vector = asking.replica.vector
            vector = {o: n for o, n in vector.items() if n <= asking.replica.known(o)}
            origin = asking.replica.origin
            self._start(asked.replica.answer(vector, chunk_bytes, origin), asking)

    def push(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        """``who`` pushes its events after one that ``whom`` has confirmed."""
        pusher, target = self._node(who), self._node(whom)
        if pusher is not target:
            known = target.replica.covers.get(pusher.replica.origin, 0)
            self._start(pushes(pusher.replica, max(0, known - back), chunk_bytes), target)

    def push_too_much(self, who: int, whom: int, frm: int, chunk_bytes: int) -> None:
        """``who`` took a lost push for delivered: its next one starts after a gap."""
        pusher, target = self._node(who), self._node(whom)
        if pusher is not target:
            start = frm % (pusher.replica.seq + 1)
            self._start(pushes(pusher.replica, start, chunk_bytes), target)

    def _start(self, rest: Iterator[Delta], target: Node) -> None:
        transfer = Transfer(target.replica.origin, rest)
        if transfer.send():
            self.transfers.append(transfer)

    def send_all(self) -> None:
        """Whatever is still to be sent sets out."""
        for each in self.transfers:
            while each.send():
                pass

    def send(self, pick: int) -> None:
        """One more piece of some transfer sets out."""
        if self.transfers:
            self.transfers[pick % len(self.transfers)].send()

    def deliver(self, pick: int, *, again: bool = False) -> None:
        """The next part of some transfer arrives; ``again``: and a copy stays under way."""
        if not self.transfers:
            return
        transfer = self.transfers[pick % len(self.transfers)]
        part = transfer.sent.popleft()
        if not transfer.sent and not transfer.send():
            self.transfers.remove(transfer)
        for node in self.nodes:
            if node.replica.origin == transfer.to:
                if again:
                    self.transfers.append(Transfer(transfer.to, iter(()), deque([part])))
                self._join(node, part)

    def deliver_all(self, pick: int) -> None:
        """The rest of some transfer arrives."""
        if self.transfers:
            transfer = self.transfers[pick % len(self.transfers)]
            while transfer in self.transfers:
                self.deliver(self.transfers.index(transfer))

    def lose(self, pick: int) -> None:
        """What is left of some transfer is lost."""
        if self.transfers:
            del self.transfers[pick % len(self.transfers)]

    def _join(self, node: Node, part: bytes) -> None:
        delta, wall, replica = unpacked(part), self._wall(node), node.replica
        dots, orders, seq, refused = dots_of(replica), orders_of(replica), replica.seq, 0
        refused = replica.refused + sum(s.origin in replica.retired for s in delta.segments)
        joined = replica.join(delta, wall)
        changed = dots.items() ^ dots_of(replica).items()
        assert joined.keys == {row[1] for _, row in changed}
        for table in ("", "u"):
            assert joined.of(table) == {row[1] for _, row in changed if row[0] == table}
        new = orders_of(replica)
        assert joined.registers >= {n for n in {**orders, **new} if orders.get(n) != new.get(n)}
        assert joined.wrote == (replica.seq > seq), "own events that are not announced"
        assert replica.refused == refused, "segments of retired origins are not counted"
        self.check(node, wall)

    # ---- the end --------------------------------------------------------------------------------

    def settle(self, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> None:
        """What is under way is lost, everybody learns who is dead, then all talk until quiet."""
        self.transfers.clear()
        for who, node in enumerate(self.nodes):
            for origin in [o for o in node.replica.retired if o not in self.stopped]:
                node.replica.revive(origin)
                node.relearn(origin)
            for pick in range(len(self.stopped)):
                self.retire(who, len(self.nodes) + pick)
        survivors, deletions = self.oracle.survivors(self.replicas), remembered(self.replicas)
        for _ in range(4 * len(self.nodes) + 4):
            if not self._round(chunk_bytes):
                break
        else:
            raise AssertionError("they never come to rest")
        self.oracle.check_end(self.replicas, survivors)
        for name, order in deletions.items():
            register = self.replicas[0].register(*name)
            assert register is None or register.deleted or order_of(register) > order, "zombie"

    def _round(self, chunk_bytes: int) -> bool:
        before = [(seen(replica), replica.snapshot()) for replica in self.replicas]
        for to in range(len(self.nodes)):
            for frm in range(len(self.nodes)):
                self.ask(to, frm, 0, chunk_bytes)
                self.deliver_all(0)
        return before != [(seen(replica), replica.snapshot()) for replica in self.replicas]
