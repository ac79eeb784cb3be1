"""Whatever is lost, and in whichever order things come: all replicas end up equal."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from pyhorde.cluster.membership.effects import Send
from pyhorde.cluster.replication.replication import Repairs, Replication
from pyhorde.cluster.transport.wire import Lane
from pyhorde.config import ReplicationConfig
from pyhorde.crdt import Replica
from tests.unit.cluster.pair import CONFIG

SMALL = replace(CONFIG, chunk_bytes=1024, audit_interval=2.0)


class Storm:
    """Nodes with links that keep the order within a lane, and nothing else.

    A link that is full loses what is not bulk; whatever else is lost is lost with the link.
    """

    def __init__(self, count: int, seed: int, config: ReplicationConfig = SMALL) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.names = "abcdefgh"[:count]
        self.cores = {n: Replication(Replica(n), config, self.rng) for n in self.names}
        self.lanes: dict[tuple[str, str, Lane], deque[Any]] = defaultdict(deque)
        self.links: set[tuple[str, str]] = set()
        self.dots: dict[str, list[Any]] = defaultdict(list)
        self.alarms = 0
        for core in self.cores.values():
            core.start(self.now)

    def run(self, name: str, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                if self.is_linked(name, effect.boot):
                    self.lanes[name, effect.boot, effect.message.lane].append(effect.message)
            elif isinstance(effect, Repairs):
                self.alarms += 1

    def is_linked(self, one: str, other: str) -> bool:
        return (min(one, other), max(one, other)) in self.links

    def link(self, one: str, other: str) -> None:
        self.links.add((one, other))
        self.run(one, self.cores[one].linked(other, self.now))
        self.run(other, self.cores[other].linked(one, self.now))

    def unlink(self, one: str, other: str) -> None:
        self.links.discard((one, other))
        self.cores[one].unlinked(other)
        self.cores[other].unlinked(one)
        for key in [key for key in self.lanes if {*key[:2]} == {one, other}]:
            del self.lanes[key]

    def deliver(self, loss: float = 0.0) -> bool:
        """One message of any lane of any link; False when there is none."""
        waiting = sorted(key for key, queue in self.lanes.items() if queue)
        if not waiting:
            return False
        sender, to, lane = self.rng.choice(waiting)
        message = self.lanes[sender, to, lane].popleft()
        if self.rng.random() >= loss:
            self.run(to, self.cores[to].received(sender, message, self.now, self.now))
        elif lane is Lane.BULK:
            self.unlink(*sorted((sender, to)))
        return True

    def write(self, name: str) -> None:
        replica, rng = self.cores[name].replica, self.rng
        key = f"k{rng.randrange(6)}"
        match rng.randrange(6):
            case 0 | 1:
                self.dots[name].append(replica.add(key, rng.randbytes(rng.randrange(300))))
            case 2 if self.dots[name]:
                replica.remove(self.dots[name].pop(rng.randrange(len(self.dots[name]))))
            case 3:
                replica.put("t", key, None, self.now)
            case _:
                replica.put("t", key, rng.randbytes(rng.randrange(900)), self.now)
        self.cores[name].written(self.now)

    def step(self, loss: float) -> None:
        """Something happens."""
        name = self.rng.choice(self.names)
        pair = self.rng.choice(list(combinations(self.names, 2)))
        match self.rng.randrange(30):
            case 0 | 1 | 2 | 3 | 4:
                self.write(name)
            case 5 | 6 | 7:
                self.now += self.rng.choice([0.001, 0.3])
                self.run(name, self.cores[name].tick(self.now, self.rng.sample(self.names, 1)))
            case 8:
                holding = self.rng.choice(["", self.names.replace(name, "")])
                self.run(name, self.cores[name].forget(holding))
            case 11 | 12:
                self.run(name, self.cores[name]._audit())
            case 9 if pair in self.links and loss:
                self.unlink(*pair)
            case 10 if pair not in self.links:
                self.link(*pair)
            case _:
                self.deliver(loss)

    def check_promises(self) -> None:
        """Nobody counts as having what it has not."""
        for one, other in combinations(self.names, 2):
            for writer, reader in ((one, other), (other, one)):
                known = self.cores[reader].replica.known(writer)
                assert self.cores[writer].acked(reader) <= known

    def calm_down(self) -> None:
        for pair in combinations(self.names, 2):
            if pair not in self.links:
                self.link(*pair)
        for _ in range(10 * len(self.names)):
            self.now += 1.3 * SMALL.sync_interval
            for name, core in self.cores.items():
                self.run(name, core.tick(self.now))
                while self.deliver():
                    self.check_promises()
            if self.is_settled():
                return

    def vectors(self) -> list[dict[str, int]]:
        vectors = [core.replica.vector for core in self.cores.values()]
        return [{o: n for o, n in vector.items() if n} for vector in vectors]

    def is_settled(self) -> bool:
        first, *others = self.vectors()
        seqs = {name: core.replica.seq for name, core in self.cores.items()}
        acked = [
            core.acked(other) == seqs[name]
            for name, core in self.cores.items()
            for other in self.names
            if other != name
        ]
        return all(other == first for other in others) and all(acked)

    def check_equal(self) -> None:
        assert self.is_settled()
        replicas = [core.replica for core in self.cores.values()]
        first, *others = [replica.snapshot() for replica in replicas]
        assert all(other == first for other in others)
        assert len({replica.register_digest for replica in replicas}) == 1
        assert self.alarms == 0


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.2])
def test_all_become_equal_and_every_promise_is_true(seed: int, loss: float):
    storm = Storm(2 + seed % 7, seed)
    for pair in combinations(storm.names, 2):
        storm.link(*pair)
    for _ in range(400):
        storm.step(loss)
        storm.check_promises()
    storm.calm_down()
    storm.check_equal()


@pytest.mark.parametrize("seed", range(8))
def test_with_relays_they_become_equal_too(seed: int):
    storm = Storm(8, seed, replace(SMALL, relay_above=3))
    for pair in combinations(storm.names, 2):
        storm.link(*pair)
    for _ in range(600):
        storm.step(0.03)
        storm.check_promises()
    storm.calm_down()
    storm.check_equal()


@pytest.mark.parametrize("seed", range(8))
def test_what_passes_only_through_others_arrives(seed: int):
    """A chain of links, each of which comes and goes."""
    storm = Storm(4, seed)
    for _ in range(400):
        storm.step(0.05)
        for one, other in list(storm.links):
            if ord(other) - ord(one) > 1:
                storm.unlink(one, other)
    for pair in ("ab", "bc", "cd"):
        if tuple(pair) not in storm.links:
            storm.link(*pair)
    for _ in range(60):
        storm.now += 1.3 * SMALL.sync_interval
        for name, core in storm.cores.items():
            storm.run(name, core.tick(storm.now))
            while storm.deliver():
                storm.check_promises()
    first, *others = storm.vectors()
    assert all(other == first for other in others)
    assert len({repr(core.replica.snapshot()) for core in storm.cores.values()}) == 1
    assert storm.alarms == 0
