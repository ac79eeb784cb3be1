"""The index of names always says what a look at the whole replica would say."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyhorde.cluster.member import Status, View
from pyhorde.crdt import Dot, Replica
from pyhorde.runtime.names import RETIRE_AFTER, Names
from pyhorde.runtime.record import (
    META,
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
from tests.unit.runtime.stage import Clock, Stage, member, turns, virtual_time

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
            self.names.learned(joined.keys, specs, states)

    def claim_elsewhere(
        self, node: str, key: str, epoch: int, process: str = "", number: int = 1
    ) -> None:
        dot = Dot(f"boot-{node}", 0)
        said = Claim(key, dot, epoch, node, process or key, "m:T", life(number), None)
        self.replicas[node].add(key, encode_claim(said))

    # ---- the same, found the slow way ----

    def claims(self, key: str) -> list[Claim]:
        found = [decode_claim(*claimed) for claimed in self.replicas["a"].claims(key)]
        return [c for c in found if c is not None]

    def visible(self, key: str) -> tuple[Claim, ...]:
        shown = [c for c in self.claims(key) if self.view.is_present(c.boot)]
        spec = self.spec(key)
        now = spec.life if spec else None
        return tuple(
            sorted(shown, key=lambda c: (c.is_process, c.life == now, c.rank), reverse=True)
        )

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

    def record(self, key: str) -> Any:
        register = self.replicas["a"].register(SPECS, key)
        return decode_spec(register.value) if register and register.value else None

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
        return max([*epochs, known.epoch if known else 0])

    def check(self) -> None:
        names = self.names
        keys = set(self.replicas["a"].keys()) | set(KEYS)
        for key in keys:
            visible = self.visible(key)
            assert names.visible(key) == visible
            assert names.holder(key) == (visible[0] if visible else None)
            spec = self.spec(key)
            owner = visible[0] if visible and visible[0].is_process else None
            if owner is not None and spec is not None and owner.life != spec.life:
                owner = None
            assert names.owner(key) == owner
            assert names.spec(key) == spec
            assert (key in names.orphans) == (self.spec(key) is not None and owner is None)
            assert names.held(key) == self.held(key)
            own = [c for k in keys for c in self.claims(k) if c.boot == "boot-a"]
            own = [c for c in own if c.process == key]
            assert sorted(c.dot for c in names.own_claims(key)) == sorted(c.dot for c in own)
            assert names.floor(key) == self.floor(key)
            copies = self.copies(key)
            assert [(c.boot, c.record) for c in names.copies(key)] == copies
            assert names.state(key) == (copies[0][1] if copies else None)
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
numbers = st.integers(1, 3)
steps = st.one_of(
    st.tuples(st.just("claim"), keys, epochs, keys, numbers),
    st.tuples(st.just("release"), keys),
    st.tuples(st.just("update"), keys),
    st.tuples(st.just("publish"), keys, epochs, numbers),
    st.tuples(st.just("end"), keys),
    st.tuples(st.just("save"), keys, epochs, numbers),
    st.tuples(st.just("save_elsewhere"), nodes, keys, epochs, numbers),
    st.tuples(st.just("forget_state"), keys),
    st.tuples(st.just("claim_elsewhere"), nodes, keys, epochs, keys, numbers),
    st.tuples(st.just("release_elsewhere"), nodes, keys),
    st.tuples(st.just("publish_elsewhere"), nodes, keys, epochs, numbers),
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

    def claim(self, key: str, epoch: int, process: str, number: int) -> None:
        self.names.claim(key, epoch, process, "m:T", life(number))

    def _own(self, key: str) -> list[Claim]:
        return [c for c in self.table.claims(key) if c.boot == "boot-a"]

    def release(self, key: str) -> None:
        self.names.release(self._own(key) * 2)

    def update(self, key: str) -> None:
        for claim in self._own(key)[:1]:
            self.names.update(claim, value=b"other", epoch=claim.epoch + 1)

    def publish(self, key: str, epoch: int, number: int) -> None:
        self.names.publish(key, spec(epoch, number))

    def end(self, key: str) -> None:
        self.names.end(key, "over")
        assert self.names.spec(key) is None
        assert self.names.state(key) is None

    def save(self, key: str, epoch: int, number: int) -> None:
        known = self.table.record(key)
        over = known is not None and (
            known.life.number > number or (known.life.number == number and isinstance(known, Ended))
        )
        assert self.names.save(key, saved(epoch, number)) is not over

    def save_elsewhere(self, node: str, key: str, epoch: int, number: int) -> None:
        replica = self.table.replicas[node]
        where, data = f"boot-{node}/{key}", saved(epoch, number).encode()
        replica.put(STATES, where, data, WALL, replica.seq + 1)

    def forget_state(self, key: str) -> None:
        self.names.forget(key, self.names.copies(key)[:1])

    def claim_elsewhere(self, node: str, key: str, epoch: int, process: str, number: int) -> None:
        self.table.claim_elsewhere(node, key, epoch, process, number)

    def release_elsewhere(self, node: str, key: str) -> None:
        replica = self.table.replicas[node]
        for claimed in replica.claims(key):
            replica.remove(claimed.dot)

    def publish_elsewhere(self, node: str, key: str, epoch: int, number: int) -> None:
        new = spec(epoch, number)
        self.table.replicas[node].put(SPECS, key, new.encode(), WALL, new.rank)

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


def test_the_state_is_that_of_the_highest_epoch_and_the_others_stand_beside_it():
    table = Table()
    table.names.publish("k", spec())
    table.names.save("k", saved(5, state=b"mine"))
    theirs, replica = saved(6, state=b"theirs"), table.replicas["b"]
    replica.put(STATES, "boot-b/k", theirs.encode(), WALL, 1)
    table.sync("b")
    assert table.names.state("k") == theirs
    assert [copy.boot for copy in table.names.copies("k")] == ["boot-b", "boot-a"]


def test_only_what_was_read_is_removed_and_what_was_saved_since_comes_back():
    table = Table()
    table.names.publish("k", spec())
    replica = table.replicas["b"]
    replica.put(STATES, "boot-b/k", saved(6, state=b"read").encode(), WALL, replica.seq + 1)
    table.sync("b")
    read = table.names.copies("k")
    replica.put(STATES, "boot-b/k", saved(6, state=b"newer").encode(), WALL, replica.seq + 1)
    table.names.forget("k", read)
    assert table.names.copies("k") == []
    table.sync("b")
    assert table.names.state("k") == saved(6, state=b"newer")


def test_a_spec_of_an_ended_life_is_refused_whatever_its_epoch():
    names = Table().names
    assert names.next_life("k", "s") == Life(1, "s")
    assert names.publish("k", spec())
    names.end("k", "over")
    ended = names.ended("k")
    assert ended is not None and ended.reason == "over"
    assert not names.publish("k", spec(epoch=99))
    assert names.spec("k") is None
    assert names.next_life("k", "s") == Life(2, "s")
    assert names.publish("k", spec(number=2))
    assert names.ended("k") is None


def test_an_end_takes_the_state_along_and_no_late_save_brings_it_back():
    table = orphaned()
    table.names.save("k", saved(9))
    table.names.end("k", "over")
    assert table.names.state("k") is None
    assert not table.names.save("k", saved(10_000))
    assert table.names.state("k") is None


def test_a_state_belongs_to_the_life_in_which_it_was_saved():
    names = Table().names
    names.publish("k", spec())
    names.save("k", saved(1))
    names.publish("k", spec(number=2))
    assert names.state("k") is None
    assert names.save("k", saved(1, number=2))
    assert names.state("k") == saved(1, number=2)


def test_a_claim_of_another_life_owns_nothing():
    table = Table()
    table.names.publish("k", spec(number=2))
    table.claim_elsewhere("b", "k", 9, number=1)
    table.sync("b")
    assert table.names.owner("k") is None and "k" in table.names.orphans
    table.names.claim("k", 1, "k", "m:T", life(2))
    owner = table.names.owner("k")
    assert owner is not None and owner.boot == "boot-a"


def test_a_processs_own_name_comes_before_a_key_registered_for_another():
    table = Table()
    table.names.claim("k", 1, "k", "m:T", life())
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
    table.names.claim("k", 2, "k", "m:T", life())
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
    claim = table.names.claim("k", 1, "k", "m:T", life())
    table.names.publish("k", spec())
    table.names.save("k", saved(1))
    table.names.put(META, "m", b"")
    table.names.update(claim, value=b"v")
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
    stage.names.claim("other", 1, "other", "m:T", life())
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
