"""Nodes that come up together become one cluster, whatever each is told of the others.

A node that serves before it knows what the cluster knows starts names a second time; one that never
looks again stays alone for ever.
"""

import asyncio
from collections.abc import Sequence
from unittest.mock import patch

import pytest

from pyhorde.cluster.membership.joining import Joining, Situation
from pyhorde.errors import NameTaken
from pyhorde.testing import Conditions, SimCluster
from pyhorde.testing.wiring import Wiring
from tests.simulation.bootstrapping import bootstrap
from tests.simulation.stories import Notes, begin

LONG, LONGER = 0.1, 0.4
"""Seconds that everything takes on a long way, each way."""
NAMES = ("n0", "n1", "n2")


@pytest.mark.parametrize("seed", range(20))
def test_four_nodes_whose_source_knows_some_of_them_at_a_time_become_one_cluster(seed: int):
    """Were an answer of a source the last word, those that it left out at first would stay away."""
    assert bootstrap(seed, ["a", "b", "c", "d"]).one < 10


def started_again(
    chain: Sequence[str], slow: Sequence[str], seconds: float, seed: int
) -> list[str]:
    """Names of ``a`` that others start once more when they boot together.

    The first of the chain is told of the second, and so on; the last is told of ``a``. From those
    in ``slow`` it is a long way to ``a``.
    """
    peers = dict(zip(chain, ([peer] for peer in (*chain[1:], "a")), strict=True))
    again = []

    async def join(cluster: SimCluster, machine: str) -> None:
        node = await cluster.start(machine)
        for name in NAMES:
            try:
                await cluster.on(machine, node.start_child(Notes, name))
            except NameTaken:
                continue
            again.append(name)

    async def story(cluster: SimCluster) -> None:
        await cluster.start("a")
        for name in NAMES:
            await begin(cluster, "a", name)
        for machine in slow:
            cluster.conditions(Conditions(latency_min=seconds), ("a", machine), (machine, "a"))
        await asyncio.gather(*(join(cluster, machine) for machine in chain))

    machines = ["a", *chain]
    wiring = Wiring(peers=peers)
    SimCluster.run(story, nodes=machines, seed=seed, processes=[Notes], wiring=wiring)
    return again


def test_who_joins_through_somebody_that_joins_waits_until_that_one_has_met_all():
    """``j1`` has met everybody it was told of long before ``j2`` has met ``a``."""
    assert [started_again(["j1", "j2"], ["j2"], LONGER, seed) for seed in range(20)] == [[]] * 20


def over_once_it_has_met_all(_: Joining, now: Situation) -> bool:
    return now.told and (now.by_settled or not now.missing)


def test_without_reached_it_starts_what_runs_already():
    with patch.object(Joining, "is_over", over_once_it_has_met_all):
        assert any(started_again(["j1", "j2"], ["j2"], LONGER, seed) for seed in range(20))


def test_it_waits_for_what_that_one_learned_too():
    """``j2`` says that it has met all once it has; what ``a`` told it comes a little later."""
    slow = ["j1", "j2"]
    assert [started_again(slow, slow, LONG, seed) for seed in range(5)] == [[]] * 5


def test_it_waits_along_the_whole_chain():
    """``j2`` was told of ``j3`` alone, and has met it; ``j3`` has not met ``a``."""
    assert [started_again(["j1", "j2", "j3"], ["j3"], LONG, seed) for seed in range(5)] == [[]] * 5


def test_that_a_peer_has_got_in_sync_meanwhile_is_not_yet_to_be_in_sync():
    """``j2`` was told all that ``j3`` had, which was nothing; ``j3`` gets in sync, and says so."""
    chain = ["j1", "j2", "j3"]
    assert [started_again(chain, chain, LONG, seed) for seed in range(8)] == [[]] * 8
