"""The index of names always says what a look at the whole replica would say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyhorde.cluster.member import Status, View
from pyhorde.crdt import Replica
from pyhorde.runtime.names import RETIRE_AFTER, Names
from pyhorde.runtime.record import (
    META,
    SPECS,
    STATES,
    Claim,
    Spec,
    StateRecord,
    decode_claim,
    decode_spec,
    encode_claim,
)
from tests.unit.runtime.stage import Clock, Stage, member, turns, virtual_time

KEYS = ["a", "b", "c"]
WALL = 1_700_000_000.0


def spec(epoch: int = 1, restart: str = "permanent") -> Spec:
    return Spec("m:T", b"", restart, "none", epoch, "start")


def saved(epoch: int, kind: str = "checkpoint", state: bytes = b"s") -> StateRecord:
    return StateRecord(epoch, kind, 1, "n", "", state, [])


class Table:
    """Names of node ``a`` over a real replica, with two other nodes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.members = {name: member(name) for name in "abc"}
        self.replicas = {name: Replica(f"boot-{name}") for name in "abc"}
        clock: Any = self.clock
        self.names = Names(self.replicas["a"], clock, self.view, "a")
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
            self.names.learned(joined.keys, {k for t, k in joined.registers if t == SPECS})

    def claim_elsewhere(self, node: str, key: str, epoch: int, process: str = "") -> None:
        data = encode_claim(epoch, node, process or key, "m:T", None)
        self.replicas[node].add(key, data)

    # ---- the same, found the slow way ----

    def claims(self, key: str) -> list[Claim]:
        found = [decode_claim(*claimed) for claimed in self.replicas["a"].claims(key)]
        return [c for c in found if c is not None]

    def visible(self, key: str) -> tuple[Claim, ...]:
        shown = [c for c in self.claims(key) if self.view.is_present(c.boot)]
        return tuple(sorted(shown, key=lambda c: (c.is_process, c.rank), reverse=True))

    def spec(self, name: str) -> Spec | None:
        register = self.replicas["a"].register(SPECS, name)
        found = decode_spec(register.value) if register and register.value else None
        return found if isinstance(found, Spec) else None

    def held(self, process: str) -> list[str]:
        tops = {key: self.visible(key) for key in self.replicas["a"].keys()}  # noqa: SIM118
        mine = {
            key
            for key, claims in tops.items()
            if claims and claims[0].process == process and key != process
        }
        return sorted(mine)

    def check(self) -> None:
        names = self.names
        keys = set(self.replicas["a"].keys()) | set(KEYS)
        for key in keys:
            visible = self.visible(key)
            assert names.visible(key) == visible
            assert names.holder(key) == (visible[0] if visible else None)
            owner = visible[0] if visible and visible[0].is_process else None
            assert names.owner(key) == owner
            assert names.spec(key) == self.spec(key)
            assert (key in names.orphans) == (self.spec(key) is not None and owner is None)
            assert names.held(key) == self.held(key)
            own = [c for k in keys for c in self.claims(k) if c.boot == "boot-a"]
            own = [c for c in own if c.process == key]
            assert sorted(c.dot for c in names.own_claims(key)) == sorted(c.dot for c in own)
            floors = [c.epoch for c in self.claims(key)]
            for table in (SPECS, STATES):
                register = self.replicas["a"].register(table, key)
                floors.append(register.rank if register else 0)
            assert names.floor(key) == max(floors)
        shown = {key for key in keys if self.visible(key)}
        assert set(names.keys()) == shown and names.count() == len(shown)
        assert names.processes() == sorted(k for k in keys if self.spec(k))
        for name in "abc":
            boot = f"boot-{name}"
            claimed = {k for k in keys for c in self.claims(k) if c.boot == boot}
            assert names.names_of(boot) == claimed


keys = st.sampled_from(KEYS)
nodes = st.sampled_from("bc")
epochs = st.integers(1, 5)
steps = st.one_of(
    st.tuples(st.just("claim"), keys, epochs, keys),
    st.tuples(st.just("release"), keys),
    st.tuples(st.just("update"), keys),
    st.tuples(st.just("publish"), keys, epochs),
    st.tuples(st.just("end"), keys),
    st.tuples(st.just("save"), keys, epochs),
    st.tuples(st.just("claim_elsewhere"), nodes, keys, epochs, keys),
    st.tuples(st.just("release_elsewhere"), nodes, keys),
    st.tuples(st.just("publish_elsewhere"), nodes, keys, epochs),
    st.tuples(st.just("rubbish"), nodes, keys, st.binary(max_size=5)),
    st.tuples(st.just("sync"), nodes),
    st.tuples(st.just("view"), nodes, st.sampled_from(Status)),
    st.tuples(st.just("forget"), nodes),
    st.tuples(st.just("retire"), st.just(RETIRE_AFTER)),
)


