"""Nodes that come up together."""

import asyncio

import pytest

from pyhorde.testing import SimCluster


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_nodes_that_dial_each_other_at_the_same_moment_are_linked_once_and_stay_so(nodes: int):
    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        await cluster.settle(10)
        links = {
            name: dict(node.cluster_parts.links.boots.mapping)
            for name, node in cluster.live.items()
        }
        await asyncio.sleep(5)
        after = {
            name: dict(node.cluster_parts.links.boots.mapping)
            for name, node in cluster.live.items()
        }
        assert not cluster.apart()
        assert links == after

    for seed in range(60):
        SimCluster.run(story, nodes=nodes, seed=seed)
