"""What the world remembers of every write, and what must follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack

from pyhorde.crdt import Delta, Dot, Register, Replica

MAX_SKEW = 0.5
Order = tuple[int, int, str]
Name = tuple[str, str]
Row = tuple[str, str, bytes | None, bytes]
"""Table, key, value and label of a claim."""

TABLES = ("", "u")
LABELS = (b"", b"p", b"q")


def order_of(register: Register) -> Order:
    """A register's place in the order of values."""
    return register.rank, register.stamp, register.writer


def seen(replica: Replica) -> dict[str, int]:
    """The vector without origins that are known by name only."""
    return {origin: seq for origin, seq in replica.vector.items() if seq}


def registers_of(replica: Replica) -> dict[Name, Register]:
    """Every register."""
    return {name: replica.table(name[0])[name[1]] for name in replica.registers()}


def orders_of(replica: Replica) -> dict[Name, Order]:
    """The order of every register."""
    return {name: order_of(register) for name, register in registers_of(replica).items()}


def dots_of(replica: Replica) -> dict[Dot, Row]:
    """Every live claim by its dot, found by its key."""
    return {
        claim.dot: (table, claim.key, claim.value, claim.label)
        for table in TABLES
        for key in list(replica.keys(table))
        for claim in replica.claims(key, table)
    }


@dataclass
class Claim:
    """One claim event."""

    row: Row
    removed: int | None = None


@dataclass
class Write:
    """One register event."""

    dot: Dot
    value: bytes
    deleted: bool


@dataclass
class Deletion:
    """A deletion on its way to be known to everybody; ``goal``: what must follow it everywhere."""

    name: Name
    order: Order
    dot: Dot
    goal: dict[str, int] | None = None


@dataclass
class Node:
    """One replica and what it said earlier."""

    replica: Replica
    offset: float
    vectors: list[dict[str, int]] = field(default_factory=lambda: [{}])
    gone: set[Dot] = field(default_factory=set)
    dots: dict[Dot, Row] = field(default_factory=dict)
    orders: dict[Name, Order] = field(default_factory=dict)
    ranks: dict[Name, int] = field(default_factory=dict)
    """The highest rank it has seen of each register."""
    believed: float = 0.0
    ticks: int = 0

    def relearn(self, origin: str) -> None:
        """This node has dropped all that it knew of an origin."""
        self.gone = {dot for dot in self.gone if dot.origin != origin}
        self.dots = {dot: row for dot, row in self.dots.items() if dot.origin != origin}
        self.vectors[-1].pop(origin, None)


