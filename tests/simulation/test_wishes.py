"""What operators wish of nodes: cordons, and the list of members that count."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from pyhorde.errors import NoQuorum
from pyhorde.testing import SimCluster
from pyhorde.testing.wiring import PORT, Wiring
from tests.simulation.stories import Notes, begin, epochs, places

MANY = 20
"""So many names find their way to each of three nodes."""


async def cordon(cluster: SimCluster, through: str, name: str) -> None:
    await cluster.on(through, cluster.node(through).cluster.cordon(name))
    await all_see(cluster)


async def all_see(cluster: SimCluster) -> None:
    """Wait, some milliseconds, until what is wished is in every record in every view."""

    def agreed() -> bool:
        nodes = cluster.live.items()
        present = {machine: node.view.me.cordoned for machine, node in nodes}
        seen = [{m.name: m.cordoned for m in node.view.present} for _, node in nodes]
        return all(view[name] == present[name] for view in seen for name in view.keys() & present)

    await asyncio.sleep(0.1)  # until the node itself has heard of it
    assert await cluster.until(agreed, 1)


async def uncordon(cluster: SimCluster, through: str, name: str) -> None:
    await cluster.on(through, cluster.node(through).cluster.uncordon(name))
    await all_see(cluster)


async def set_members(
    cluster: SimCluster, through: str, names: list[str] | Literal["auto"]
) -> None:
    await cluster.on(through, cluster.node(through).cluster.set_members(names))
    await all_see(cluster)


async def homes_of_new_ones(cluster: SimCluster, prefix: str) -> set[str]:
    """Where so many new names are placed, each started through another node."""
    live = sorted(cluster.live)
    for number in range(MANY):
        await begin(cluster, live[number % len(live)], f"{prefix}{number}")
    return {cluster.owner(f"{prefix}{number}") for number in range(MANY)}


async def has_quorum(cluster: SimCluster, machine: str) -> bool:
    try:
        waiting = cluster.node(machine).supervisor.wait_for_quorum(0.5)
        await cluster.on(machine, waiting)
    except NoQuorum:
        return False
    return True


async def quorums(cluster: SimCluster) -> dict[str, bool]:
    return {machine: await has_quorum(cluster, machine) for machine in sorted(cluster.live)}


@pytest.mark.horde(nodes=3, processes=[Notes], seeds=5)
async def test_nothing_new_is_placed_on_a_cordoned_node_and_what_runs_there_stays(
    horde: SimCluster,
):
    """An operator could not empty a machine: what was moved away would come back."""
    at = await places(horde, MANY)
    await horde.settle()
    before = epochs(horde)
    await cordon(horde, "b", "a")
    assert await homes_of_new_ones(horde, "new") == {"b", "c"}
    assert {name: horde.owner(name) for name in at} == at
    assert {name: epoch for name, epoch in epochs(horde).items() if name in at} == before
    horde.crash("b")
    await horde.settle()
    moved = {horde.owner(name) for name, home in at.items() if home == "b"}
    assert moved == {"c"}
    await uncordon(horde, "c", "a")
    assert await homes_of_new_ones(horde, "later") == {"a", "c"}
    await horde.settle()


@pytest.mark.horde(nodes=3, processes=[Notes], seeds=5)
async def test_a_cordon_outlives_the_boot_it_was_meant_for(horde: SimCluster):
    """A node that is restarted for its upgrade would get work before its operator has looked."""
    await cordon(horde, "b", "a")
    horde.crash("a")
    await horde.restart("a")
    await all_see(horde)
    assert {node.view.by_name["a"].cordoned for node in horde.live.values()} == {True}
    assert await homes_of_new_ones(horde, "new") == {"b", "c"}

    horde.crash("a", silent=True)
    await uncordon(horde, "c", "a")
    await cordon(horde, "c", "b")
    await horde.restart("a")
    await all_see(horde)
    assert await homes_of_new_ones(horde, "later") == {"a", "c"}
    await horde.settle()


@pytest.mark.horde(nodes=3, processes=[Notes], seeds=5)
async def test_when_only_cordoned_nodes_are_left_they_are_used(horde: SimCluster):
    """A wish about maintenance must not end what the cluster is there for."""
    await cordon(horde, "a", "a")
    await cordon(horde, "c", "b")
    assert await homes_of_new_ones(horde, "new") == {"c"}
    horde.crash("c")
    await horde.settle()
    assert {horde.owner(f"new{number}") for number in range(MANY)} == {"a", "b"}
    assert await homes_of_new_ones(horde, "later") == {"a", "b"}
    await horde.settle()


@pytest.mark.horde(nodes=5, processes=[Notes], seeds=3)
async def test_the_base_of_a_quorum_does_not_shrink_with_the_members(horde: SimCluster):
    """It would say yes to the last node of five, and to both sides of a partition."""
    assert all((await quorums(horde)).values())
    horde.partition("ab", "cde")
    await asyncio.sleep(20)
    assert await quorums(horde) == {"a": False, "b": False, "c": True, "d": True, "e": True}
    horde.crash("b")
    await horde.restart("b")
    assert not await has_quorum(horde, "b")
    horde.heal()
    await horde.settle()
    assert all((await quorums(horde)).values())
    for machine in "cde":
        horde.crash(machine)
        await asyncio.sleep(20)
    assert not any((await quorums(horde)).values())
    await horde.restart("d")
    await horde.settle()
    assert all((await quorums(horde)).values())


@pytest.mark.horde(nodes=5, processes=[Notes], seeds=3)
async def test_members_are_agreed_on_through_any_node(horde: SimCluster):
    """A list that only its own node kept would be two lists after the next partition."""
    await set_members(horde, "e", ["a", "b", "c"])
    assert await homes_of_new_ones(horde, "new") == {"a", "b", "c"}
    horde.crash("d")
    await horde.restart("d")
    await all_see(horde)
    assert await homes_of_new_ones(horde, "later") == {"a", "b", "c"}

    horde.crash("a")
    horde.crash("b")
    await asyncio.sleep(2)
    assert not any((await quorums(horde)).values()), "two of the three that count are gone"
    await set_members(horde, "d", "auto")
    assert all((await quorums(horde)).values()), "three of five are there"
    assert await homes_of_new_ones(horde, "last") == {"c", "d", "e"}
    await horde.settle()


@pytest.mark.horde(nodes=5, processes=[Notes], seeds=3)
async def test_of_two_lists_made_in_two_sides_the_later_one_counts_everywhere(horde: SimCluster):
    """Each side would go on to place by its own list, and names would be at home in two places."""
    horde.partition("ab", "cde")
    await asyncio.sleep(20)
    await set_members(horde, "a", ["a", "b"])
    await asyncio.sleep(1)
    await set_members(horde, "c", ["b", "c"])
    assert await has_quorum(horde, "a") and not await has_quorum(horde, "c")
    horde.heal()
    await horde.settle()
    await all_see(horde)
    assert await homes_of_new_ones(horde, "new") == {"b", "c"}
    assert all((await quorums(horde)).values())
    await horde.settle()


class All:
    """A source that knows all five machines."""

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        yield frozenset(f"{machine}:{PORT}" for machine in "abcde")


@pytest.mark.parametrize("by", ["memory", "discovery"])
def test_two_of_five_are_no_quorum_after_an_outage_either(by: str, tmp_path: Path):
    """Both are told, by what they remember or by discovery, that there are three more nodes."""
    peers = dict.fromkeys("bcde", "a")

    async def story(cluster: SimCluster) -> None:
        await cluster.start_all()
        await cluster.settle()
        await asyncio.sleep(2)
        for machine in cluster.machines:
            cluster.crash(machine)
        peers.clear()
        await asyncio.gather(cluster.start("a"), cluster.start("b"))
        assert await quorums(cluster) == {"a": False, "b": False}

    wiring = Wiring(peers=peers, data_dir=tmp_path)
    if by == "discovery":
        wiring = Wiring(peers=peers, discovery=lambda _: [All()])
    SimCluster.run(story, nodes=5, wiring=wiring)
