"""A node whose event loop stands still: stalled, not dead, for fifteen seconds.

Without a word for it such a node would be dead after four to nine seconds: everything that runs on
it would be started a second time, and would have to be merged when it wakes.
"""

import asyncio

import pytest

from pyhorde.cluster.member import Status
from pyhorde.errors import CallTimeout
from pyhorde.testing import SimCluster
from tests.simulation.stories import Notes, Witness, ask, begin, epochs, places, statuses

SEEDS = range(20)


@pytest.mark.parametrize("datagrams", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_sleeps_for_eight_seconds_is_stalled_and_nothing_moves(
    seed: int, datagrams: bool
):
    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        at = await places(cluster, 6)
        await cluster.settle()
        sleeper, before = cluster.owner("n0"), epochs(cluster)
        witness = Witness(cluster)
        others = [name for name in cluster.machines if name != sleeper]

        cluster.stall(sleeper, 8)
        awake = cluster.loop.time() + 8
        await asyncio.sleep(3)
        assert set(statuses(cluster, sleeper).values()) == {Status.STALLED}, witness
        for name in others:
            assert 0 < cluster.node(name).cluster_parts.age(sleeper) < 3
        while cluster.loop.time() < awake - 0.5:
            for name, home in at.items():
                if home != sleeper:
                    await ask(cluster, others[0], name, "keep", "meanwhile")
            await asyncio.sleep(0.2)
        await asyncio.sleep(awake - cluster.loop.time() + 1)

        assert set(statuses(cluster, sleeper).values()) == {Status.ALIVE}, witness
        assert not list(witness.of(sleeper, Status.DEAD)), witness
        assert witness.doubts(but=sleeper) == [], witness
        await cluster.settle()
        assert {name: cluster.owner(name) for name in at} == at
        assert epochs(cluster) == before

    SimCluster.run(story, nodes=3, seed=seed, processes=[Notes], datagrams=datagrams)


async def overslept(cluster: SimCluster, early: float) -> list[str]:
    """A node sleeps for 20 s; its processes go on elsewhere, and get a new entry there.

    Returns those that, asked through the sleeper from ``early`` seconds after it woke on, answered
    without that entry.
    """
    await cluster.start_all()
    await places(cluster, 4)
    await cluster.settle()
    sleeper, before = cluster.owner("n0"), epochs(cluster)
    lost = [name for name, homes in cluster.running().items() if homes == [sleeper]]
    witness = Witness(cluster)
    other = next(name for name in cluster.machines if name != sleeper)

    cluster.stall(sleeper, 20)
    awake = cluster.loop.time() + 20
    assert await cluster.until(lambda: list(witness.of(sleeper, Status.DEAD)), 19)
    assert 13 < witness.now < 16.5, witness
    await asyncio.sleep(1)
    for name in lost:
        await ask(cluster, other, name, "keep", "new")
    assert epochs(cluster, sleeper) == {n: before[n] + (n in lost) for n in before}, witness

    async def look(name: str, at: float) -> str:
        await asyncio.sleep(at - cluster.loop.time())
        return "" if "new" in await ask(cluster, sleeper, name, "keep", "late") else name

    moments = [(name, awake + early + 0.05 * n) for n in range(20) for name in lost]
    stale = {*await asyncio.gather(*(look(*moment) for moment in moments))} - {""}

    await asyncio.sleep(awake + 5 - cluster.loop.time())
    assert not cluster.unrest()
    assert set(statuses(cluster, sleeper).values()) == {Status.ALIVE}, witness
    assert witness.doubts(but=sleeper) == [], witness
    # Once for the new owner, and once more as it takes in what the sleeper still held.
    assert epochs(cluster) == {n: before[n] + 2 * (n in lost) for n in before}, witness
    for name in lost:
        assert await ask(cluster, sleeper, name, "kept") == ["late", "new"]
    await cluster.settle()
    return sorted(stale)


@pytest.mark.parametrize("datagrams", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_node_that_sleeps_for_twenty_seconds_is_replaced_once_and_says_nothing_stale(
    seed: int, datagrams: bool
):
    """Were the bound not kept, callers would wait for it as long as it sleeps."""

    async def story(cluster: SimCluster) -> None:
        assert await overslept(cluster, early=0.02) == []

    SimCluster.run(story, nodes=4, seed=seed, processes=[Notes], datagrams=datagrams)


def test_a_call_that_waited_for_the_sleeper_is_answered_by_the_new_owner():
    """What came while it slept it sees before it hears that it was taken for dead."""

    async def story(cluster: SimCluster) -> None:
        assert await overslept(cluster, early=-0.01) == []

    SimCluster.run(story, nodes=4, seed=0, processes=[Notes])


async def stalled(cluster: SimCluster) -> tuple[str, Witness]:
    """A node that its peers see stalled; it would sleep for another minute."""
    await cluster.start_all()
    await begin(cluster, "a", "it")
    await cluster.settle()
    sleeper = cluster.owner("it")
    witness = Witness(cluster)
    cluster.stall(sleeper, 60)
    assert await cluster.until(lambda: {*statuses(cluster, sleeper).values()} == {Status.STALLED})
    await asyncio.sleep(1)
    return sleeper, witness


async def dead_after(cluster: SimCluster, sleeper: str) -> float:
    """Seconds until all see that the node is dead."""
    since = cluster.loop.time()
    assert await cluster.until(lambda: {*statuses(cluster, sleeper).values()} == {Status.DEAD}, 30)
    return cluster.loop.time() - since


@pytest.mark.parametrize("nodes", [2, 4])
def test_a_machine_that_loses_power_while_its_node_is_stalled_is_dead_by_the_usual_time(nodes: int):
    """Its node was silent before: it must not get the whole bound of a stall on top."""

    async def story(cluster: SimCluster) -> None:
        sleeper, witness = await stalled(cluster)
        cluster.crash(sleeper, silent=True)
        assert await dead_after(cluster, sleeper) < 6, witness
        await cluster.settle()

    for seed in range(6):
        SimCluster.run(story, nodes=nodes, seed=seed, processes=[Notes])


@pytest.mark.parametrize("nodes", [2, 4])
def test_a_node_that_is_killed_while_it_is_stalled_is_dead_at_once(nodes: int):
    """A refused dial says more than a machine that lives."""

    async def story(cluster: SimCluster) -> None:
        sleeper, witness = await stalled(cluster)
        cluster.crash(sleeper)
        assert await dead_after(cluster, sleeper) < 0.5, witness
        await cluster.settle()

    for seed in range(6):
        SimCluster.run(story, nodes=nodes, seed=seed, processes=[Notes])


def test_a_process_elsewhere_can_be_stopped_while_a_node_sleeps():
    """What a sleeper does not know it hears before it can do harm with it."""

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        at = await places(cluster, 6)
        await cluster.settle()
        name = next(name for name, home in at.items() if home != "a")
        cluster.stall("a", 14)
        await cluster.outside.stop_through("b", name)

    SimCluster.run(story, nodes=3, processes=[Notes])


def test_the_only_other_node_does_not_answer_alone_while_its_peer_sleeps():
    """An answer is given when it is safe on another node; one that sleeps may yet wake up, so it is
    no reason to be content with less. The change is there once the sleeper is awake."""

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        at = await places(cluster, 6)
        await cluster.settle()
        name = next(name for name, home in at.items() if home == "b")
        cluster.stall("a", 12)
        await asyncio.sleep(4)
        with pytest.raises(CallTimeout):
            await ask(cluster, "b", name, "keep", "meanwhile")
        await asyncio.sleep(8)
        assert await ask(cluster, "b", name, "keep", "later") == ["later", "meanwhile"]

    SimCluster.run(story, nodes=2, processes=[Notes])
