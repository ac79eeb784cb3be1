"""Names of one node over a real replica, and what a look at the whole replica says of them."""

from __future__ import annotations

from typing import Any

from pyhorde.cluster.member import Status, View
from pyhorde.crdt import Dot, Replica
from pyhorde.runtime.names import Names
from pyhorde.runtime.record import (
    SPECS,
    STATES,
    Claim,
    Ended,
    Life,
    Spec,
    StateRecord,
    decode_claim,
    decode_spec,
    decode_state,
    encode_claim,
)
from tests.unit.runtime.stage import Clock, member

KEYS = ["a", "b", "c"]
WALL = 1_700_000_000.0


def life(number: int = 1) -> Life:
    return Life(number, "start")


def spec(epoch: int = 1, number: int = 1) -> Spec:
    return Spec("m:T", b"", "permanent", "checkpoint", epoch, life(number))


def saved(epoch: int, number: int = 1, state: bytes = b"s") -> StateRecord:
    return StateRecord(epoch, "checkpoint", 1, "n", "", state, [], number)


class Table:
    """Names of node ``a`` over a real replica, with two other nodes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.members = {name: member(name) for name in "abc"}
        self.replicas = {name: Replica(f"boot-{name}") for name in "abc"}
        clock: Any = self.clock
        self.names = Names(self.replicas["a"], clock, self.view, "a")
        self.ends: dict[str, Ended] = {}
        self.highest = 0
        self.changes: list[set[str]] = []
        self.names.on_changed = self.changes.append

    @property
    def view(self) -> View:
        return View(self.members["a"], tuple(self.members.values()))

    def status(self, name: str, status: Status) -> None:
        self.members[name] = self.members[name].at(status)
        self.names.review(self.view, {f"boot-{name}"})

    def sync(self, name: str) -> None:
        replica = self.replicas["a"]
        for delta in self.replicas[name].deltas_for(replica.vector):
            joined = replica.join(delta, WALL)
            specs = {key for table, key in joined.registers if table == SPECS}
            states = {key for table, key in joined.registers if table == STATES}
            self.names.learned(joined.of(""), specs, states)

    def claim_elsewhere(self, node: str, key: str, epoch: int, number: int = 1) -> None:
        said = Claim(key, Dot(f"boot-{node}", 0), epoch, node, "m:T", life(number))
        self.replicas[node].add(key, encode_claim(said))

    def retire(self, name: str) -> None:
        self.replicas["a"].retire(f"boot-{name}")
        self.names.forget_boot(f"boot-{name}")

    def forget_deletions(self) -> None:
        replica = self.replicas["a"]
        replica.forget_deletions(replica.deleted())

    # ---- the same, found the slow way ----

    def claims(self, key: str) -> list[Claim]:
        claimed = self.replicas["a"].claims(key)
        found = [decode_claim(key, each.dot, each.value or b"") for each in claimed]
        return [c for c in found if c is not None]

    def visible(self, key: str) -> tuple[Claim, ...]:
        shown = [c for c in self.claims(key) if self.view.is_present(c.boot)]
        spec = self.spec(key)
        now = spec.life.number if spec else None
        return tuple(sorted(shown, key=lambda c: (c.life.number == now, c.rank), reverse=True))

    def spec(self, name: str) -> Spec | None:
        found = self.decoded(name)
        return found if isinstance(found, Spec) else None

    def decoded(self, name: str) -> Any:
        register = self.replicas["a"].register(SPECS, name)
        return decode_spec(register.value) if register else None

    def record(self, name: str) -> Any:
        """What is known of it; how it ended also when the deletion has been forgotten."""
        return self.spec(name) or self.ends.get(name)

    def look(self) -> None:
        """Keep in mind how names have ended."""
        for name in KEYS:
            found = self.decoded(name)
            if isinstance(found, Ended):
                last = self.ends.get(name, found)
                self.ends[name] = max(last, found, key=lambda end: end.rank)
                self.highest = max(self.highest, found.epoch)

    def copies(self, key: str) -> list[tuple[str, StateRecord]]:
        known, found = self.record(key), []
        for where, register in self.replicas["a"].table(STATES).items():
            boot, _, name = where.partition("/")
            saved = decode_state(register.value) if register.value else None
            if name == key and saved is not None and known and saved.life == known.life.number:
                found.append((boot, saved))
        return sorted(found, key=lambda copy: (copy[1].epoch, copy[0]), reverse=True)

    def floor(self, key: str) -> int:
        known = self.record(key)
        epochs = [c.epoch for c in self.claims(key)] + [s.epoch for _, s in self.copies(key)]
        return max([*epochs, known.epoch if known else self.highest])

    def check(self) -> None:
        self.look()
        names = self.names
        for key in KEYS:
            visible = self.visible(key)
            assert names.visible(key) == visible
            spec = self.spec(key)
            owner = visible[0] if visible else None
            if owner is not None and spec is not None and owner.life.number != spec.life.number:
                owner = None
            assert names.owner(key) == owner
            assert names.spec(key) == spec
            assert (key in names.orphans) == (spec is not None and owner is None)
            own = [c.dot for c in self.claims(key) if c.boot == "boot-a"]
            assert sorted(c.dot for c in names.own_claims(key)) == sorted(own)
            assert names.floor(key) == self.floor(key)
            copies = self.copies(key)
            assert [(c.boot, c.record) for c in names.copies(key)] == copies
            assert names.state(key) == (copies[0][1] if copies else None)
            known = self.record(key)
            assert names.next_life(key, "s") == Life(known.life.number + 1 if known else 1, "s")
            assert names.ended(key) == (known if isinstance(known, Ended) else None)
            assert names.are_free([key]) == (not visible and spec is None)
        shown = {key for key in KEYS if self.visible(key)}
        assert set(names.claimed()) == shown and names.count() == len(shown)
        assert names.processes() == sorted(k for k in KEYS if self.spec(k))
        for name in "abc":
            boot = f"boot-{name}"
            claimed = {k for k in KEYS for c in self.claims(k) if c.boot == boot}
            assert names.names_of(boot) == claimed
            moved_on = all(self.visible(k) or self.spec(k) is None for k in claimed)
            assert names.have_moved_on(boot) == moved_on
