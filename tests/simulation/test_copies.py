"""What is saved of a process outlives those that could not save it again."""

import asyncio
from typing import Any, ClassVar

from pyhorde.errors import HordeError
from pyhorde.runtime.process import Process, call
from pyhorde.testing import SimCluster


class Touchy(Process):
    """Cannot be saved while it is told to be in trouble."""

    durability = "replicated"
    trouble: ClassVar[bool] = False

    def __init__(self) -> None:
        self.state = 0

    @call
    async def add(self, by: int) -> int:
        self.state += by
        return int(self.state)

    def dump(self) -> Any:
        if self.trouble:
            raise OSError("no room")
        return self.state


async def owner_of(cluster: SimCluster, name: str) -> str:
    await cluster.settle()
    return cluster.running()[name][0]


async def call_through(cluster: SimCluster, by: int) -> Any:
    machine = min(cluster.live)
    return await cluster.on(machine, cluster.node(machine).router.call("it", "add", [by], {}))


async def a_successor_that_cannot_save(cluster: SimCluster) -> None:
    await cluster.start_all()
    await cluster.on("a", cluster.node("a").start_child(Touchy, "it"))
    assert await call_through(cluster, 5) == 5
    Touchy.trouble = True
    cluster.crash(await owner_of(cluster, "it"))
    successor = await owner_of(cluster, "it")
    assert cluster.node(successor).names.copies("it"), "the only copy is gone"
    Touchy.trouble = False
    cluster.crash(successor)
    await owner_of(cluster, "it")
    assert await call_through(cluster, 1) == 6


def test_a_copy_is_kept_until_its_successor_has_saved_its_own():
    try:
        SimCluster.run(a_successor_that_cannot_save, nodes=3, seed=1, processes=[Touchy])
    finally:
        Touchy.trouble = False


async def a_drain_right_after_a_heal(cluster: SimCluster) -> None:
    """The owner of one side hands over before it has met the owner of the other side."""
    await cluster.start_all()
    await cluster.on("a", cluster.node("a").start_child(Kept, "it"))
    home = await owner_of(cluster, "it")
    others = [m for m in cluster.machines if m != home]
    cluster.partition([home, others[0]], [others[1]])
    assert await cluster.until(lambda: len(cluster.running().get("it", [])) == 2)
    for machine, entry in ((home, "here"), (others[1], "there")):
        node = cluster.node(machine)
        await cluster.on(machine, node.router.call("it", "keep", [entry], {}))
    cluster.heal()
    await cluster.drain(home)
    await cluster.settle()
    machine = min(cluster.live)
    kept = await cluster.on(machine, cluster.node(machine).router.call("it", "kept", [], {}))
    assert sorted(kept) == ["here", "there"]


class Kept(Process):
    """A set; a merge keeps what either side had. Cannot be saved while it is in trouble."""

    durability = "replicated"
    trouble: ClassVar[bool] = False

    def __init__(self) -> None:
        self.state: set[str] = set()

    @call
    async def keep(self, entry: str) -> None:
        self.state.add(entry)

    @call
    async def kept(self) -> list[str]:
        return sorted(self.state)

    async def merge(self, other: Any) -> None:
        self.state |= other.state

    def dump(self) -> Any:
        if self.trouble:
            raise OSError("no room")
        return self.state


async def a_loser_that_cannot_give_its_state(cluster: SimCluster) -> None:
    await cluster.start_all()
    await cluster.on("a", cluster.node("a").start_child(Kept, "it"))
    home = await owner_of(cluster, "it")
    others = [m for m in cluster.machines if m != home]
    cluster.partition([home], others)
    assert await cluster.until(lambda: len(cluster.running().get("it", [])) == 2)
    for machine, entry in ((home, "here"), (others[0], "there")):
        node = cluster.node(machine)
        await cluster.on(machine, node.router.call("it", "keep", [entry], {}))
    Kept.trouble = True
    cluster.heal()
    assert await cluster.until(lambda: not cluster.apart())
    await asyncio.sleep(3)
    Kept.trouble = False
    await cluster.settle()
    await asyncio.sleep(5)
    await cluster.settle()
    machine = min(cluster.live)
    kept = await cluster.on(machine, cluster.node(machine).router.call("it", "kept", [], {}))
    assert sorted(kept) == ["here", "there"]


def test_what_a_loser_saved_is_taken_in_when_it_cannot_give_its_state_itself():
    try:
        SimCluster.run(a_loser_that_cannot_give_its_state, nodes=3, seed=1, processes=[Kept])
    finally:
        Kept.trouble = False


def test_a_drain_right_after_a_heal_loses_nothing_of_either_side():
    for seed in range(6):
        try:
            SimCluster.run(a_drain_right_after_a_heal, nodes=3, seed=seed, processes=[Kept])
        except (AssertionError, HordeError) as error:
            error.add_note(f"seed {seed}")
            raise
