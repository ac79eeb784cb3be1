"""A few replicas, a bad network between them, and an oracle that remembers every write.

The oracle is as simple as it can be: the claims are the union of what each origin says of itself,
a register is the maximum by (rank, stamp, origin) of all writes ever made. Every step is checked
against it; :meth:`World.settle` lets everybody talk until quiet and compares the end.

What the network promises is what a link promises: the deltas of one transfer arrive in order, and
when one is lost, so is the rest of that transfer. Apart from that a transfer may be late, overtaken
by others, cut short, or repeated in part at any later time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import msgpack

from pyhorde.crdt import Delta, Dot, Replica, log
from pyhorde.crdt.replica import DEFAULT_CHUNK_BYTES

MAX_SKEW = 0.5
START = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0

Order = tuple[int, int, str]
Name = tuple[str, str]


@contextmanager
def kept_kills(count: int) -> Iterator[None]:
    """Remember so many removals per origin; few make replicas fall back on lists of live events."""
    with patch.object(log, "KEPT_KILLS", count):
        yield


def over_the_wire(delta: Delta) -> Delta:
    """The delta as it arrives."""
    return Delta.from_wire(msgpack.unpackb(msgpack.packb(delta.to_wire())))


def carry(deltas: list[Delta], to: Replica, wall: float = START) -> None:
    """Deliver a whole transfer."""
    for delta in deltas:
        to.join(over_the_wire(delta), wall)


def seen(replica: Replica) -> dict[str, int]:
    """The vector without origins that are known by name only."""
    return {origin: seq for origin, seq in replica.vector.items() if seq}


def registers_of(replica: Replica) -> dict[Name, tuple[Order, bytes | None]]:
    """Every register with its order and value."""
    return {
        (table, key): ((reg.rank, reg.stamp, reg.dot.origin), reg.value)
        for table, rows in replica._tables.items()
        for key, reg in rows.items()
    }


def dots_of(replica: Replica) -> dict[Dot, tuple[str, bytes]]:
    """Every live claim by its dot."""
    claims = [claim for key in list(replica.keys()) for claim in replica.claims(key)]
    return {claim.dot: (claim.key, claim.value) for claim in claims}


@dataclass
class Claim:
    """What the oracle knows of one claim event."""

    key: str
    value: bytes
    removed: int | None = None


@dataclass
class Write:
    """What the oracle knows of one register event."""

    name: Name
    order: Order
    value: bytes | None


@dataclass
class Transfer:
    """Deltas under way to one origin, encoded."""

    to: str
    parts: deque[bytes]


@dataclass
class Node:
    """One replica and what it said earlier."""

    replica: Replica
    offset: float
    vectors: list[dict[str, int]] = field(default_factory=lambda: [{}])
    gone: set[Dot] = field(default_factory=set)
    buried: set[str] = field(default_factory=set)
    dots: dict[Dot, tuple[str, bytes]] = field(default_factory=dict)
    registers: dict[Name, tuple[Order, bytes | None]] = field(default_factory=dict)
    believed: float = 0.0
    ticks: int = 0


class World:
    """All numbers that choose something may be any natural number."""

    def __init__(self, offsets: tuple[float, ...]) -> None:
        self.now = START
        self.claims: dict[str, dict[int, Claim]] = {}
        self.writes: dict[str, dict[int, Write]] = {}
        self.stopped: list[str] = []
        self.retired: set[str] = set()
        self.transfers: list[Transfer] = []
        self.boots = 0
        self.nodes = [self._boot(offset) for offset in offsets]

    def _boot(self, offset: float) -> Node:
        self.boots += 1
        origin = f"boot-{self.boots}"
        self.claims[origin], self.writes[origin] = {}, {}
        return Node(Replica(origin, MAX_SKEW), offset)

    def _node(self, pick: int) -> Node:
        return self.nodes[pick % len(self.nodes)]

    def _wall(self, node: Node) -> float:
        self.now += 0.001
        return self.now + node.offset

    # ---- writing --------------------------------------------------------------------------------

    def add(self, who: int, key: str, value: bytes) -> None:
        node = self._node(who)
        dot = node.replica.add(key, value)
        self.claims[dot.origin][dot.seq] = Claim(key, value)
        self.check(node)

    def _live(self, node: Node, pick: int) -> Dot | None:
        own = node.replica.claims_of(node.replica.origin)
        return own[pick % len(own)].dot if own else None

    def remove(self, who: int, pick: int) -> None:
        node = self._node(who)
        if (dot := self._live(node, pick)) is not None:
            node.replica.remove(dot)
            self.claims[dot.origin][dot.seq].removed = node.replica.seq
            self.check(node)

    def replace(self, who: int, pick: int, value: bytes) -> None:
        node = self._node(who)
        if (dot := self._live(node, pick)) is not None:
            new = node.replica.replace(dot, value)
            old = self.claims[dot.origin][dot.seq]
            old.removed = new.seq
            self.claims[new.origin][new.seq] = Claim(old.key, value)
            self.check(node)

    def put(self, who: int, name: Name, value: bytes | None, rank: int = 0) -> None:
        node = self._node(who)
        replica, wall = node.replica, self._wall(node)
        before, seq = registers_of(replica).get(name), replica.seq
        written = replica.put(*name, value, wall, rank)
        assert written == (before is None or before[0][0] <= rank), "a lower rank may not write"
        if not written:
            assert (registers_of(replica).get(name), replica.seq) == (before, seq)
            return
        order, held = registers_of(replica)[name]
        assert held == value
        assert before is None or order > before[0], "a later put did not win"
        node.ticks += 1
        self.writes[replica.origin][replica.seq] = Write(name, order, value)
        self.check(node, wall)

    # ---- stopping -------------------------------------------------------------------------------

    def restart(self, who: int) -> None:
        """Kill -9 and a new start: all it knew is lost, the new one has a new origin."""
        pick = who % len(self.nodes)
        old = self.nodes[pick]
        self.stopped.append(old.replica.origin)
        self.nodes[pick] = self._boot(old.offset)

    def retire(self, who: int, pick: int) -> None:
        if self.stopped:
            node, origin = self._node(who), self.stopped[pick % len(self.stopped)]
            self.retired.add(origin)
            node.buried.add(origin)
            expected = {c.key for c in node.replica.claims_of(origin)}
            assert node.replica.retire(origin) == expected
            self.check(node)

    # ---- talking --------------------------------------------------------------------------------

    def ask(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        """``who`` sends the vector it has, or had ``back`` steps ago; ``whom`` answers."""
        asking, asked = self._node(who), self._node(whom)
        if asking is not asked:
            vector = asking.vectors[-1 - back % len(asking.vectors)]
            self._send(asked.replica.deltas_for(vector, chunk_bytes), asking)

    def push(self, who: int, whom: int, back: int, chunk_bytes: int) -> None:
        """``who`` pushes its events after one that ``whom`` has confirmed."""
        pusher, target = self._node(who), self._node(whom)
        if pusher is not target:
            known = target.replica.vector.get(pusher.replica.origin, 0)
            self._send(pusher.replica.own_deltas(max(0, known - back), chunk_bytes), target)

    def push_too_much(self, who: int, whom: int, frm: int, chunk_bytes: int) -> None:
        """``who`` took a lost push for delivered: its next one starts after a gap."""
        pusher, target = self._node(who), self._node(whom)
        deltas = pusher.replica.own_deltas(frm % (pusher.replica.seq + 1), chunk_bytes)
        if pusher is not target and all(s.complete for d in deltas for s in d.segments):
            self._send(deltas, target)

    def _send(self, deltas: list[Delta], target: Node) -> None:
        if deltas:
            parts = deque(msgpack.packb(delta.to_wire()) for delta in deltas)
            self.transfers.append(Transfer(target.replica.origin, parts))

    def deliver(self, pick: int, *, again: bool = False) -> None:
        """The next part of some transfer arrives; ``again``: and a copy stays under way."""
        if not self.transfers:
            return
        transfer = self.transfers[pick % len(self.transfers)]
        part = transfer.parts.popleft()
        if not transfer.parts:
            self.transfers.remove(transfer)
        for node in self.nodes:
            if node.replica.origin == transfer.to:
                self._join(node, part)
                if again:
                    self.transfers.append(Transfer(transfer.to, deque([part])))

    def deliver_all(self, pick: int) -> None:
        """The rest of some transfer arrives."""
        if self.transfers:
            transfer = self.transfers[pick % len(self.transfers)]
            for _ in range(len(transfer.parts)):
                self.deliver(self.transfers.index(transfer))

    def lose(self, pick: int) -> None:
        """What is left of some transfer is lost."""
        if self.transfers:
            del self.transfers[pick % len(self.transfers)]

    def _join(self, node: Node, part: bytes) -> None:
        delta = Delta.from_wire(msgpack.unpackb(part))
        wall = self._wall(node)
        dots, registers = dots_of(node.replica), registers_of(node.replica)
        joined = node.replica.join(delta, wall)
        changed = dots.items() ^ dots_of(node.replica).items()
        assert joined.keys == {key for _, (key, _) in changed}
        new = registers_of(node.replica)
        assert joined.registers == {n for n in new if registers.get(n) != new[n]}
        self.check(node, wall)

    # ---- checking -------------------------------------------------------------------------------

    def check(self, node: Node, wall: float | None = None) -> None:
        """Everything that must hold of one replica at any time."""
        dots, registers = dots_of(node.replica), registers_of(node.replica)
        self._check_monotone(node, dots, registers)
        self._check_claims(node.replica, dots)
        self._check_registers(node.replica, registers)
        self._check_clock(node, wall)
        node.gone |= node.dots.keys() - dots.keys()
        node.dots, node.registers = dots, registers
        if node.replica.vector != node.vectors[-1]:
            node.vectors.append(node.replica.vector)

    def _check_monotone(self, node: Node, dots: dict[Dot, Any], registers: dict[Name, Any]) -> None:
        vector = node.replica.vector
        assert all(vector[o] >= seq for o, seq in node.vectors[-1].items()), "the vector fell"
        for name, (order, _) in node.registers.items():
            assert registers[name][0] >= order, "a register fell"
        assert not node.gone & dots.keys(), "a removed claim returned"
        assert not node.buried & {dot.origin for dot in dots}, "a retired origin has claims"

    def _check_claims(self, replica: Replica, dots: dict[Dot, tuple[str, bytes]]) -> None:
        vector = replica.vector
        for (origin, seq), held in dots.items():
            claim = self.claims[origin][seq]
            assert held == (claim.key, claim.value)
            assert seq <= vector[origin], "a claim above the vector"
        for origin, events in self.claims.items():
            if origin in self.retired:
                continue
            known = vector.get(origin, 0)
            for seq, claim in events.items():
                if seq <= known and claim.removed is None:
                    assert Dot(origin, seq) in dots, "a known claim is missing"
                if claim.removed is not None and claim.removed <= known:
                    assert Dot(origin, seq) not in dots, "a claim outlived its known removal"

    def _check_registers(self, replica: Replica, registers: dict[Name, Any]) -> None:
        for name, (order, value) in registers.items():
            assert any(
                write.name == name and write.order == order and write.value == value
                for write in self.writes[order[2]].values()
            ), "a value nobody wrote"
        for origin, seq in replica.vector.items():
            for at, write in self.writes[origin].items():
                if at <= seq:
                    assert write.name in registers, "a known write is missing"
                    assert registers[write.name][0] >= write.order, "a known write was overtaken"

    def _check_clock(self, node: Node, wall: float | None) -> None:
        if wall is not None:
            node.believed = max(node.believed, wall + MAX_SKEW)
            limit = (int(node.believed * 1000) << 16) + node.ticks
            assert node.replica.clock.last <= limit, "a foreign clock was believed"

    # ---- the end --------------------------------------------------------------------------------

    def settle(self, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> None:
        """What is under way is lost, everybody learns who is dead, then all talk until quiet."""
        self.transfers.clear()
        for pick in range(len(self.stopped)):
            for who in range(len(self.nodes)):
                self.retire(who, pick)
        expected = self._oracle()
        for _ in range(len(self.nodes) + 1):
            if not self._round(chunk_bytes):
                break
        else:
            raise AssertionError("they never come to rest")
        for node in self.nodes:
            assert node.replica.snapshot() == expected, "a replica differs from the oracle"
            assert seen(node.replica) == seen(self.nodes[0].replica)

    def _round(self, chunk_bytes: int) -> bool:
        before = [(seen(n.replica), n.replica.snapshot()) for n in self.nodes]
        for to in range(len(self.nodes)):
            for frm in range(len(self.nodes)):
                self.ask(to, frm, 0, chunk_bytes)
                self.deliver_all(0)
        return before != [(seen(n.replica), n.replica.snapshot()) for n in self.nodes]

    def _oracle(self) -> tuple[object, object]:
        alive = {node.replica.origin for node in self.nodes}
        claims = sorted(
            (claim.key, Dot(origin, seq), claim.value)
            for origin in alive
            for seq, claim in self.claims[origin].items()
            if claim.removed is None
        )
        registers: dict[Name, tuple[Order, bytes | None]] = {}
        for name, order, value in self._surviving_writes(alive):
            if name not in registers or registers[name][0] < order:
                registers[name] = order, value
        return claims, sorted(
            (*name, order, value is not None, value or b"")
            for name, (order, value) in registers.items()
        )

    def _surviving_writes(self, alive: set[str]) -> Iterator[tuple[Name, Order, bytes | None]]:
        """All writes, except those that died with their node before anyone else had them."""
        for origin in alive:
            for write in self.writes[origin].values():
                yield write.name, write.order, write.value
        for node in self.nodes:
            for name, (order, value) in registers_of(node.replica).items():
                yield name, order, value
