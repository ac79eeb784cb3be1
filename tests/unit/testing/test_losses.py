"""Which crashes no promise covers."""

from __future__ import annotations

import asyncio

from pyhorde.testing import SimCluster
from pyhorde.testing.losses import Losses
from tests.unit.testing.cast import Counter, play


def test_in_a_quiet_cluster_any_machine_may_be_lost():
    async def story(cluster: SimCluster) -> None:
        losses = Losses(cluster)
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        assert all(losses.may_crash(name) for name in cluster.machines)

    play(story)


def test_a_machine_that_is_down_or_the_last_one_may_not_be_lost():
    async def story(cluster: SimCluster) -> None:
        losses = Losses(cluster)
        await cluster.settle()
        cluster.crash("a")
        assert not losses.may_crash("a")
        assert not losses.may_crash("b")
        assert not losses.may_leave("b")

    play(story, nodes=2)


def test_a_lonely_node_may_not_be_lost_before_the_others_have_what_it_acknowledged():
    async def story(cluster: SimCluster) -> None:
        losses = Losses(cluster)
        ref = await cluster.start_child(Counter, "it")
        await cluster.settle()
        cluster.isolate("a")
        assert await cluster.until(lambda: not cluster.node("a").view.others)
        node = cluster.node("a")
        assert await cluster.until(lambda: "a" in cluster.running().get("it", []))
        await cluster.on("a", node.router.call("it", "increment", [], {}))
        await asyncio.sleep(1)
        assert not losses.may_crash("a")
        assert not losses.may_leave("a")
        assert losses.may_crash("b")
        cluster.heal()
        assert not losses.may_crash("a"), "nothing has been exchanged yet"
        await cluster.settle()
        assert losses.may_crash("a")
        assert await ref.value() == 1

    play(story)


def test_there_is_no_second_crash_before_the_rest_has_caught_up_with_the_first():
    async def story(cluster: SimCluster) -> None:
        losses = Losses(cluster)
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        cluster.partition("ab", "c")
        await cluster.outside.call_through(
            "a", "it", "increment", [], {}, timeout=5, request_id=None
        )
        losses.crashed("a")
        cluster.crash("a")
        await asyncio.sleep(5)
        assert not losses.may_crash("b"), "c lacks what a and b knew"
        cluster.heal()
        assert await cluster.until(lambda: losses.may_crash("b"), 60)

    play(story)


def test_with_more_copies_more_machines_may_be_lost_at_once():
    async def story(cluster: SimCluster) -> None:
        losses = Losses(cluster, replicas=2)
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        cluster.partition("abd", "c")
        await cluster.on("a", cluster.node("a").router.call("it", "increment", [], {}))
        for name in "ab":
            assert losses.may_crash(name)
            losses.crashed(name)
            cluster.crash(name)
        assert not losses.may_crash("d"), "c lacks what the others knew"

    play(story, nodes=4)
