"""Cables between hosts fail, in one or both directions, while clients write."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import combinations

import pytest

from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

NOTICED = 10.0
"""Seconds after which a silent node is held for dead at the latest."""
BUSY = 20.0
"""Seconds more, on a machine that is busy with other things."""
UPHILL = list(combinations("abcde", 2))
"""Of each pair one direction."""


async def test_both_sides_of_a_split_go_on_and_all_that_either_acknowledged_is_kept(scene: Scene):
    await scene.begin()
    scene.hosts.split("ab", "cde")
    await scene.runs_on("ab", "cde", within=NOTICED + BUSY)
    scene.note_events("member_dead")
    await scene.is_written("ab", "cde")
    await scene.heal()


async def test_cables_that_cut_nobody_off_cost_nobody_a_name(scene: Scene):
    """Frames get lost; one pair fails in one direction; one host holds two halves together."""
    homes = await scene.begin()
    hosts = scene.hosts
    await harmless(scene, homes, "a fifth of all frames", partial(hosts.lose, 20))
    await harmless(scene, homes, "from b to c", partial(hosts.cut, [("b", "c")]))
    await harmless(scene, homes, "between two halves", partial(hosts.split, "ab", "de"))
    await harmless(scene, homes, "packets, in one direction", partial(hosts.cut_packets, UPHILL))
    assert not await scene.truth.moved(homes)
    await scene.end()
    assert not scene.note_events("member_dead")
    assert not await scene.truth.moved(homes)


async def harmless(
    scene: Scene, homes: dict[str, str], what: str, begin: Callable[[], None]
) -> None:
    """Longer than it would take to give somebody up, nothing moves, and everything is written."""
    began = time.time()
    begin()
    await scene.horde.hold(partial(scene.truth.moved, homes), f"{what}: nothing moves", NOTICED)
    suspected = len(scene.horde.logs.events("member_suspect", began))
    scene.figures[f"suspected, {what}"] = suspected
    dropped = scene.hosts.heal()
    assert dropped, f"{what}: the fault has hit nothing"
    await scene.horde.until(scene.truth.not_met, f"{what}: all nodes see each other alive again")
    await scene.is_written("".join(scene.horde.names))
