"""Each numbered check reports when it should: things are broken on purpose, behind the product."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.effects import Changed
from pyhorde.crdt import Replica
from pyhorde.errors import NameNotFound
from pyhorde.runtime.reconcile import CellPhase
from pyhorde.runtime.supervisor import Supervisor
from pyhorde.testing import SimCluster, Violation, invariants
from pyhorde.testing.conditions import Conditions
from pyhorde.testing.invariants import CALM, GRACE, HEARD_LIMIT, INVARIANTS, PATIENCE, STOP_LIMIT
from pyhorde.testing.safeguards import SAFEGUARDS
from tests.unit.testing.cast import Counter, Fleeting, play

SOON = PATIENCE + GRACE + 5


def found(cluster: SimCluster) -> set[int]:
    """The numbers of what was found so far."""
    return {int(text[1:].partition(")")[0]) for text in cluster.invariants.found}


def at_rest(cluster: SimCluster) -> set[int]:
    """The numbers of what keeps the cluster from being at rest."""
    return {int(text[1:].partition(")")[0]) for text in cluster.unrest()}


async def with_it(cluster: SimCluster) -> str:
    """One process, ``it``; returns the machine that runs it."""
    await cluster.start_child(Counter, "it")
    await cluster.settle()
    return cluster.owner("it")


def another(cluster: SimCluster, machine: str) -> str:
    return next(name for name in cluster.machines if name != machine)


def run_a_second(cluster: SimCluster, machine: str, name: str = "it") -> None:
    """A cell in place on a machine that should have none."""
    owner = cluster.node(cluster.owner("it"))._supervisor
    spec = owner.cells["it"].spec
    cluster.node(machine)._supervisor.new_cell(name, spec, CellPhase.ACTIVE)


def stop_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisor, "_reconcile", lambda _: None)


def test_every_number_has_a_test_here():
    words = [name.split("_") for name in globals() if name.startswith("test_")]
    assert {int(second) for _, second, *_ in words if second.isdigit()} == INVARIANTS.keys()


def test_nothing_is_found_in_a_cluster_that_is_well():
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        await cluster.start_child(Fleeting, "brief")
        cluster.crash(home)
        await asyncio.sleep(10)
        await cluster.restart(home)
        await cluster.drain(another(cluster, home))
        await cluster.stop("it")
        await asyncio.sleep(2 * SOON)
        await cluster.settle()
        cluster.check()
        assert cluster.invariants.found == {}
        assert cluster.invariants.looks > 50

    play(story)


# ---- names ---------------------------------------------------------------------------------------


def test_1_a_name_that_runs_twice_or_nowhere_is_no_rest():
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        other = another(cluster, home)
        run_a_second(cluster, other)
        assert at_rest(cluster) == {1}
        with pytest.raises(Violation, match=r"not at rest.*'it' runs on"):
            cluster.check()
        for machine in (home, other):
            cluster.node(machine)._supervisor.phases["it"] = CellPhase.NONE
        assert at_rest(cluster) == {1}

    play(story)


def test_2_a_process_that_nobody_wants_is_no_rest():
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        run_a_second(cluster, home, "stray")
        assert at_rest(cluster) == {2}

    play(story)


def test_2_a_promised_name_that_no_registry_knows_is_no_rest():
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        cluster.node(home).names.end("it", "behind everybody's back")
        await asyncio.sleep(2)
        assert at_rest(cluster) == {2}
        with pytest.raises(Violation, match=r"not quiet.*'it' is missing"):
            await cluster.settle(5)

    play(story)


def test_3_two_processes_of_a_name_in_an_undisturbed_side(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        stop_repairs(monkeypatch)
        run_a_second(cluster, another(cluster, home))
        await asyncio.sleep(GRACE)
        assert found(cluster) == set(), "it is given time"
        await asyncio.sleep(SOON)
        assert found(cluster) == {3}

    play(story)


def test_4_a_name_that_is_down_for_long_in_an_undisturbed_side(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        stop_repairs(monkeypatch)
        cluster.node(home)._supervisor.phases["it"] = CellPhase.NONE
        await asyncio.sleep(SOON)
        assert found(cluster) == {4}

    play(story)


def test_4_a_process_whose_own_code_fails_again_and_again_is_excused(
    monkeypatch: pytest.MonkeyPatch,
):
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        stop_repairs(monkeypatch)
        supervisor = cluster.node(home)._supervisor
        supervisor.phases["it"] = CellPhase.NONE
        supervisor.cells["it"].last_error = "its own fault"
        await asyncio.sleep(SOON)
        assert found(cluster) == set()
        assert at_rest(cluster) == set()

    play(story)


def test_5_registries_that_do_not_have_the_same_events_are_no_rest():
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        cluster.node("a")._replica.put("table", "key", b"value", 1.0)
        assert at_rest(cluster) == {5}
        assert "not all have the same events" in cluster.unrest()[0]

    play(story)


def test_5_registries_with_equal_events_and_other_contents_are_no_rest(
    monkeypatch: pytest.MonkeyPatch,
):
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        monkeypatch.setattr(Replica, "snapshot", property(lambda self: lambda: id(self)))
        assert at_rest(cluster) == {5}
        assert "other contents" in cluster.unrest()[0]

    play(story)


def test_7_a_node_that_forgets():
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        await asyncio.sleep(3)
        seen = cluster.invariants._seen[cluster.machines["a"].key]
        seen.vector = {**(seen.vector or {}), cluster.node("b").view.me.boot: 1000}
        await asyncio.sleep(3)
        assert found(cluster) == {7}

    play(story)


def test_8_a_new_owner_without_a_higher_epoch_is_no_rest():
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        await asyncio.sleep(3)
        cell = cluster.node(home)._supervisor.cells["it"]
        cell.epoch -= 1
        assert at_rest(cluster) == {8}
        cell.epoch += 1
        assert at_rest(cluster) == set()
        life, epoch, _ = cluster.invariants._owners["it"]
        cluster.invariants._owners["it"] = (life, epoch, "another boot")
        assert at_rest(cluster) == {8}, "the same epoch, and another boot"

    play(story)


def test_10_a_drain_on_a_good_day_that_hands_nothing_over(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        home = await with_it(cluster)
        stop_repairs(monkeypatch)
        await cluster.drain(home)
        assert found(cluster) == {10}

    play(story)


# ---- calls ---------------------------------------------------------------------------------------


def answering(monkeypatch: pytest.MonkeyPatch, cluster: SimCluster, answer: Any) -> None:
    """Every call through a node is answered so."""

    async def call(*_: Any, **__: Any) -> Any:
        return await answer()

    for node in cluster.live.values():
        monkeypatch.setattr(node.router, "call", call)


async def increment(cluster: SimCluster) -> Any:
    through = cluster.outside.call_through
    return await through("a", "it", "increment", [], {}, timeout=2, request_id=None)


def test_11_a_call_that_ends_with_an_error_that_is_not_documented(monkeypatch: pytest.MonkeyPatch):
    async def answer() -> None:
        raise KeyError("internal")

    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        answering(monkeypatch, cluster, answer)
        with pytest.raises(KeyError):
            await increment(cluster)
        assert found(cluster) == {11}
        assert "internal" in min(cluster.invariants.found)

    play(story)


@pytest.mark.parametrize(("seconds", "late"), [(2.1, False), (2.5, True)])
def test_11_a_call_that_ends_late(monkeypatch: pytest.MonkeyPatch, seconds: float, late: bool):
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        answering(monkeypatch, cluster, lambda: asyncio.sleep(seconds))
        await increment(cluster)
        assert found(cluster) == ({11} if late else set())

    play(story)


def test_11_lateness_of_a_machine_that_stood_still_is_excused(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        answering(monkeypatch, cluster, lambda: asyncio.sleep(1))
        calling = asyncio.ensure_future(increment(cluster))
        await asyncio.sleep(0.5)
        cluster.stall("a", 5)
        await calling
        assert found(cluster) == set()

    play(story)


def test_12_a_node_that_says_there_is_no_name_that_it_must_know(monkeypatch: pytest.MonkeyPatch):
    async def answer() -> None:
        raise NameNotFound("it")

    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        answering(monkeypatch, cluster, answer)
        with pytest.raises(NameNotFound):
            await increment(cluster)
        assert found(cluster) == {12}

    play(story)


def test_12_a_node_that_came_up_alone_need_not_know_the_name(monkeypatch: pytest.MonkeyPatch):
    async def answer() -> None:
        raise NameNotFound("it")

    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        cluster.crash("a")
        cluster.isolate("a")
        await cluster.restart("a")
        answering(monkeypatch, cluster, answer)
        with pytest.raises(NameNotFound):
            await increment(cluster)
        assert found(cluster) == set()

    play(story)


def test_14_an_ended_name_that_comes_back_is_no_rest():
    async def story(cluster: SimCluster) -> None:
        await with_it(cluster)
        await cluster.stop("it")
        await cluster.settle()
        await cluster.on("a", cluster.node("a").start_child(Counter, "it"))
        await asyncio.sleep(2)
        assert at_rest(cluster) == {14}

    play(story)


# ---- members -------------------------------------------------------------------------------------


def seen_otherwise(cluster: SimCluster, machine: str, *others: Member, **changes: Any) -> None:
    """``a`` is shown a view in which the machine is otherwise, and more members besides."""
    view = cluster.node("a").view
    members = [replace(m, **changes) if m.name == machine else m for m in view.members]
    fake: Any = SimpleNamespace(view=View(view.me, (*members, *others)))
    cluster.invariants._look_at_view(cluster.machines["a"], fake)


def test_15_an_incarnation_that_falls():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        boot = cluster.node("b").view.me.boot
        cluster.invariants._incarnations[cluster.machines["a"].key, boot] = 3
        seen_otherwise(cluster, "b", incarnation=2)
        assert any("saw b at 3, sees it lower" in text for text in cluster.invariants.found)
        assert found(cluster) == {15}

    play(story)


def test_15_an_incarnation_that_others_raise():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        own = cluster.node("b").view.me.incarnation
        seen_otherwise(cluster, "b", incarnation=own + 1)
        assert found(cluster) == {15}
        assert any("higher than itself" in text for text in cluster.invariants.found)

    play(story)


def test_16_members_of_an_undisturbed_side_that_do_not_see_each_other():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        with SAFEGUARDS["re-dial"].off():
            cluster.isolate("c")
            await asyncio.sleep(60)
            cluster.heal()
            await asyncio.sleep(SOON)
        assert found(cluster) == {16}
        assert at_rest(cluster) == {16}
        with pytest.raises(Violation, match=r"violated, first at .*\(16\)"):
            cluster.check_always()

    play(story)


def taken_for_dead(cluster: SimCluster, name: str) -> None:
    me = cluster.node(name).view.me
    cluster.invariants.changed("a", Changed(me, me.at(Status.DEAD), "a whim"))


def test_16_an_unhindered_machine_on_clear_paths_that_is_taken_for_dead():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        taken_for_dead(cluster, "b")
        assert found(cluster) == set(), "it has only just come up"
        await asyncio.sleep(CALM + 1)
        taken_for_dead(cluster, "b")
        assert found(cluster) == {16}
        assert "a takes b for dead: a whim" in min(cluster.invariants.found)

    play(story)


def test_16_who_stood_still_or_was_out_of_reach_may_be_taken_for_dead():
    async def story(cluster: SimCluster) -> None:
        await asyncio.sleep(CALM + 1)
        cluster.stall("b", 0.1)
        await asyncio.sleep(1)
        taken_for_dead(cluster, "b")
        cluster.cut("a", "c")
        await asyncio.sleep(1)
        taken_for_dead(cluster, "c")
        assert found(cluster) == set()

    play(story)


def test_17_a_node_that_left_and_is_taken_for_dead():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        boot = cluster.node("b").view.me.boot
        await cluster.drain("b")
        await asyncio.sleep(2)
        assert cluster.machines["b"].drained == [boot]
        assert found(cluster) == set()
        seen_otherwise(cluster, "b", status=Status.DEAD)
        assert found(cluster) == {17}

    play(story)


def test_18_a_view_with_two_boots_of_a_name():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        other = replace(cluster.node("b").view.me, boot="another")
        seen_otherwise(cluster, "b", other)
        assert found(cluster) == {18}

    play(story)


# ---- storms and tasks ----------------------------------------------------------------------------


def test_23_a_storm(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        monkeypatch.setattr(invariants, "STORM", 2000)
        await asyncio.sleep(2)
        assert found(cluster) == set()
        for _ in range(2500):
            await asyncio.sleep(0.0001)
        await asyncio.sleep(1)
        assert found(cluster) == {23}

    play(story)


async def fails() -> None:
    raise ArithmeticError("unheard")


def test_25_a_callback_that_fails():
    async def story(cluster: SimCluster) -> None:
        cluster.loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        assert found(cluster) == {25}

    play(story)


def test_25_a_task_that_fails_unheard():
    async def story(cluster: SimCluster) -> None:
        cluster.loop.run_as(cluster.machines["a"].key, fails())  # nobody keeps the task
        await asyncio.sleep(HEARD_LIMIT + 1)
        with pytest.raises(Violation, match="unheard"):
            cluster.check_always()

    play(story)


def test_25_a_task_whose_failure_is_heard_is_none():
    async def story(cluster: SimCluster) -> None:
        with pytest.raises(ArithmeticError):
            await cluster.on("a", fails())
        await asyncio.sleep(HEARD_LIMIT + 1)
        cluster.check_always()

    play(story)


def test_25_a_task_that_outlives_its_node():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        forgotten = cluster.loop.run_as(cluster.machines["b"].key, asyncio.sleep(100))
        forgotten.set_name("forgotten")
        await cluster.drain("b")
        await asyncio.sleep(STOP_LIMIT - 1)
        assert found(cluster) == set()
        await asyncio.sleep(2)
        assert found(cluster) == {25}
        assert "'forgotten'" in min(cluster.invariants.found)

    play(story)


# ---- sides ---------------------------------------------------------------------------------------


def test_the_sides_of_a_divided_cluster_are_those_that_reach_each_other():
    async def story(cluster: SimCluster) -> None:
        sides = cluster.invariants.sides
        assert sides() == [["a", "b", "c", "d"]]
        cluster.partition("ab", "cd")
        assert sides() == [["a", "b"], ["c", "d"]]
        cluster.heal()
        cluster.isolate("c")
        assert sides() == [["a", "b", "d"], ["c"]]
        cluster.heal()
        cluster.bridge("a", "bc")
        assert sides() == []
        cluster.heal()
        cluster.cut("a", "b")
        assert sides() == []

    play(story, nodes=4)


def test_a_side_needs_good_paths_and_machines_that_run():
    async def story(cluster: SimCluster) -> None:
        sides = cluster.invariants.sides
        cluster.crash("d")
        assert sides() == [["a", "b", "c"]]
        cluster.conditions(Conditions(loss=0.1), ("a", "b"))
        assert sides() == []
        cluster.heal()
        cluster.stall("c", 10)
        assert sides() == []
        cluster.isolate("c")
        assert sides() == [["a", "b"]]

    play(story, nodes=4)


def test_a_group_with_a_slow_machine_is_no_side():
    async def story(cluster: SimCluster) -> None:
        cluster.slow("c", 0.03)
        assert cluster.invariants.sides() == []
        cluster.isolate("c")
        assert cluster.invariants.sides() == [["a", "b"]]

    play(story)


def test_a_cluster_is_undisturbed_since_the_last_change():
    async def story(cluster: SimCluster) -> None:
        undisturbed = cluster.invariants.undisturbed
        await asyncio.sleep(5)
        for disturb in (
            lambda: cluster.cut("a", "b"),
            cluster.heal,
            lambda: cluster.crash("c"),
            lambda: cluster.stall("a", 2),
        ):
            disturb()
            assert undisturbed() == 0
            await asyncio.sleep(1)
            assert undisturbed() == 1
        await asyncio.sleep(2)
        assert undisturbed() < 2, "the end of a stall is a change"

    play(story)


def test_a_violation_says_what_when_and_why():
    error = Violation("not quiet", "60 s after", ["one", "two"])
    assert str(error) == "not quiet, 60 s after: one; two"
    assert error.problems == ("one", "two")
