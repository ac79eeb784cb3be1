"""Hosts fall silent, nodes are killed or stand still, frames get lost, while clients write."""

from __future__ import annotations

import asyncio
import math
import signal

import pytest

from tests.netns.accounts import Entry
from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

REPLACED = 12.0
"""Seconds until the processes of a silent node run elsewhere at the latest: 10 to notice it, and
2 to ask the others for newer copies."""
ACCEPTED = 3.0
"""Seconds until a new boot is let in, from the start of its OS process."""
BUSY = 5.0
"""Seconds more, on a machine that is busy with other things."""
UNDER_WAY = 1.0
"""Seconds until the clients have everything that was on its way to them."""
RESTART = 0.2
FREEZE = 3.0


async def test_with_a_fifth_of_all_frames_lost_nobody_is_given_up_for_good(scene: Scene):
    await scene.begin()
    scene.hosts.lose(20)
    await scene.horde.hold(scene.truth.not_ready, "every node is ready", 20.0)
    scene.note_events("member_suspect")
    scene.note_events("member_dead")
    await scene.heal()


async def test_a_silent_host_is_replaced_in_time_and_gives_way_when_it_returns(scene: Scene):
    silent = await scene.truth.busiest()
    others = "".join(name for name in scene.horde.names if name != silent)
    await scene.begin()
    scene.hosts.silence(silent)
    await scene.runs_on(others, within=REPLACED + BUSY)
    assert scene.note_events("member_dead", silent)
    scene.note_events("adopted")
    await scene.is_written(others)
    assert not acknowledged_without_a_copy(scene, silent)
    await scene.heal()


def acknowledged_without_a_copy(scene: Scene, silent: str) -> list[Entry]:
    """What the silent node acknowledged before it held all others for dead, and so itself alone."""
    deaths = [e.at for e in scene.horde.logs.events("member_dead", scene.began) if e.node == silent]
    others = len(scene.horde.names) - 1
    alone = deaths[others - 1] if len(deaths) >= others else math.inf
    return scene.accounts.acknowledged(silent, scene.began + UNDER_WAY, alone)


async def test_a_node_killed_and_started_again_at_once_is_let_in_as_a_new_one(scene: Scene):
    name = await scene.truth.busiest()
    node = scene.horde.nodes[name]
    homes = await scene.begin()
    await node.kill()
    await asyncio.sleep(RESTART)
    await node.boot()
    await scene.horde.until(scene.truth.not_met, f"{name} is let in", ACCEPTED + BUSY)
    scene.note("let in")
    await scene.end()
    assert scene.note_events("adopted") >= list(homes.values()).count(name)
    scene.note_events("member_dead", name)
    scene.note_events("member_alive", name)


async def test_a_node_that_stands_still_for_three_seconds_loses_nothing(scene: Scene):
    name = await scene.truth.busiest()
    homes = await scene.begin()
    scene.horde.nodes[name].send(signal.SIGSTOP)
    await asyncio.sleep(FREEZE)
    scene.horde.nodes[name].send(signal.SIGCONT)
    await scene.end()
    scene.note_events("member_suspect", name)
    assert not scene.note_events("member_dead")
    assert not await scene.truth.moved(homes)