class Run:
    """One random history."""

    def __init__(self) -> None:
        self.table = Table()
        self.names = self.table.names

    def step(self, kind: str, *args: Any) -> None:
        getattr(self, kind)(*args)
        self.table.check()

    def claim(self, key: str, epoch: int, process: str) -> None:
        self.names.claim(key, epoch, process, "m:T")

    def _own(self, key: str) -> list[Claim]:
        return [c for c in self.table.claims(key) if c.boot == "boot-a"]

    def release(self, key: str) -> None:
        self.names.release(self._own(key) * 2)

    def update(self, key: str) -> None:
        for claim in self._own(key)[:1]:
            self.names.update(claim, b"other")

    def publish(self, key: str, epoch: int) -> None:
        self.names.publish(key, spec(epoch))

    def end(self, key: str) -> None:
        self.names.end(key, "over")
        assert self.names.spec(key) is None
        assert self.names.state(key) is None

    def save(self, key: str, epoch: int) -> None:
        before = self.names.floor(key)
        done = self.names.save(key, saved(epoch))
        assert done or epoch < before

    def claim_elsewhere(self, node: str, key: str, epoch: int, process: str) -> None:
        self.table.claim_elsewhere(node, key, epoch, process)

    def release_elsewhere(self, node: str, key: str) -> None:
        replica = self.table.replicas[node]
        for claimed in replica.claims(key):
            replica.remove(claimed.dot)

    def publish_elsewhere(self, node: str, key: str, epoch: int) -> None:
        self.table.replicas[node].put(SPECS, key, spec(epoch).encode(), WALL, epoch)

    def rubbish(self, node: str, key: str, data: bytes) -> None:
        self.table.replicas[node].add(key, data)
        self.table.replicas[node].put(SPECS, key, data, WALL, 0)

    def sync(self, node: str) -> None:
        self.table.sync(node)

    def view(self, node: str, status: Status) -> None:
        self.table.status(node, status)

    def forget(self, node: str) -> None:
        self.table.status(node, Status.DEAD)
        self.table.members[node] = member(node, boot=f"newer-{node}")
        self.names.review(self.table.view, {f"boot-{node}", f"newer-{node}"})

    def retire(self, after: float) -> None:
        self.names.retire_stale()
        self.table.clock.time += after
        self.names.retire_stale()


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=25))
def test_the_index_says_what_the_replica_says(history: list[tuple[Any, ...]]):
    run = Run()
    for step in history:
        run.step(*step)


def orphaned() -> Table:
    table = Table()
    table.names.publish("k", spec())
    table.claim_elsewhere("b", "k", 1)
    table.sync("b")
    return table


def test_a_name_is_an_orphan_from_the_moment_its_owners_node_is_gone():
    table = orphaned()
    table.clock.time = 7.0
    assert table.names.orphans == {}
    table.status("b", Status.DEAD)
    assert table.names.orphans == {"k": 7.0}
    table.clock.time = 9.0
    table.names.learned({"k"}, {"k"})
    assert table.names.orphans == {"k": 7.0}
    table.status("b", Status.ALIVE)
    assert table.names.orphans == {}


def test_a_suspected_node_still_owns_its_names():
    table = orphaned()
    table.status("b", Status.SUSPECT)
    assert table.names.owner("k") is not None


def test_traces_are_a_hidden_claim_or_a_saved_state():
    table = Table()
    table.names.publish("k", spec())
    assert not table.names.traces("k")
    table.names.save("k", saved(1))
    assert table.names.traces("k")
    hidden = orphaned()
    hidden.status("b", Status.DEAD)
    assert hidden.names.traces("k") and hidden.names.last_owner("k") == "b"


def test_a_state_of_an_earlier_owner_is_refused():
    names = Table().names
    assert names.save("k", saved(5, state=b"new"))
    assert not names.save("k", saved(4, state=b"old"))
    kept = names.state("k")
    assert kept is not None and kept.state == b"new"


def test_a_spec_of_an_earlier_life_is_refused():
    names = Table().names
    assert names.publish("k", spec(3))
    names.end("k", "over")
    assert not names.publish("k", spec(2))
    assert names.spec("k") is None
    assert names.publish("k", spec(4))


