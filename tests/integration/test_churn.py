"""What starts and stops of processes, and metadata that comes and goes, leave behind: nothing."""

from __future__ import annotations

import asyncio

from pyhorde.config import ReplicationConfig
from pyhorde.runtime.process import Process
from pyhorde.testing import SimCluster

CYCLES = 1000
QUIET = 30.0
LIMIT = 500


class Brief(Process):
    """Is started to be stopped."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state = "s"

    async def init(self, resume: object) -> None:
        self.node.registry.register(f"key of {self.name}", 1, self)


def sizes(cluster: SimCluster) -> dict[str, int]:
    return {name: node._replica.size for name, node in cluster.live.items()}


async def churn(cluster: SimCluster, cycles: int) -> None:
    async def one(number: int) -> None:
        machine = sorted(cluster.live)[number % len(cluster.live)]
        node = cluster.node(machine)
        await node.start_child(Brief, f"brief-{number}")
        node.registry.put_meta(f"meta-{number}", number)
        await node.supervisor.terminate_child(f"brief-{number}")
        node.registry.delete_meta(f"meta-{number}")

    for start in range(0, cycles, 5):
        machines = sorted(cluster.live)
        work = [(machines[n % len(machines)], one(n)) for n in range(start, start + 5)]
        await asyncio.gather(*(cluster.on(machine, each) for machine, each in work))
        await asyncio.sleep(0.1)


async def nothing_is_left(cluster: SimCluster) -> None:
    await cluster.start_all()
    await cluster.on("a", cluster.node("a").start_child(Brief, "stays"))
    await cluster.settle()
    await asyncio.sleep(QUIET)
    before = sizes(cluster)
    await churn(cluster, CYCLES)
    await cluster.settle()
    await asyncio.sleep(QUIET)
    assert sizes(cluster) == before
    lives = {node.names.next_life("brief-7", "s").number for node in cluster.live.values()}
    assert min(lives) >= 2, "what has ended is still known to have lived"
    await cluster.on("b", cluster.node("b").start_child(Brief, "brief-7"))
    await cluster.settle()
    epochs = {node.names.owner("brief-7").epoch for node in cluster.live.values()}
    assert len(epochs) == 1 and min(epochs) >= 2


def test_a_thousand_starts_and_stops_leave_nothing():
    SimCluster.run(nothing_is_left, nodes=3, seed=1, processes=[Brief])


async def a_member_is_dead(cluster: SimCluster) -> None:
    await cluster.start_all()
    await cluster.settle()
    await asyncio.sleep(QUIET)
    cluster.crash("c")
    await cluster.settle()
    await asyncio.sleep(80)
    before = sizes(cluster)
    await churn(cluster, 100)
    await cluster.settle()
    await asyncio.sleep(QUIET)
    assert all(node._replica.deletions for node in cluster.live.values()), "c holds them back"
    await churn(cluster, CYCLES)
    await cluster.settle()
    await asyncio.sleep(QUIET)
    for node in cluster.live.values():
        assert node._replica.deletions <= LIMIT and node._replica.size <= 2 * LIMIT
        assert node.statistics()["deletions_forgotten_total"] >= CYCLES
    await cluster.restart("c")
    await cluster.settle()
    await asyncio.sleep(QUIET)
    assert sizes(cluster) == {**before, "c": 0}


def test_a_dead_member_does_not_hold_back_for_ever():
    config = ReplicationConfig(max_deletions=LIMIT)
    SimCluster.run(a_member_is_dead, nodes=3, seed=1, processes=[Brief], replication=config)
