"""A node that is back under its name before anybody could bury it."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from pyhorde.cluster.member import Status
from pyhorde.testing import SimCluster
from pyhorde.testing.wiring import PORT
from tests.simulation.stories import Notes, Witness, ask, places

ROUNDS = 50


async def rounds(cluster: SimCluster, back: Callable[[int], Awaitable[object]]) -> None:
    """Crash ``a``, and start it again 200 ms later, so many times; names must not mind."""
    await cluster.start_all()
    at = await places(cluster, 5)
    await cluster.settle()
    witness = Witness(cluster)
    boots = [cluster.node("a").view.me.boot]
    for number in range(ROUNDS):
        cluster.crash("a")
        await asyncio.sleep(0.2)
        since = cluster.loop.time()
        await back(number)
        witness.follow("a")
        boots.append(cluster.node("a").view.me.boot)

        def accepted() -> bool:
            seen = [node.view.by_name["a"] for node in cluster.live.values()]
            return all(m.boot == boots[-1] and m.status is Status.ALIVE for m in seen)

        assert await cluster.until(accepted, 2), (number, cluster.loop.time() - since, witness)
        await ask(cluster, "b", f"n{number % 5}", "keep", str(number))

    for by in cluster.machines:
        order = [boots.index(seen.boot) for seen in witness.of("a") if seen.by == by]
        assert all(one <= two for one, two in pairwise(order)), witness
    assert witness.doubts(but="a") == [], witness
    await cluster.settle()
    for number, name in enumerate(at):
        said = {str(n) for n in range(number, ROUNDS, 5)}
        assert set(await ask(cluster, "c", name, "kept")) == said


@pytest.mark.parametrize("seed", range(3))
def test_a_new_boot_takes_the_place_of_the_old_one_at_once(seed: int):
    """Taken for the old one, it would be blamed for its silence, and get what was meant for it."""

    async def story(cluster: SimCluster) -> None:
        await rounds(cluster, lambda _: cluster.restart("a"))

    SimCluster.run(story, nodes=3, seed=seed, processes=[Notes])


@pytest.mark.parametrize("seed", range(3))
def test_it_may_come_back_at_another_address(seed: int):
    """As a pod does: the old address answers nobody any more, and says nothing of the new boot."""

    async def story(cluster: SimCluster) -> None:
        await rounds(cluster, lambda number: cluster.restart("a", PORT + number % 2))

    SimCluster.run(story, nodes=3, seed=seed, processes=[Notes])


@pytest.mark.parametrize("seed", range(3))
def test_it_may_come_back_with_a_clock_that_is_slow(seed: int):
    """Its boots are told apart by time: it would be taken for one that is long dead."""

    async def back(cluster: SimCluster) -> None:
        cluster.jump_clock("a", -60)
        await cluster.restart("a")

    async def story(cluster: SimCluster) -> None:
        await rounds(cluster, lambda _: back(cluster))

    SimCluster.run(story, nodes=3, seed=seed, processes=[Notes])