def test_an_end_reaches_above_every_epoch_seen_and_takes_the_state_along():
    table = orphaned()
    table.claim_elsewhere("c", "k", 9)
    table.sync("c")
    table.names.save("k", saved(9))
    table.names.end("k", "over")
    assert table.names.state("k") is None
    assert table.names.floor("k") == 9
    assert not table.names.publish("k", spec(8))


def test_what_is_left_of_a_life_is_its_spec_or_a_state_of_its_epoch():
    names = Table().names
    assert not names.lives("k", 3)
    names.publish("k", spec(3))
    assert names.lives("k", 3) and not names.lives("k", 2)
    names.end("k", "over")
    assert not names.lives("k", 3)
    names.save("k", saved(3))
    assert names.lives("k", 3) and not names.lives("k", 2)


def test_a_processs_own_name_comes_before_a_key_registered_for_another():
    table = Table()
    table.names.claim("k", 1, "k", "m:T")
    table.claim_elsewhere("b", "k", 9, "p")
    table.sync("b")
    owner = table.names.owner("k")
    assert owner is not None and owner.boot == "boot-a"


def test_claims_of_a_node_that_is_not_yet_known_as_a_member_are_kept():
    table = Table()
    del table.members["c"]
    table.names.review(table.view, {"boot-c"})
    table.claim_elsewhere("c", "key", 1, "p")
    table.sync("c")
    for _ in range(9):
        table.names.retire_stale()
        table.clock.time += 1
    table.members["c"] = member("c")
    table.names.review(table.view, {"boot-c"})
    holder = table.names.holder("key")
    assert holder is not None and holder.node == "c"
    table.names.retire_stale()
    table.clock.time += 100
    table.names.retire_stale()
    assert table.names.holder("key") is not None


def stale() -> Table:
    table = orphaned()
    table.members["b"] = member("b", boot="newer")
    table.names.review(table.view, {"boot-b", "newer"})
    return table


def test_a_former_boot_is_forgotten_once_its_names_have_moved_on():
    table = stale()
    table.names.claim("k", 2, "k", "m:T")
    table.names.retire_stale()
    table.clock.time += RETIRE_AFTER
    table.names.retire_stale()
    assert [c.boot for c in table.claims("k")] == ["boot-a"]
    assert table.names.names_of("boot-b") == set()


def test_a_former_boot_is_remembered_while_a_name_of_it_waits_for_an_owner():
    table = stale()
    for _ in range(3):
        table.names.retire_stale()
        table.clock.time += RETIRE_AFTER
    assert table.names.traces("k") and table.names.floor("k") == 1


def changed(table: Table) -> Iterator[set[str]]:
    yield from table.changes


def test_every_change_of_an_owner_or_spec_is_reported():
    table = orphaned()
    assert {"k"} in table.changes
    table.changes.clear()
    table.status("b", Status.DEAD)
    assert table.changes == [{"k"}]


def test_metadata_is_a_plain_register():
    names = Table().names
    assert names.get(META, "m") is None
    names.put(META, "m", b"1")
    assert names.get(META, "m") == b"1"
    names.put(META, "m", None)
    assert names.get(META, "m") is None


def test_every_write_is_told():
    table = Table()
    told: list[int] = []
    table.names.on_written = lambda: told.append(table.names.seq)
    claim = table.names.claim("k", 1, "k", "m:T")
    table.names.publish("k", spec())
    table.names.save("k", saved(1))
    table.names.put(META, "m", b"")
    table.names.update(claim, b"v")
    table.names.end("k", "over")
    table.names.release(table.names.own_claims("k"))
    assert len(told) == 7 and told == sorted(set(told))


@virtual_time
async def test_waiting_for_a_name_ends_with_its_next_change_or_its_time():
    stage = Stage()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stage.names.changed("k", 3.0)
    assert loop.time() - began == 3.0
    waiting = [asyncio.create_task(stage.names.changed("k", 3.0)) for _ in range(3)]
    await turns()
    stage.names.claim("other", 1, "other", "m:T")
    await turns()
    assert not any(task.done() for task in waiting)
    stage.names.publish("k", spec())
    await asyncio.gather(*waiting)
    assert loop.time() - began == 3.0


@virtual_time
async def test_nothing_is_left_of_those_who_gave_up_waiting():
    names = Stage().names
    task = asyncio.create_task(names.changed("k", 3.0))
    await turns()
    task.cancel()
    await asyncio.wait([task])
    await names.changed("k", 0.0)
    assert names._waiters == {}
