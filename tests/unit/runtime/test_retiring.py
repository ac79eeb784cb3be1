"""Boots that are gone: when they are dropped, by whom first, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.crdt import Dot, Replica
from pyhorde.runtime.names import Names
from pyhorde.runtime.record import META, Claim, Life, Spec, encode_claim
from pyhorde.runtime.retiring import CARRIED_WITHIN, RETIRE_AFTER, RETIRE_DEAD_AFTER, Retiring
from tests.unit.runtime.stage import Clock, member, turns, virtual_time

WALL = 1_700_000_000.0


class Watched:
    """What node ``b`` retires of ``a`` and ``c`` (boots ``boot-a`` ...), second by second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.members = {name: member(name) for name in "abc0"}
        self.replica = Replica("boot-b")
        clock: Any = self.clock
        self.names = Names(self.replica, clock, self.view, "b")
        self.retiring = Retiring(self.replica, self.names, clock)
        self.others = {name: Replica(f"boot-{name}") for name in "ac0"}

    @property
    def view(self) -> View:
        return View(self.members["b"], tuple(self.members.values()))

    def set(self, new: Member) -> None:
        before = self.members[new.name].boot
        self.members[new.name] = new
        self.names.review(self.view, {before, new.boot})

    def at(self, name: str, status: Status) -> None:
        self.set(self.members[name].at(status))

    def hear(self, name: str) -> None:
        for delta in self.others[name].deltas_for(self.replica.vector):
            joined = self.replica.join(delta, WALL)
            specs = {key for table, key in joined.registers if table == "spec"}
            self.names.learned(joined.of(""), specs)

    def runs(self, boot: str, name: str) -> None:
        life = Life(1, "s")
        said = Claim(name, Dot(boot, 0), 1, "n", "m:T", life)
        replica = self.others[boot[-1]]
        replica.add(name, encode_claim(said))
        spec = Spec("m:T", b"", "permanent", "none", 1, life)
        replica.put("spec", name, spec.encode(), WALL, spec.rank)
        self.hear(boot[-1])

    def after(self, condition: Callable[[], Any], most: int = 200) -> int:
        """How many seconds it takes until the condition holds; ``most`` if it never does."""
        self.retiring.look(self.view)
        for second in range(most):
            if condition():
                return second
            self.clock.time += 1.0
            self.retiring.look(self.view)
        return most

    def retired(self, boot: str) -> Callable[[], bool]:
        return lambda: boot in self.replica.retired


@virtual_time
async def test_a_member_that_left_is_retired_after_a_while():
    watched = Watched()
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    watched.at("c", Status.LEFT)
    assert watched.after(watched.retired("boot-c")) == RETIRE_AFTER
    assert watched.replica.claims("k", "u:") == []


@virtual_time
async def test_a_replaced_boot_is_retired_after_a_while():
    watched = Watched()
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    watched.set(replace(watched.members["c"], boot="boot-new"))
    assert watched.after(watched.retired("boot-c")) == RETIRE_AFTER


@virtual_time
async def test_a_dead_member_is_given_more_time():
    watched = Watched()
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    watched.at("c", Status.DEAD)
    assert watched.after(watched.retired("boot-c")) == RETIRE_DEAD_AFTER


@pytest.mark.parametrize("status", [Status.ALIVE, Status.SUSPECT])
@virtual_time
async def test_who_is_present_is_never_retired(status: Status):
    watched = Watched()
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    watched.at("c", status)
    assert watched.after(watched.retired("boot-c")) == 200


@virtual_time
async def test_absence_is_counted_anew_when_it_was_interrupted():
    watched = Watched()
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    watched.at("c", Status.DEAD)
    watched.after(lambda: False, 50)
    watched.at("c", Status.ALIVE)
    watched.retiring.look(watched.view)
    watched.at("c", Status.DEAD)
    assert watched.after(watched.retired("boot-c")) == RETIRE_DEAD_AFTER


@virtual_time
async def test_a_boot_is_kept_until_all_that_it_ran_runs_elsewhere():
    watched = Watched()
    watched.runs("boot-c", "it")
    watched.at("c", Status.DEAD)
    assert watched.after(watched.retired("boot-c")) == 200
    assert watched.names.floor("it") == 1 and watched.names.traces("it")
    watched.names.claim("it", 2, "m:T", Life(1, "s"))
    assert watched.after(watched.retired("boot-c")) == 0
    assert watched.names.names_of("boot-c") == set()
    assert [claim.boot for claim in watched.names.visible("it")] == ["boot-b"]