class Oracle:
    """Every write there was, and which deletions were forgotten."""

    def __init__(self) -> None:
        self.claims: dict[str, dict[int, Claim]] = {}
        self.writes: dict[Name, dict[Order, Write]] = {}
        self.forgotten: dict[Name, Order] = {}
        """The greatest order of a forgotten deletion."""
        self.ranks: dict[Name, int] = {}
        """The greatest rank of a forgotten deletion."""
        self.spreading: list[Deletion] = []
        self.dead: dict[Name, set[Order]] = {}
        """Values that must not be seen any more."""

    # ---- remembering ----------------------------------------------------------------------------

    def claimed(self, dot: Dot, row: Row) -> None:
        self.claims.setdefault(dot.origin, {})[dot.seq] = Claim(row)

    def wrote(self, name: Name, register: Register) -> None:
        write = Write(register.dot, register.value, register.deleted)
        self.writes.setdefault(name, {})[order_of(register)] = write
        if register.deleted:
            self.spreading.append(Deletion(name, order_of(register), register.dot))

    def forgot(self, name: Name, order: Order) -> None:
        self.forgotten[name] = max(order, self.forgotten.get(name, order))
        self.ranks[name] = max(order[0], self.ranks.get(name, 0))

    def spread(self, replicas: list[Replica], under_way: list[bytes]) -> None:
        """See which deletions everybody knows, with all that had been known to anybody then."""
        covers = [replica.covers for replica in replicas]
        everywhere = {o: min(c.get(o, 0) for c in covers) for c in covers for o in c}
        for deletion in list(self.spreading):
            origin, seq = deletion.dot
            if deletion.goal is None:
                if everywhere.get(origin, 0) >= seq:
                    deletion.goal = {o: max(c.get(o, 0) for c in covers) for c in covers for o in c}
            elif all(everywhere.get(o, 0) >= n for o, n in deletion.goal.items()) and not any(
                _is_news(part, deletion.name, everywhere) for part in under_way
            ):
                self.spreading.remove(deletion)
                self._bury(deletion, replicas, everywhere)

    def _bury(
        self, deletion: Deletion, replicas: list[Replica], everywhere: dict[str, int]
    ) -> None:
        held = [replica.register(*deletion.name) for replica in replicas]
        if any(reg and not reg.deleted and order_of(reg) < deletion.order for reg in held):
            return  # forgotten too early for a value that was not known to it
        self.dead.setdefault(deletion.name, set()).update(
            order
            for order, write in self.writes[deletion.name].items()
            if order < deletion.order and not write.deleted
            if everywhere.get(write.dot.origin, 0) >= write.dot.seq
        )

    # ---- what must hold of one replica at any time ----------------------------------------------

    def check(self, node: Node, wall: float | None = None) -> None:
        dots = dots_of(node.replica)
        self._check_monotone(node, dots)
        self._check_claims(node.replica, dots)
        self._check_registers(node.replica)
        self._check_clock(node, wall)
        node.gone |= node.dots.keys() - dots.keys()
        node.dots, node.orders = dots, orders_of(node.replica)
        for name, (rank, _, _) in node.orders.items():
            node.ranks[name] = max(rank, node.ranks.get(name, 0))
        if node.replica.vector != node.vectors[-1]:
            node.vectors.append(node.replica.vector)

    def _check_monotone(self, node: Node, dots: dict[Dot, Row]) -> None:
        vector, orders = node.replica.vector, orders_of(node.replica)
        assert all(vector[o] >= seq for o, seq in node.vectors[-1].items()), "the vector fell"
        for name, order in node.orders.items():
            if order > self.forgotten.get(name, (-1, -1, "")):
                assert name in orders, "a register is gone"
                assert orders[name] >= order, "a register fell"
        assert not node.gone & dots.keys(), "a removed claim returned"

    def _check_claims(self, replica: Replica, dots: dict[Dot, Row]) -> None:
        told = {
            claim.dot: (table, claim.key, claim.value, claim.label)
            for origin in replica.vector
            for table in TABLES
            for claim in replica.claims_of(origin, table)
        }
        assert told == dots, "the index of keys and the logs differ"
        for origin, seq in dots:
            assert seq <= replica.known(origin), "a claim above the vector"
        for origin, known in replica.vector.items():
            expected: dict[tuple[str, bytes], list[Dot]] = {}
            for seq, claim in self.claims.get(origin, {}).items():
                dot = Dot(origin, seq)
                if claim.removed is not None and claim.removed <= known:
                    assert dot not in dots, "a claim outlived its known removal"
                elif seq <= known and (claim.removed is None or dot in dots):
                    assert dots.get(dot) == claim.row, "a known claim is missing or differs"
                    expected.setdefault((claim.row[0], claim.row[3]), []).append(dot)
            for table in TABLES:
                for label in LABELS[1:]:
                    found = [claim.dot for claim in replica.labelled(origin, table, label)]
                    assert found == expected.get((table, label), []), "labels differ"

    def _check_registers(self, replica: Replica) -> None:
        orders, covers = orders_of(replica), replica.covers
        for name, register in registers_of(replica).items():
            write = self.writes[name].get(order_of(register))
            assert write is not None, "a value nobody wrote"
            assert (write.value, write.deleted) == (register.value, register.deleted)
            assert order_of(register) not in self.dead.get(name, ()), "a deleted value returned"
        for name, writes in self.writes.items():
            forgotten = self.forgotten.get(name, (-1, -1, ""))
            for order, write in writes.items():
                if order > forgotten and write.dot.seq <= covers.get(write.dot.origin, 0):
                    assert name in orders, "a known write is missing"
                    assert orders[name] >= order, "a known write was overtaken"

    def _check_clock(self, node: Node, wall: float | None) -> None:
        if wall is not None:
            node.believed = max(node.believed, wall + MAX_SKEW)
            limit = (int(node.believed * 1000) << 16) + node.ticks
            assert node.replica.clock.last <= limit, "a foreign clock was believed"

    def check_later(self, replica: Replica, name: Name, order: Order, covers: Any) -> None:
        """A put beats all that its writer had seen, but for what a higher rank hides from it."""
        if order[0] < self.ranks.get(name, 0):
            return
        for other, write in self.writes.get(name, {}).items():
            if write.dot.seq <= covers.get(write.dot.origin, 0):
                assert order > other, "a later put does not win"

    # ---- the end --------------------------------------------------------------------------------

    def survivors(self, replicas: list[Replica]) -> dict[Name, set[Order]]:
        """All writes, except those that died with their node before anyone else had them."""
        alive = {replica.origin for replica in replicas}
        found: dict[Name, set[Order]] = {}
        for name, writes in self.writes.items():
            found[name] = {order for order, w in writes.items() if w.dot.origin in alive}
            found[name] |= {order_of(r) for each in replicas if (r := each.register(*name))}
        return found

    def check_end(self, replicas: list[Replica], survivors: dict[Name, set[Order]]) -> None:
        """Everybody is equal, and holds what was written."""
        first = replicas[0]
        for replica in replicas:
            assert replica.snapshot() == first.snapshot(), "replicas differ"
            assert seen(replica) == seen(first)
            digests = [each.digest() for each in (replica, first)]
            assert {o: digests[0][o] for o in seen(first)} == {
                o: digests[1][o] for o in seen(first)
            }
            assert replica.register_digest == first.register_digest
            self._check_last_values(replica, survivors)
        rows = {
            Dot(replica.origin, seq): claim.row
            for replica in replicas
            for seq, claim in self.claims.get(replica.origin, {}).items()
            if claim.removed is None
        }
        assert dots_of(first) == rows, "claims differ from the oracle"

    def _check_last_values(self, replica: Replica, survivors: dict[Name, set[Order]]) -> None:
        for name, orders in survivors.items():
            register = replica.register(*name)
            best = max(orders, default=None)
            if best is not None and best > self.forgotten.get(name, (-1, -1, "")):
                assert register is not None, "the last write is lost"
                assert order_of(register) == best, "not the last write"


def _is_news(part: bytes, name: Name, everywhere: dict[str, int]) -> bool:
    """Whether this brings a register as an event that somebody may not have seen."""
    rows = Delta.from_wire(msgpack.unpackb(part)).registers
    return any(
        (row.table, row.key) == name and row.seq > everywhere.get(row.origin, 0) for row in rows
    )


def remembered(replicas: list[Replica]) -> dict[Name, Order]:
    """The last deletion of each register that any of them remembers."""
    found: dict[Name, Order] = {}
    for replica in replicas:
        for name, register in replica.deleted():
            found[name] = max(order_of(register), found.get(name, order_of(register)))
    return found
