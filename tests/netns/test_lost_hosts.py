"""A host falls silent while clients write."""

from __future__ import annotations

import math

import pytest

from tests.netns.accounts import Entry
from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

REPLACED = 12.0
"""Seconds until the processes of a silent node run elsewhere at the latest: 10 to notice it, and
2 to ask the others for newer copies."""
BUSY = 5.0
"""Seconds more, on a machine that is busy with other things."""
UNDER_WAY = 1.0
"""Seconds until the clients have everything that was on its way to them."""


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
