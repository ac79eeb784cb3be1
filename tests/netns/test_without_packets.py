"""A network that lets streams through and no UDP: nothing is missing but the packets."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from tests.netns.hosts import Hosts
from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

UNDISTURBED = 6.0
"""Seconds for which nobody may be suspected: each has been asked once by then."""
RESTART = 0.2
ACCEPTED = 3.0
"""Seconds until a new boot is let in, from the start of its OS process."""
BUSY = 5.0
"""Seconds more, on a machine that is busy with other things."""


@pytest.fixture
def no_packets(hosts: Hosts) -> None:
    """Before any node starts."""
    hosts.cut_packets(permutations(hosts.names, 2))


@pytest.mark.usefixtures("no_packets")
async def test_without_packets_nobody_is_suspected_and_who_is_killed_and_started_again_is_let_in(
    scene: Scene,
):
    await scene.begin()
    await scene.horde.hold(scene.truth.not_met, "nobody is suspected", UNDISTURBED)
    assert not scene.horde.logs.events("member_suspect")
    for node, packets in (await scene.truth.packets()).items():
        assert packets["sent"] > 0, node
        assert packets["received"] == 0, node

    name = await scene.truth.busiest()
    homes = await scene.begin()
    node = scene.horde.nodes[name]
    await node.kill()
    await asyncio.sleep(RESTART)
    await node.boot()
    await scene.horde.until(scene.truth.not_met, f"{name} is let in", ACCEPTED + BUSY)
    scene.note("let in")
    await scene.end()
    assert scene.note_events("adopted") >= list(homes.values()).count(name)
    scene.note_events("member_dead", name)
    scene.note_events("member_alive", name)
    assert not {e["member"] for e in scene.horde.logs.events("member_dead")} - {name}
