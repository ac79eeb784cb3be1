"""The simulated cluster as its users hold it: machines, paths, clocks, and looking inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.errors import ConfigError
from pyhorde.testing import Conditions, SimCluster, Violation
from pyhorde.testing import cluster as sim_cluster
from pyhorde.testing.machines import EPOCH_START, SimWorld
from tests.unit.testing.cast import Counter, play


def wall(cluster: SimCluster, name: str) -> float:
    return SimWorld(cluster.loop, cluster.network, cluster.machines[name]).wall()


# ---- machines ------------------------------------------------------------------------------------


def test_the_example_in_its_description_runs():
    async def story(cluster: SimCluster) -> None:
        visits = await cluster.start_child(Counter, "visits")
        assert await visits.increment() == 1
        cluster.crash(cluster.owner("visits"))
        assert await visits.increment() == 2
        await cluster.settle()

    play(story)


def test_machines_may_have_names_of_their_own():
    async def story(cluster: SimCluster) -> set[str]:
        await cluster.start_all()
        return set(cluster.live)

    assert SimCluster.run(story, nodes=["left", "right"]) == {"left", "right"}


@pytest.mark.parametrize("datagrams", [True, False])
def test_whether_datagrams_get_through_can_be_settled(datagrams: bool):
    clusters = [SimCluster(seed=seed, datagrams=datagrams) for seed in range(20)]
    assert {cluster.network.packets.get_through for cluster in clusters} == {datagrams}
    drawn = {SimCluster(seed=seed).network.packets.get_through for seed in range(20)}
    assert drawn == {True, False}


def test_a_machine_runs_one_node_at_a_time():
    async def story(cluster: SimCluster) -> None:
        with pytest.raises(RuntimeError, match="runs on 'a' already"):
            await cluster.start("a")

    play(story, nodes=2)


def test_each_boot_is_a_new_one_on_the_same_address():
    async def story(cluster: SimCluster) -> None:
        before = cluster.node("a").view.me
        cluster.crash("a")
        assert "a" not in cluster.live
        with pytest.raises(LookupError, match="no node runs on 'a'"):
            cluster.node("a")
        after = (await cluster.restart("a")).view.me
        assert (before.name, before.address) == (after.name, after.address)
        assert before.boot != after.boot
        assert before.generation < after.generation

    play(story, nodes=2)


def test_what_is_no_machine_is_named_along_with_those_there_are():
    async def story(cluster: SimCluster) -> None:
        with pytest.raises(LookupError, match="no machine 'z'; there are a, b"):
            cluster.crash("z")

    play(story, nodes=2)


def test_a_start_that_a_crash_ends_says_so():
    async def story(cluster: SimCluster) -> None:
        cluster.crash("a")
        starting = asyncio.ensure_future(cluster.restart("a"))
        await asyncio.sleep(0)
        cluster.crash("a")
        with pytest.raises(ConnectionResetError, match="'a' was crashed before it was ready"):
            await starting
        await cluster.restart("a")
        await cluster.settle()

    play(story, nodes=2)


def test_a_start_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: SimCluster) -> None:
        cluster.crash("a")
        monkeypatch.setattr(sim_cluster, "START_LIMIT", 0.0001)
        with pytest.raises(TimeoutError, match="'a' was not ready within"):
            await cluster.restart("a")

    play(story, nodes=2)


def test_a_start_that_fails_says_why():
    async def story(cluster: SimCluster) -> None:
        cluster.crash("a")
        cluster.network.listen("a", "other", "a:7411", lambda _: None)
        with pytest.raises(ConfigError, match="in use"):
            await cluster.restart("a")

    play(story, nodes=2)


def test_a_drain_that_a_crash_ends_has_no_result():
    async def story(cluster: SimCluster) -> None:
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        home = cluster.owner("it")
        draining = asyncio.ensure_future(cluster.drain(home))
        await asyncio.sleep(0)
        cluster.crash(home)
        assert await draining is None
        await cluster.settle()
        assert cluster.owner("it") != home

    play(story)


def test_work_on_a_machine_ends_with_it():
    async def story(cluster: SimCluster) -> None:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append("finally")

        working = asyncio.ensure_future(cluster.on("a", work()))
        await asyncio.sleep(1)
        cluster.crash("a")
        with pytest.raises(ConnectionResetError, match="'a' crashed"):
            await working
        assert ended == []
        working = asyncio.ensure_future(cluster.on("b", work()))
        await asyncio.sleep(1)
        working.cancel()
        await asyncio.wait([working])
        await asyncio.sleep(0)
        assert ended == ["finally"], "who gives up waiting ends the work"

    play(story, nodes=2)


def test_a_strike_that_was_prepared_can_be_taken_back():
    async def story(cluster: SimCluster) -> None:
        for names in (["a"], [None]):
            cluster.arm("a", 1)
            cluster.disarm(*names)
            await cluster.on("a", asyncio.sleep(1))
        assert "a" in cluster.live
        cluster.arm("a", 1)
        with pytest.raises(ConnectionResetError):
            await cluster.on("a", asyncio.sleep(1))

    play(story, nodes=2)


def test_wall_clocks_jump_and_drift_one_by_one():
    async def story(cluster: SimCluster) -> None:
        now = cluster.loop.time()
        assert wall(cluster, "a") == wall(cluster, "b") == EPOCH_START + now
        cluster.jump_clock("a", 300)
        cluster.jump_clock("a", -100)
        cluster.drift_clock("b", 0.5)
        assert wall(cluster, "a") == EPOCH_START + now + 200
        before = wall(cluster, "b")
        await asyncio.sleep(10)
        assert wall(cluster, "b") - before == pytest.approx(15)

    play(story, nodes=2)


# ---- paths ---------------------------------------------------------------------------------------


def reach(cluster: SimCluster) -> dict[str, str]:
    """Whom each machine reaches."""
    names = list(cluster.machines)
    passes = cluster.network.passes
    return {a: "".join(b for b in names if a != b and passes(a, b)) for a in names}


def test_paths_are_cut_in_every_shape_and_heal():
    async def story(cluster: SimCluster) -> None:
        everybody = reach(cluster)
        assert everybody == {"a": "bcd", "b": "acd", "c": "abd", "d": "abc"}
        for cut, left in (
            (lambda: cluster.partition("ab", "cd"), {"a": "b", "b": "a", "c": "d", "d": "c"}),
            (lambda: cluster.partition("a", "b"), {"a": "cd", "b": "cd", "c": "abd", "d": "abc"}),
            (lambda: cluster.bridge("a", "bc"), {"a": "d", "b": "cd", "c": "bd", "d": "abc"}),
            (cluster.ring, {"a": "bd", "b": "ac", "c": "bd", "d": "ac"}),
            (lambda: cluster.isolate("a", "b"), {"a": "", "b": "", "c": "d", "d": "c"}),
            (lambda: cluster.cut("a", "b"), {"a": "cd", "b": "acd", "c": "abd", "d": "abc"}),
        ):
            cut()
            assert reach(cluster) == left
            assert not cluster.is_clear
            cluster.heal()
            assert reach(cluster) == everybody
            assert cluster.is_clear

    play(story, nodes=4)


def test_nodes_that_lost_their_link_are_apart_until_they_have_dialled_again():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        assert cluster.apart() == []
        cluster.reset("a", "b")
        await asyncio.sleep(0.0001)
        assert sorted(cluster.apart()) == ["a-b", "b-a"]
        assert await cluster.until(lambda: not cluster.apart(), 10)

    play(story)


def test_conditions_are_for_all_paths_or_for_some():
    async def story(cluster: SimCluster) -> None:
        good, lossy = cluster.network.is_good, Conditions(loss=0.1)
        cluster.conditions(lossy, ("a", "b"))
        assert not good("a", "b")
        assert good("b", "a")
        cluster.heal()
        cluster.conditions(lossy)
        assert not good("b", "a")

    play(story, nodes=2)


# ---- looking inside ------------------------------------------------------------------------------


def test_the_owner_of_a_name_is_where_it_really_runs():
    async def story(cluster: SimCluster) -> None:
        await cluster.start_child(Counter, "it")
        assert cluster.running() == {"it": [cluster.owner("it")]}
        with pytest.raises(LookupError, match="'nobody' runs on no machine"):
            cluster.owner("nobody")
        cluster.partition("a", "b")
        assert await cluster.until(lambda: len(cluster.running()["it"]) == 2)
        with pytest.raises(LookupError, match=r"'it' runs on \['a', 'b'\]"):
            cluster.owner("it")

    play(story, nodes=2)


def test_waiting_for_a_condition_tells_whether_it_came():
    async def story(cluster: SimCluster) -> None:
        now = cluster.loop.time()
        assert await cluster.until(lambda: cluster.loop.time() > now + 5, timeout=10)
        assert not await cluster.until(lambda: False, timeout=10)
        assert cluster.loop.time() == pytest.approx(now + 15, abs=0.2)

    play(story, nodes=2)


def test_a_cluster_that_does_not_come_to_rest_is_a_violation_that_says_why():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        cluster.crash("a", silent=True)
        with pytest.raises(Violation, match=r"not quiet, 2 s after: \(16\)"):
            await cluster.settle(2)

    play(story, nodes=2)


def test_nothing_settles_while_a_fault_lasts():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        cluster.partition("a", "b")
        with pytest.raises(RuntimeError, match=r"heal\(\) it first"):
            await cluster.settle()
        cluster.heal()
        cluster.stall("a", 30)
        with pytest.raises(RuntimeError, match="a stands still"):
            cluster.check()
        await asyncio.sleep(31)
        await cluster.settle()

    play(story, nodes=2)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda c: c.partition(["a"], ["zz"]),
        lambda c: c.cut("a", "q"),
        lambda c: c.isolate("q"),
        lambda c: c.reset("a", "q"),
        lambda c: c.conditions(Conditions(loss=0.2), ("a", "q")),
        lambda c: c.arm("q", 12),
        lambda c: c.crash("q"),
    ],
)
def test_a_machine_that_does_not_exist_is_named(mistake: Any):
    async def story(cluster: SimCluster) -> None:
        with pytest.raises(LookupError, match=r"no machine '(q|zz)'; there are a, b"):
            mistake(cluster)

    play(story, nodes=2)


def test_what_is_no_path_or_no_partition_is_refused():
    async def story(cluster: SimCluster) -> None:
        with pytest.raises(TypeError, match="a pair of machines"):
            cluster.conditions(Conditions(loss=0.2), "a", "b")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="two groups"):
            cluster.partition(["a", "b"])
        with pytest.raises(TypeError, match="plain function"):
            await cluster.until(cluster.loop.create_future)

    play(story, nodes=2)


def test_a_task_of_the_test_that_fails_unheard_fails_the_test():
    async def fails() -> None:
        raise ValueError("unheard")

    async def story() -> None:
        async with SimCluster(nodes=1) as cluster:
            cluster.kept = asyncio.create_task(fails())  # type: ignore[attr-defined]
            await asyncio.sleep(1)

    with pytest.raises(Violation, match=r"the test's own .* failed: ValueError"):
        asyncio.run(story())


def test_the_day_so_far_can_be_read():
    async def story(cluster: SimCluster) -> None:
        await asyncio.sleep(2)
        cluster.crash("a")
        cluster.cut("a", "b")
        said = "\n".join(cluster.history)
        assert "s  crash a" in said
        assert "cut a>b" in said

    play(story, nodes=2)


def test_a_bad_day_goes_on_for_as_long_as_it_is_to_last():
    async def story(cluster: SimCluster) -> None:
        before = len(cluster.history)
        begun = cluster.loop.time()
        await cluster.bad_day(600, kinds=["stall"])
        assert 599 < cluster.loop.time() - begun < 660
        assert sum("stall" in line for line in cluster.history[before:]) >= 6

    play(story, nodes=2)


def test_the_result_of_a_story_is_returned_and_its_loop_closed():
    async def story(cluster: SimCluster) -> SimCluster:
        return cluster

    cluster = SimCluster.run(story, nodes=1)
    assert cluster.loop.is_closed()


def test_a_cluster_can_be_entered_once():
    async def story() -> None:
        cluster = SimCluster(nodes=1)
        async with cluster:
            pass
        with pytest.raises(RuntimeError, match="can be used once"):
            async with cluster:
                pass

    asyncio.run(story())


def test_what_happens_in_virtual_time_is_refused_outside_of_it():
    async def story() -> None:
        async with SimCluster(nodes=1, processes=[Counter]) as cluster:
            ref = await cluster.start_child(Counter, "it")
        for work in (ref.increment(), cluster.settle(), cluster.start("a"), cluster.stop("it")):
            with pytest.raises(RuntimeError, match="inside `async with cluster`"):
                await work

    asyncio.run(story())
