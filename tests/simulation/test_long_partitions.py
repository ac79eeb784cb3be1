"""Two and three of five nodes do not reach each other, for ten minutes or for a day, and then do.

Nodes that gave up on each other would stay two clusters for ever; ones that had forgotten what the
others may still claim would take an old claim for a new one.
"""

import asyncio
import os

import pytest

from pyhorde.testing import SimCluster
from tests.simulation.stories import Notes, ask, begin, places

MINUTE, HOUR = 60.0, 3600.0
DAYS_ARE_WANTED = "PYHORDE_WHOLE_DAYS" in os.environ


async def apart(cluster: SimCluster, seconds: float) -> None:
    """While they are apart both sides write to the same names, and one side ends a name."""
    await cluster.start_all()
    await places(cluster, 3)
    await cluster.settle()
    cluster.partition("ab", "cde")
    assert await cluster.until(lambda: len(cluster.running()["n0"]) == 2)
    for machine in ("a", "c"):
        await begin(cluster, machine, "both")
        for name in ("n0", "both"):
            await ask(cluster, machine, name, "keep", machine)
    await cluster.outside.stop_through("a", "n1")
    await asyncio.sleep(seconds)
    assert {name: len(homes) for name, homes in cluster.running().items()} == {
        "n0": 2, "n1": 1, "n2": 2, "both": 2,
    }  # fmt: skip

    cluster.heal()
    assert await cluster.until(lambda: not cluster.unrest(), 10), cluster.unrest()
    assert {name: len(homes) for name, homes in cluster.running().items()} == {
        "n0": 1, "n2": 1, "both": 1,
    }  # fmt: skip
    for name in ("n0", "both"):
        assert await ask(cluster, "b", name, "kept") == ["a", "c"]
    await cluster.settle()


@pytest.mark.parametrize("seed", range(2))
def test_after_ten_minutes_apart_there_is_one_cluster_within_ten_seconds(seed: int):
    async def story(cluster: SimCluster) -> None:
        await apart(cluster, 10 * MINUTE)

    SimCluster.run(story, nodes=5, seed=seed, processes=[Notes])


def test_after_more_than_an_hour_apart_deletions_are_forgotten_and_nothing_comes_back():
    async def story(cluster: SimCluster) -> None:
        await apart(cluster, 70 * MINUTE)

    SimCluster.run(story, nodes=5, seed=1, processes=[Notes])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DAYS_ARE_WANTED, reason="takes minutes: set PYHORDE_WHOLE_DAYS=1")
def test_after_twenty_five_hours_apart_there_is_one_cluster_within_ten_seconds():
    async def story(cluster: SimCluster) -> None:
        await apart(cluster, 25 * HOUR)

    SimCluster.run(story, nodes=5, seed=3, processes=[Notes])
