"""Whole simulated nodes: what becomes of keys and names when nodes are away for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.runtime.process import Process, call
from pyhorde.testing import SimCluster

AWAY = 70.0
"""Seconds after which each side of a cut has retired the other."""


class Room(Process):
    """Holds keys, as many as it is told to."""

    durability = "replicated"

    def __init__(self, keys: int = 0) -> None:
        self.state = {"keys": keys, "lost": []}

    async def init(self, resume: Any) -> None:
        if resume is not None and resume.state is not None:
            self.state = resume.state
        keys = [f"{self.name}/{n}" for n in range(self.state["keys"])]
        await self.node.registry.register_many(keys, self)

    async def handle_info(self, message: Any) -> None:
        self.state["lost"].append(message)

    @call
    async def place(self) -> str:
        return self.node.name

    @call
    async def lost(self) -> list[Any]:
        return list(self.state["lost"])


def name_on(cluster: SimCluster, machine: str, prefix: str) -> str:
    """A name that placement puts there."""
    node = cluster.node(machine)
    type_name = node.offers.name_of(Room)
    names = (f"{prefix}{n}" for n in range(10_000))
    return next(name for name in names if node._parts.home(name, type_name) == machine)


async def start(cluster: SimCluster, machine: str, prefix: str, keys: int = 0) -> str:
    name = name_on(cluster, machine, prefix)
    await cluster.on(machine, cluster.node(machine).start_child(Room, name, keys))
    return name


def retired(cluster: SimCluster, machine: str) -> set[str]:
    """Machines whose boots this one has retired."""
    boots = {node.view.me.boot: name for name, node in cluster.live.items()}
    gone = cluster.node(machine)._replica.retired
    return {boots[boot] for boot in gone if boot in boots}


async def a_long_cut(cluster: SimCluster) -> None:
    await cluster.start_all()
    names = [await start(cluster, machine, f"{machine}-", 50) for machine in "abcde"]
    await cluster.settle()
    sizes = {node.registry.count() for node in cluster.live.values()}
    assert sizes == {5 * 51}
    cluster.partition(["a", "b"], ["c", "d", "e"])
    await asyncio.sleep(AWAY + 20)
    assert retired(cluster, "a") == {"c", "d", "e"} and retired(cluster, "e") == {"a", "b"}
    for node in cluster.live.values():
        assert node.registry.count() == 5 * 51, "each side runs everything by now"
    cluster.heal()
    await cluster.settle()
    await asyncio.sleep(5)
    await cluster.settle()
    for machine, node in cluster.live.items():
        assert retired(cluster, machine) == set()
        assert node.registry.count() == 5 * 51
        assert node.names.orphans == {}
        for name in names:
            assert len(cluster.running()[name]) == 1
            assert node.names.owner(name).node == cluster.running()[name][0]
            expected = [name, *sorted(f"{name}/{n}" for n in range(50))]
            assert node.registry.keys(name) == expected
        assert node.registry._table.contested() == []
    for name in names:
        place = await cluster.on("a", cluster.node("a").ref(f"{name}/7", Room).place())
        assert place == cluster.running()[name][0]
        assert await cluster.on("a", cluster.node("a").ref(name, Room).lost()) == []


@pytest.mark.parametrize("seed", range(3))
def test_both_sides_of_a_long_cut_get_everything_back(seed: int):
    SimCluster.run(a_long_cut, nodes=5, seed=seed, processes=[Room])


async def an_unheard_link(cluster: SimCluster) -> None:
    """Keys of processes that run all the while, on a node that some others cannot hear."""
    await cluster.start_all()
    name = await start(cluster, "c", "c-", 200)
    await cluster.settle()
    cluster.partition(["a"], ["b", "c"])
    await asyncio.sleep(AWAY)
    cluster.node("c").registry.register("late", 1, name)
    cluster.heal()
    await cluster.settle()
    await asyncio.sleep(5)
    for node in cluster.live.values():
        assert len(node.registry.select(f"{name}/")) == 200


def test_a_node_that_is_unheard_for_long_keeps_what_it_holds():
    SimCluster.run(an_unheard_link, nodes=3, seed=1, processes=[Room])


async def a_short_cut(cluster: SimCluster) -> None:
    await cluster.start_all()
    names = [await start(cluster, machine, f"{machine}-", 20) for machine in "abc"]
    await cluster.settle()
    for _ in range(3):
        cluster.partition(["a"], ["b", "c"])
        assert await cluster.until(
            lambda: not cluster.node("b").view.is_present(cluster.node("a").view.me.boot)
        )
        cluster.heal()
        await cluster.settle()
        await asyncio.sleep(3)
        for node in cluster.live.values():
            assert node.registry.count() == 3 * 21
            assert all(node.names.owner(name) is not None for name in names)


def test_nodes_that_go_and_come_empty_no_registry():
    SimCluster.run(a_short_cut, nodes=3, seed=2, processes=[Room])


async def contested_keys(cluster: SimCluster) -> None:
    """The same keys are registered on both sides of a split."""
    await cluster.start_all()
    cluster.partition(["a", "b"], ["c"])
    sides = {"a": 2, "b": 2, "c": 1}
    assert await cluster.until(
        lambda: {name: len(n.view.present) for name, n in cluster.live.items()} == sides
    )
    one, third, two = [await start(cluster, machine, f"{machine}-") for machine in "abc"]
    keys = [f"seat/{n}" for n in range(1000)]
    await cluster.on("a", cluster.node("a").registry.register_many(keys[:600], one))
    await cluster.on("b", cluster.node("b").registry.register_many(keys[600:], third))
    await cluster.on("c", cluster.node("c").registry.register_many(keys, two))
    cluster.heal()
    await cluster.settle()
    await asyncio.sleep(8)
    await cluster.settle()
    held = [
        [(entry.key, entry.process) for entry in node.registry.select("seat/")]
        for node in cluster.live.values()
    ]
    assert [key for key, _ in held[0]] == sorted(keys) and held.count(held[0]) == 3
    holders = dict(held[0])
    for name, machine in ((one, "a"), (third, "b"), (two, "c")):
        if cluster.running()[name] != [machine]:
            continue  # the other side took it over before it met this one, and won
        messages = await cluster.on("a", cluster.node("a").ref(name, Room).lost())
        lost = {message[1] for message in messages}
        assert len(lost) == len(messages)
        had = {two: set(keys), one: set(keys[:600]), third: set(keys[600:])}[name]
        assert lost == {key for key in had if holders[key] != name}
        for node in cluster.live.values():
            assert node.registry._table.contested() == []


@pytest.mark.parametrize("seed", range(4))
def test_of_keys_held_on_both_sides_one_stays_and_its_loser_is_told(seed: int):
    SimCluster.run(contested_keys, nodes=3, seed=seed, processes=[Room])
