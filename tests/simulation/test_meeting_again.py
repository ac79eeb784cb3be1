"""Nodes that were never told of each other, or have lost every word of it, and find each other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyhorde.testing import SimCluster
from pyhorde.testing.wiring import PORT, Wiring
from tests.simulation.stories import Notes, ask, begin


class News:
    """A source that knows nobody, until it hears of somebody."""

    def __init__(self) -> None:
        self.known = asyncio.Event()

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        yield frozenset()
        await self.known.wait()
        yield frozenset({f"c:{PORT}"})


@pytest.mark.parametrize("seed", range(10))
def test_two_clusters_become_one_when_one_node_hears_of_one_of_the_other(seed: int):
    """Were only the two nodes to meet, the others of both sides would go on as two clusters."""
    news: list[News] = []

    def sources(machine: str) -> list[News]:
        if machine == "a":
            news.append(News())
        return news[-1:] if machine == "a" else []

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        for machine in ("a", "c"):
            await begin(cluster, machine, "both")
            await ask(cluster, machine, "both", "keep", machine)
            await begin(cluster, machine, f"only-{machine}")
        await asyncio.sleep(3)
        assert {len(node.view.present) for node in cluster.live.values()} == {2}
        assert len(cluster.running()["both"]) == 2

        news[0].known.set()
        assert await cluster.until(lambda: not (cluster.apart() or cluster.unrest()), 5)
        assert {name: len(homes) for name, homes in cluster.running().items()} == {
            "both": 1, "only-a": 1, "only-c": 1,
        }  # fmt: skip
        for machine in cluster.machines:
            assert await ask(cluster, machine, "both", "kept") == ["a", "c"]
        await cluster.settle()

    peers = {"a": "b", "b": "a", "c": "d", "d": "c"}
    SimCluster.run(
        story, nodes=4, seed=seed, processes=[Notes], wiring=Wiring(peers=peers, discovery=sources)
    )


@pytest.mark.parametrize("seed", range(10))
def test_after_a_total_outage_nodes_find_each_other_by_what_they_remember(
    seed: int, tmp_path: Path
):
    """``a`` met the others because they were told of it; after the outage nobody is told anything.

    Without a memory each would come up as a cluster of its own and stay one.
    """
    peers = {"b": "a", "c": "a", "d": "a"}

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        await cluster.settle()
        await asyncio.sleep(2)
        for machine in cluster.machines:
            cluster.crash(machine, silent=seed % 2 == 0)
        peers.clear()
        await asyncio.sleep(30)
        await cluster.start_all()
        assert await cluster.until(lambda: not (cluster.apart() or cluster.unrest()), 5)
        assert {len(node.view.present) for node in cluster.live.values()} == {4}
        await begin(cluster, "a", "it")
        await cluster.settle()

    wiring = Wiring(peers=peers, data_dir=tmp_path)
    SimCluster.run(story, nodes=4, seed=seed, processes=[Notes], wiring=wiring)


def test_without_a_memory_they_stay_apart():
    peers = {"b": "a", "c": "a", "d": "a"}

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        await cluster.settle()
        for machine in cluster.machines:
            cluster.crash(machine)
        peers.clear()
        await cluster.start_all()
        await asyncio.sleep(10)
        assert {len(node.view.present) for node in cluster.live.values()} == {1}

    SimCluster.run(story, nodes=4, seed=0, wiring=Wiring(peers=peers))