@virtual_time
async def test_what_has_ended_keeps_no_boot():
    watched = Watched()
    watched.runs("boot-c", "it")
    watched.at("c", Status.DEAD)
    watched.names.end("it", "over")
    assert watched.after(watched.retired("boot-c")) == RETIRE_DEAD_AFTER


@virtual_time
async def test_the_lowest_boot_carries_registers_on_and_the_others_let_it():
    watched = Watched()
    watched.others["c"].put(META, "m", b"1", WALL)
    watched.hear("c")
    watched.at("c", Status.LEFT)
    patience = RETIRE_AFTER + CARRIED_WITHIN
    assert watched.after(watched.retired("boot-c")) == patience
    assert watched.names.get(META, "m") == b"1"
    register = watched.replica.register(META, "m")
    assert register is not None and register.dot.origin == "boot-b"


@virtual_time
async def test_who_is_the_lowest_boot_does_not_wait():
    watched = Watched()
    watched.others["c"].put(META, "m", b"1", WALL)
    watched.hear("c")
    for name in "ac0":
        watched.at(name, Status.LEFT)
    assert watched.after(watched.retired("boot-c")) == RETIRE_AFTER


@pytest.mark.parametrize("gone", ["0", "c"])
@virtual_time
async def test_what_another_has_carried_on_already_is_not_said_again(gone: str):
    watched = Watched()
    watched.others[gone].put(META, "m", b"1", WALL)
    watched.hear(gone)
    lowest = watched.others["a"]
    for delta in watched.others[gone].deltas_for({}):
        lowest.join(delta, WALL)
    lowest.retire(f"boot-{gone}")
    watched.at(gone, Status.LEFT)
    watched.hear("a")
    watched.after(watched.retired(f"boot-{gone}"))
    assert watched.replica.seq == 0 and watched.names.get(META, "m") == b"1"


@virtual_time
async def test_a_boot_that_comes_back_is_heard_again_with_all_that_it_has():
    watched = Watched()
    watched.runs("boot-c", "it")
    for n in range(5):
        watched.others["c"].add(f"k{n}", None, table="u:", label=b"it")
    watched.hear("c")
    watched.at("c", Status.DEAD)
    watched.names.claim("it", 2, "m:T", Life(1, "s"))
    assert watched.after(watched.retired("boot-c")) == RETIRE_DEAD_AFTER + CARRIED_WITHIN
    watched.hear("c")
    assert watched.replica.known("boot-c") == 0
    watched.at("c", Status.ALIVE)
    watched.retiring.look(watched.view)
    assert "boot-c" not in watched.replica.retired
    watched.hear("c")
    assert len(watched.replica.claims_of("boot-c", "u:")) == 5
    assert {claim.boot for claim in watched.names.visible("it")} == {"boot-b", "boot-c"}


@virtual_time
async def test_the_rows_of_a_retired_boot_are_taken_apart_piece_by_piece():
    watched = Watched()
    keys = [f"k{n}" for n in range(20_000)]
    for start in range(0, len(keys), 4000):
        watched.others["c"].add_all(keys[start : start + 4000], table="u:", label=b"p")
    watched.hear("c")
    watched.at("c", Status.LEFT)
    watched.after(watched.retired("boot-c"))
    dots = watched.replica.index("u:").dots
    left = [len(dots)]
    while dots:
        assert watched.replica.claims(keys[-1], "u:") == []
        await turns(1)
        left.append(len(dots))
    steps = [before - after for before, after in pairwise(left)]
    assert 0 < max(steps) <= 4096 and len(left) >= 5
    await turns()
    assert watched.replica.size == 0


@virtual_time
async def test_a_node_that_has_left_itself_goes_on_looking():
    watched = Watched()
    for name in "abc0":
        watched.at(name, Status.LEFT)
    watched.others["c"].add("k", None, table="u:", label=b"p")
    watched.hear("c")
    assert watched.after(watched.retired("boot-c")) == RETIRE_AFTER
