"""What keeps membership from wrong verdicts, and what goes wrong without each of it.

These do not lead to what days for the whole cluster look for (a name that is lost or runs twice):
they make verdicts right, or soon. So each is looked at by itself, with the switch on and off. What
happens without ``Reached`` is in ``test_bootstrap.py``.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.health import Health
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.probing import Prober
from pyhorde.cluster.transport.sealing import Window
from pyhorde.testing import Conditions, SimCluster
from tests.simulation.stories import Notes, Witness, epochs, places, statuses

SEEDS = range(6)


def total(story: Any, nodes: int = 5, *, datagrams: bool | None = None) -> float:
    """The sum of what the story returns over some seeds."""
    runs = (
        SimCluster.run(story, nodes=nodes, seed=seed, processes=[Notes], datagrams=datagrams)
        for seed in SEEDS
    )
    return sum(runs)


# ---- a machine that lives while its node is silent -----------------------------------------------


async def names_that_moved(cluster: SimCluster) -> int:
    await cluster.start_all()
    await places(cluster, 6)
    await cluster.settle()
    before = epochs(cluster)
    cluster.stall(cluster.owner("n0"), 12)
    await asyncio.sleep(14)
    await cluster.settle()
    return sum(epoch != before[name] for name, epoch in epochs(cluster).items())


def test_nothing_moves_from_a_node_that_stands_still_for_a_while():
    assert total(names_that_moved) == 0
    with patch.object(Membership, "host_lives", lambda *_: []):
        assert total(names_that_moved) > 0


# ---- who hears nobody ----------------------------------------------------------------------------

_probe_failed = Membership._probe_failed


def one_after_the_other(membership: Any, probe: Any, now: float) -> None:
    """A failed probe speaks against the one that was probed alone."""
    signs = membership._signs
    latest, signs.latest = signs.latest, now
    try:
        _probe_failed(membership, probe, now)
    finally:
        signs.latest = latest


async def seconds_until_alone(cluster: SimCluster) -> float:
    await cluster.start_all()
    await cluster.settle()
    since = cluster.loop.time()
    cluster.isolate("a")
    node = cluster.node("a")
    assert await cluster.until(lambda: len(node.view.present) == 1, 120)
    return cluster.loop.time() - since


def test_who_hears_nobody_takes_no_longer_for_many_than_for_one():
    """It would still count on members that it lost minutes ago, one after the other."""
    usual = total(seconds_until_alone, nodes=7)
    assert usual < 12 * len(SEEDS)
    with (
        patch.object(Membership, "_probe_failed", one_after_the_other),
        patch.object(Membership, "_sweep", lambda *_: None),
    ):
        assert total(seconds_until_alone, nodes=7) > 1.5 * usual


# ---- packets that somebody recorded --------------------------------------------------------------

WATCHED = 40.0


async def seconds_until_dead(cluster: SimCluster) -> float:
    """Its machine is gone, and somebody sends again and again what it had sent before."""
    await cluster.start_all()
    await cluster.settle()
    packets, recorded = cluster.network.packets, list[tuple[str, bytes]]()
    send = packets.send

    def record(source: str, address: str, data: bytes) -> None:
        if source == "a":
            recorded.append((address, data))
        send(source, address, data)

    with patch.object(packets, "send", record):
        await asyncio.sleep(10)
    assert recorded
    since = cluster.loop.time()
    cluster.crash("a", silent=True)
    while {*statuses(cluster, "a").values()} != {Status.DEAD}:
        if cluster.loop.time() - since > WATCHED:
            break
        for address, data in recorded:
            packets._arrive(address, data)
        await asyncio.sleep(0.2)
    return cluster.loop.time() - since


def test_a_recorded_packet_is_no_sign_of_life():
    """Whoever can send packets could keep a dead node, and what ran on it, from being replaced."""
    assert total(seconds_until_dead, nodes=4, datagrams=True) < 10 * len(SEEDS)
    with patch.object(Window, "admit", lambda *_: True):
        assert total(seconds_until_dead, nodes=4, datagrams=True) > WATCHED * len(SEEDS)


# ---- a node in a bad way itself ------------------------------------------------------------------


async def healthy_ones_buried(cluster: SimCluster) -> int:
    """How often one whose own connection loses every second packet takes somebody for dead."""
    await cluster.start_all()
    await cluster.settle()
    others = [name for name in cluster.machines if name != "a"]
    ways = [pair for other in others for pair in (("a", other), (other, "a"))]
    witness = Witness(cluster)
    cluster.conditions(Conditions(loss=0.55), *ways)
    await asyncio.sleep(120)
    return sum(seen.of != "a" and seen.status is Status.DEAD for seen in witness.sightings)


def test_a_node_with_a_bad_connection_does_not_bury_healthy_ones():
    """It hears of few refutations either: its verdicts are wrong, and everybody hears them."""
    usual = total(healthy_ones_buried, datagrams=False)
    with patch.object(Health, "worse", lambda *_: None):
        assert total(healthy_ones_buried, datagrams=False) > 4 * usual


async def worst_health(cluster: SimCluster) -> int:
    """How badly a death makes those think of themselves who find it out."""
    await cluster.start_all()
    await cluster.settle()
    cluster.crash("a", silent=True)
    worst = 0
    while {*statuses(cluster, "a").values()} != {Status.DEAD}:
        scores = [n.cluster_parts.detector.health.score for n in cluster.live.values()]
        worst = max(worst, *scores)
        await asyncio.sleep(0.1)
    return worst


@pytest.mark.parametrize(
    ("switch", "is_to_blame"),
    [
        (nullcontext, False),
        (lambda: patch.object(Prober, "nacked", lambda *_: None), True),
    ],
    ids=["with nacks", "without"],
)
def test_others_that_say_that_they_hear_nothing_either_clear_the_asker(
    switch: Callable[[], AbstractContextManager[Any]], is_to_blame: bool
):
    """A death would make everybody slow to find the next one."""
    with switch():
        assert (total(worst_health) > 0) == is_to_blame
