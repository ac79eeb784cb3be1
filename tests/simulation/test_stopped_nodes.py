"""Nobody waits for what a stopped node will never learn."""

import asyncio
from typing import Any

import pytest

from pyhorde.config import RuntimeConfig
from pyhorde.errors import HordeError, NodeClosed
from pyhorde.testing import SimCluster
from pyhorde.testing.workloads import Holder

PATIENT = RuntimeConfig(call_timeout=600, start_timeout=600)


async def outcome(cluster: SimCluster, work: Any) -> tuple[HordeError, float]:
    """What ends work on ``a``, that waits for something, once ``a`` has been stopped; and when."""
    waiting = cluster.loop.run_as(cluster.machines["a"].key, work)
    await asyncio.sleep(3)
    assert not waiting.done()
    node = cluster.node("a")
    await cluster.on("a", node.aclose())
    stopped = cluster.loop.time()
    with pytest.raises(HordeError) as error:
        await waiting
    return error.value, cluster.loop.time() - stopped


async def divided(cluster: SimCluster) -> str:
    """A process on ``b``, which ``a`` cannot reach; its name."""
    for number in range(20):
        name = f"n{number}"
        await cluster.start_child(Holder, name, "x")
        if cluster.owner(name) == "b":
            break
    cluster.stall("b", 3600)
    return name


@pytest.mark.horde(nodes=["a", "b"], processes=[Holder], runtime=PATIENT, seeds=3)
async def test_a_call_ends_with_its_node(horde: SimCluster):
    name = await divided(horde)
    call = horde.node("a").router.call(name, "value", [], {})
    error, seconds = await outcome(horde, call)
    assert isinstance(error, NodeClosed)
    assert seconds < 1


@pytest.mark.horde(nodes=["a", "b"], processes=[Holder], runtime=PATIENT, seeds=3)
async def test_a_stop_ends_with_its_node(horde: SimCluster):
    name = await divided(horde)
    _, seconds = await outcome(horde, horde.node("a").supervisor.terminate_child(name))
    assert seconds < 1


@pytest.mark.horde(nodes=["a", "b"], processes=[Holder], runtime=PATIENT, seeds=3)
async def test_a_start_ends_with_its_node(horde: SimCluster):
    await divided(horde)
    node = horde.node("a")
    homes = (f"m{n}" for n in range(100))
    there = next(n for n in homes if node._parts.home(n, node.offers.name_of(Holder)) == "b")
    error, seconds = await outcome(horde, node.start_child(Holder, there, "x"))
    assert isinstance(error, NodeClosed)
    assert seconds < 1
