"""Replication machines wired together, without a network and without time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

from pyhorde.cluster.membership.effects import Send
from pyhorde.cluster.replication.messages import SyncData
from pyhorde.cluster.replication.replication import Replication
from pyhorde.config import ReplicationConfig
from pyhorde.crdt import Replica

CONFIG = ReplicationConfig(push_delay=0.001)


class Pair:
    """Replicas wired together; messages wait until the test delivers them."""

    def __init__(self, names: Iterable[str] = "ab", config: ReplicationConfig = CONFIG):
        self.now = 100.0
        names = list(names)
        self.cores = {n: Replication(Replica(n), config, random.Random(n)) for n in names}
        self.waiting: list[tuple[str, str, Any]] = []
        self.sent: list[tuple[str, str, Any]] = []
        self.effects: dict[str, list[Any]] = {n: [] for n in names}
        for core in self.cores.values():
            core.start(self.now)

    def __getitem__(self, name: str) -> Replication:
        return self.cores[name]

    def replica(self, name: str) -> Replica:
        return self.cores[name].replica

    def run(self, name: str, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append((name, effect.boot, effect.message))
                self.waiting.append((name, effect.boot, effect.message))
            else:
                self.effects[name].append(effect)

    def link(self, one: str, other: str) -> None:
        self.run(one, self[one].linked(other, self.now))
        self.run(other, self[other].linked(one, self.now))

    def unlink(self, one: str, other: str) -> None:
        """What is under way between the two is lost."""
        self[one].unlinked(other)
        self[other].unlinked(one)
        self.waiting = [w for w in self.waiting if {w[0], w[1]} != {one, other}]

    def link_all(self) -> None:
        for one, other in combinations(self.cores, 2):
            self.link(one, other)
        self.deliver()

    def deliver(self, loses: Callable[[Any], bool] = lambda _: False) -> None:
        """Until nobody says anything any more."""
        while self.waiting:
            sender, to, message = self.waiting.pop(0)
            if not loses(message):
                self.give(to, sender, message)

    def give(self, to: str, sender: str, message: Any) -> None:
        self.run(to, self[to].received(sender, message, self.now, self.now))

    def write(self, name: str, key: str = "k", value: bytes = b"v") -> None:
        self.replica(name).add(key, value)
        self[name].written(self.now)

    def put(self, name: str, key: str, value: bytes | None, table: str = "t") -> None:
        """Write a register; None deletes it."""
        self.replica(name).put(table, key, value, self.now)
        self[name].written(self.now)

    def value(self, name: str, key: str, table: str = "t") -> bytes | None:
        register = self.replica(name).register(table, key)
        return None if register is None or register.deleted else register.value

    def tick(self, name: str, seconds: float = CONFIG.push_delay) -> None:
        self.now += seconds
        self.run(name, self[name].tick(self.now))

    def round(self, times: int = 1) -> None:
        """Everybody exchanges vectors with somebody; nothing is lost."""
        for _ in range(times):
            self.now += 1.3 * CONFIG.sync_interval
            for name in self.cores:
                self.run(name, self[name].tick(self.now))
                self.deliver()

    def flush(self) -> None:
        """What was written is pushed, and all of it arrives."""
        self.now += CONFIG.push_delay
        for name in self.cores:
            self.run(name, self[name].tick(self.now))
        self.deliver()

    def of(self, kind: type[Any]) -> list[tuple[str, str]]:
        """Who sent such a message to whom."""
        return [(sender, to) for sender, to, message in self.sent if isinstance(message, kind)]

    def pushes(self, name: str) -> list[SyncData]:
        return [
            m for a, _, m in self.sent if a == name and isinstance(m, SyncData) and not m.answer
        ]

    def converged(self) -> bool:
        return len({repr(core.replica.snapshot()) for core in self.cores.values()}) == 1

    def equal(self) -> bool:
        """Converged, and everybody knows of every event."""
        vectors = [{o: n for o, n in c.replica.vector.items() if n} for c in self.cores.values()]
        return self.converged() and all(vector == vectors[0] for vector in vectors)


def met(names: Iterable[str] = "ab", config: ReplicationConfig = CONFIG) -> Pair:
    """All linked, each with a claim that everybody has and has confirmed; nothing sent yet."""
    made = Pair(names, config)
    for name in made.cores:
        made.write(name, f"seed-{name}")
    made.link_all()
    made.flush()
    made.sent.clear()
    made.effects = {name: [] for name in made.cores}
    return made
