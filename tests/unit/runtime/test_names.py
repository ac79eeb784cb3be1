"""The index of names always says what a look at the whole replica would say."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyhorde.cluster.member import Status
from pyhorde.crdt import Replica
from pyhorde.runtime.names import REMEMBER_ENDS, Names
from pyhorde.runtime.record import (
    META,
    SPECS,
    STATES,
    Claim,
    Ended,
    Life,
)
from tests.unit.runtime.name_table import KEYS, WALL, Table, life, saved, spec
from tests.unit.runtime.stage import Clock, Stage, member, turns, virtual_time

keys = st.sampled_from(KEYS)
nodes = st.sampled_from("bc")
epochs = st.integers(1, 5)
numbers = st.integers(1, 3)
steps = st.one_of(
    st.tuples(st.just("claim"), keys, epochs, numbers),
    st.tuples(st.just("release"), keys),
    st.tuples(st.just("update"), keys),
    st.tuples(st.just("publish"), keys, epochs, numbers),
    st.tuples(st.just("end"), keys),
    st.tuples(st.just("save"), keys, epochs, numbers),
    st.tuples(st.just("save_elsewhere"), nodes, keys, epochs, numbers),
    st.tuples(st.just("forget_state"), keys),
    st.tuples(st.just("claim_elsewhere"), nodes, keys, epochs, numbers),
    st.tuples(st.just("release_elsewhere"), nodes, keys),
    st.tuples(st.just("publish_elsewhere"), nodes, keys, epochs, numbers),
    st.tuples(st.just("rubbish"), nodes, keys, st.binary(max_size=5)),
    st.tuples(st.just("sync"), nodes),
    st.tuples(st.just("view"), nodes, st.sampled_from(Status)),
    st.tuples(st.just("replace"), nodes),
    st.tuples(st.just("retire"), nodes),
    st.tuples(st.just("forget_deletions")),
)


class Run:
    """One random history."""

    def __init__(self) -> None:
        self.table = Table()
        self.names = self.table.names

    def step(self, kind: str, *args: Any) -> None:
        getattr(self, kind)(*args)
        self.table.check()

    def claim(self, key: str, epoch: int, number: int) -> None:
        claim = self.names.claim(key, epoch, "m:T", life(number))
        assert claim in self.table.claims(key)

    def _own(self, key: str) -> list[Claim]:
        return [c for c in self.table.claims(key) if c.boot == "boot-a"]

    def release(self, key: str) -> None:
        self.names.release(self._own(key) * 2)

    def update(self, key: str) -> None:
        for claim in self._own(key)[:1]:
            self.names.update(claim, epoch=claim.epoch + 1)

    def publish(self, key: str, epoch: int, number: int) -> None:
        new, known = spec(epoch, number), self.table.record(key)
        assert self.names.publish(key, new) is (known is None or known.rank <= new.rank)

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

    def claim_elsewhere(self, node: str, key: str, epoch: int, number: int) -> None:
        self.table.claim_elsewhere(node, key, epoch, number)

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
        if self.table.view.is_present(f"boot-{node}"):
            self.table.replicas["a"].revive(f"boot-{node}")

    def replace(self, node: str) -> None:
        self.table.status(node, Status.DEAD)
        self.table.members[node] = member(node, boot=f"newer-{node}")
        self.names.review(self.table.view, {f"boot-{node}", f"newer-{node}"})

    def retire(self, node: str) -> None:
        if not self.table.view.is_present(f"boot-{node}"):
            self.table.retire(node)

    def forget_deletions(self) -> None:
        self.table.forget_deletions()


@settings(max_examples=200, deadline=None)
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
    table.names.claim("k", 1, "m:T", life(2))
    owner = table.names.owner("k")
    assert owner is not None and owner.boot == "boot-a"


def ended(number: int = 3, epoch: int = 7) -> Table:
    """A name whose end this node has seen."""
    table = Table()
    table.names.publish("k", spec(epoch, number))
    table.names.end("k", "over")
    return table


def test_a_forgotten_end_still_says_how_far_the_name_got():
    table = ended()
    table.forget_deletions()
    assert not list(table.replicas["a"].registers())
    assert table.names.next_life("k", "s") == Life(4, "s") and table.names.floor("k") == 7
    assert not table.names.publish("k", spec(9, 3)) and table.names.spec("k") is None
    assert not table.names.save("k", saved(9, 3))
    assert table.names.publish("k", spec(9, 4))


def test_lives_and_epochs_do_not_fall_when_an_end_is_remembered_no_more():
    table = ended()
    table.forget_deletions()
    for name in ("second", "third"):
        table.clock.time += REMEMBER_ENDS
        table.names.publish(name, spec())
        table.names.end(name, "over")
    assert table.names.ended("k") is None
    assert table.names.next_life("k", "s").number == 4 and table.names.floor("k") == 7


def test_an_end_is_remembered_for_as_long_as_its_record_is_there():
    table = ended()
    for _ in range(5):
        table.clock.time += REMEMBER_ENDS
        table.names.publish("other", spec(number=5))
        table.names.end("other", "over")
        assert table.names.ended("k") is not None and table.names.next_life("k", "s").number == 4
    assert table.names.next_life("new", "s") == Life(1, "s")


def test_who_joins_later_has_the_marks_of_forgotten_ends():
    table = ended()
    table.forget_deletions()
    clock: Any = Clock()
    replica = Replica("boot-new")
    names = Names(replica, clock, table.view, "new")
    for delta in table.replicas["a"].deltas_for(replica.vector):
        replica.join(delta, WALL)
    assert names.floor("k") == 7


def test_an_earlier_life_that_comes_late_does_not_lower_what_is_known_of_the_end():
    table = ended()
    table.forget_deletions()
    table.replicas["b"].put(SPECS, "k", spec(1, 1).encode(), WALL, spec(1, 1).rank)
    table.sync("b")
    table.names.end("k", "over again")
    assert table.names.next_life("k", "s").number == 4


def test_a_retired_boot_leaves_no_claims_behind_but_its_registers():
    table = orphaned()
    replica = table.replicas["b"]
    replica.put(SPECS, "r", spec(4).encode(), WALL, spec(4).rank)
    table.sync("b")
    table.status("b", Status.DEAD)
    table.retire("b")
    assert table.claims("k") == [] and table.names.names_of("boot-b") == set()
    assert table.names.spec("r") == spec(4) and "k" in table.names.orphans


def test_a_move_is_told_to_whoever_listens():
    table = orphaned()
    told: list[tuple[str, Any, Any]] = []
    table.names.on_moved = lambda name, before, after: told.append(
        (name, before and before.node, after and after.node)
    )
    table.status("b", Status.DEAD)
    claim = table.names.claim("k", 2, "m:T", life())
    table.names.update(claim, epoch=3)
    table.names.release(table.names.own_claims("k"))
    assert told == [("k", "b", None), ("k", None, "a"), ("k", "a", None)]


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
    claim = table.names.claim("k", 1, "m:T", life())
    table.names.publish("k", spec())
    table.names.save("k", saved(1))
    table.names.put(META, "m", b"")
    table.names.update(claim, epoch=2)
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
    stage.names.claim("other", 1, "m:T", life())
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
